import type { Revocation } from '@qiao/contract/node';
import { idText } from '@qiao/exchange';
import { fingerprintOf, readCertificate, twinOf } from '@qiao/security';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isCertificateGood, revokedBusUsers } from '../registry/certificates.ts';
import { findNode } from '../registry/nodes.ts';
import { START_MS, type TestNode, TestWorld } from '../world.testing.ts';
import { type LearnedNode, learnNode, learnRevocations } from './learnNode.ts';

let world: TestWorld;
beforeAll(async () => {
  world = await TestWorld.create();
});
afterAll(() => world[Symbol.asyncDispose]());

/** What is told of a node that joined after the backup. */
function told(node: TestNode, code: string, certificate = node.certificate): LearnedNode {
  return {
    nodeId: node.id,
    code,
    title: code,
    departmentCode: code,
    departmentTitle: code,
    certificate,
    sealingKey: new Uint8Array(65),
    natsUser: `U${code.toUpperCase()}`,
    readsFormat: 1,
    fencingToken: 1n,
  };
}

function ended(node: TestNode, code: string): Revocation {
  return {
    fingerprint: Buffer.from(fingerprintOf(node.certificate), 'hex'),
    nodeId: node.id,
    natsUser: `U${code.toUpperCase()}`,
    revokedAtMs: BigInt(START_MS + 1),
  };
}

function learn(node: LearnedNode): Promise<string[]> {
  return learnNode(world.store, node, world.authority.certificateDer, START_MS);
}

/** The certificate as anybody who has it may write it. */
function twin(node: TestNode): Uint8Array {
  return twinOf(node.certificate) ?? node.certificate;
}

test('rights that ended after the backup are ended again, also of a node that nobody told of: it is kept from the bus', async () => {
  const known = await world.join('known');
  const unknown = await world.stranger('unknown');
  const learned = await learnRevocations(world.store, [ended(known, 'known'), ended(unknown, 'unknown')]);
  expect(learned).toEqual({
    sentences: ['the rights of known were ended after the backup'],
    busUsers: ['UKNOWN', 'UUNKNOWN'],
  });
  expect((await findNode(world.store, 'known'))?.status).toBe('revoked');
  expect(await isCertificateGood(world.store, fingerprintOf(known.certificate))).toBe(false);
  // Told once more, by the next node or after a crash before the bus knew: the bus is told again, nothing else is news.
  const again = await learnRevocations(world.store, [ended(known, 'known')]);
  expect(again).toEqual({ sentences: [], busUsers: ['UKNOWN'] });
});

test('a certificate whose rights ended does not come back written the other way', async () => {
  const node = await world.join('back');
  await learnRevocations(world.store, [ended(node, 'back')]);
  expect(await learn(told(node, 'back', twin(node)))).toEqual([]);
  expect((await findNode(world.store, 'back'))?.status).toBe('revoked');
  expect(await isCertificateGood(world.store, fingerprintOf(twin(node)))).toBe(false);
});

test('a certificate that was shown the other way first is ended by the word on the one that was given', async () => {
  const node = await world.stranger('early');
  await learn(told(node, 'early', twin(node)));
  expect((await findNode(world.store, 'early'))?.fingerprint).toBe(readCertificate(twin(node)).fingerprint);
  const { sentences } = await learnRevocations(world.store, [ended(node, 'early')]);
  expect(sentences).toEqual(['the rights of early were ended after the backup']);
  expect((await findNode(world.store, 'early'))?.status).toBe('revoked');
  expect(await isCertificateGood(world.store, fingerprintOf(twin(node)))).toBe(false);
  expect(await revokedBusUsers(world.store)).toContain('UEARLY');
  expect((await findNode(world.store, 'early'))?.id).toBe(idText(node.id));
});
