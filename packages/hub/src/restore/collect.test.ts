import { HelloRequest } from '@qiao/contract/control';
import { Verifier } from '@qiao/security';
import { expect, test } from 'vitest';
import { getNode, giveFencingToken } from '../registry/nodes.ts';
import { bytes, idText, START_MS, TestWorld } from '../world.testing.ts';
import { collect } from './collect.ts';

/** A restored hub hears from a receiver which token of its sender it has seen. */
async function afterWord(senderFencingToken: bigint) {
  const world = await TestWorld.create();
  const [health, civil] = [await world.join('health'), await world.join('civil')];
  const { laneId } = await world.bridge('births', health, civil);
  const epoch = { ordinal: 1n, nonce: bytes(16) };
  const ports = {
    store: world.store,
    platformId: world.platform.id,
    authority: world.authority.certificateDer,
    hubCertificate: world.hub.certificate,
    verifier: new Verifier(),
    nowMs: () => START_MS,
    learnEpoch: async () => {},
    changed: async () => {},
    revokeBusUsers: async () => {},
  };
  const knows = {
    certificate: civil.certificate,
    departmentCode: 'civil',
    receiving: [{ laneId, epoch, senderFencingToken }],
  };
  await collect(ports, 'civil', HelloRequest.fromPartial({ nodeId: civil.id, knows }));
  return { world, health, present: (await getNode(world.store, 'health')).fencing_token };
}

test('what a receiver has seen of its sender’s token shuts nobody out, and the sender’s next token lies above it', async () => {
  const { world, health, present } = await afterWord(5_000n);
  await using _ = world;
  expect(present).toBeLessThan(5_000);
  expect(await giveFencingToken(world.store, idText(health.id))).toBe(5_001);
});

test('a token that nobody can have been given is not believed of a receiver', async () => {
  const { world, health, present } = await afterWord(2n ** 50n - 1n);
  await using _ = world;
  expect(await giveFencingToken(world.store, idText(health.id))).toBe(present + 1);
});
