import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { Authority, createKeyAndCsr, lifeOf, readIdentity, sameKey, verifyIssued, writeIdentity } from '@qiao/security';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readAudit } from '../audit/audit.ts';
import { bytes, START_MS, TestWorld } from '../world.testing.ts';
import { HUB_CERTIFICATE_DAYS, renewOwn } from './renewOwn.ts';

const DAY_MS = 86_400_000;
/** In the last third of the authority's ten years. */
const LATE_MS = START_MS + 2_500 * DAY_MS;

let world: TestWorld;
beforeEach(async () => {
  world = await TestWorld.create();
});
afterEach(() => world[Symbol.asyncDispose]());

/** Directories of replicas, which share keys and certificates. */
async function replicas(...names: readonly string[]): Promise<string[]> {
  const { keyPem, csrDer } = await createKeyAndCsr('hub');
  const node = { role: 'hub', platformId: world.platform.id, nodeId: bytes(16) } as const;
  const certificate = await world.authority.issue(csrDer, {
    ...node,
    code: 'hub',
    days: HUB_CERTIFICATE_DAYS,
    hosts: ['hub.example'],
    nowMs: START_MS,
  });
  return names.map((name) => {
    const directory = join(world.directory, name);
    writeIdentity(directory, {
      ...node,
      platformCode: 'demo',
      platformTitle: 'demo',
      timeZone: 'Asia/Shanghai',
      nodeCode: 'hub',
      departmentCode: 'demo',
      departmentTitle: 'demo',
      hubAddress: 'hub.example:7400',
      natsUrls: [],
      keyPem,
      certificate,
      authority: world.authority.certificateDer,
      hubCertificate: new Uint8Array(),
    });
    copyFileSync(join(world.directory, 'authority.key'), join(directory, 'authority.key'));
    return directory;
  });
}

async function start(directory: string, nowMs: number, store = world.store) {
  const own = { identity: readIdentity(directory), authority: await Authority.open(directory) };
  await renewOwn(directory, own, store, nowMs);
  return readIdentity(directory);
}

const endOf = (certificate: Uint8Array) => lifeOf(certificate).notAfterMs;

test('in the last third of their life both get another end, for the same keys and hosts', async () => {
  const [directory = ''] = await replicas('one');
  const before = readIdentity(directory);
  expect(await start(directory, START_MS + 2_400 * DAY_MS)).toEqual(before);
  const after = await start(directory, LATE_MS);
  expect(sameKey(after.authority, before.authority)).toBe(true);
  expect(sameKey(after.certificate, before.certificate)).toBe(true);
  expect([endOf(after.authority), endOf(after.certificate)]).toEqual(
    Array(2).fill(LATE_MS + HUB_CERTIFICATE_DAYS * DAY_MS),
  );
  expect(verifyIssued(after.certificate, after.authority, LATE_MS + 3_000 * DAY_MS).code).toBe('hub');
  expect(await start(directory, LATE_MS + DAY_MS)).toEqual(after);
  const renewals = (await Array.fromAsync(readAudit(world.store, { limit: 10 }))).filter(
    ({ action }) => action === 'authority.renew',
  );
  expect(renewals).toHaveLength(1);
});

test('replicas take the authority that the first of them wrote', async () => {
  const [one = '', two = '', late = ''] = await replicas('one', 'two', 'late');
  const { authority } = await start(one, LATE_MS);
  const other = await start(two, LATE_MS, await world.storeOf('two'));
  expect(other.authority).toEqual(authority);
  expect(endOf(other.certificate)).toBe(endOf(authority));
  expect((await start(late, LATE_MS + 30 * DAY_MS)).authority).toEqual(authority);
});

test('what ended while the hub was off is renewed at its start', async () => {
  const [directory = ''] = await replicas('one');
  const nowMs = START_MS + 20_000 * DAY_MS;
  const { authority, certificate } = await start(directory, nowMs);
  expect(Math.min(endOf(authority), endOf(certificate))).toBeGreaterThan(nowMs);
});

test('a hub whose files are newer than its database, which was put back, keeps them', async () => {
  const [directory = ''] = await replicas('one');
  const renewed = await start(directory, LATE_MS);
  await world.store.updateTable('hub_state').set({ authority: null }).execute();
  expect(await start(directory, LATE_MS + DAY_MS)).toEqual(renewed);
});
