import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BridgeState } from '@qiao/contract/node';
import { idText, parseId, QiaoError } from '@qiao/exchange';
import { silentLog, systemClock } from '@qiao/runtime';
import { Authority, createCsr, createKeyAndCsr, keysFingerprint, sealing } from '@qiao/security';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDesiredState, type Desired, type DesiredBridge, type DesiredPeer } from './desired.ts';
import { type ConfirmDestinations, confirmPeer, unconfirmedCause, withPeerKeys } from './peerKeys.ts';

const PLATFORM = new Uint8Array(16).fill(1);
const OWN = idText(new Uint8Array(16).fill(2));
const CIVIL = idText(new Uint8Array(16).fill(3));

let folder: string;
let authority: Authority;
let first: DesiredPeer;
/** The same node with a certificate of its own keys, and with keys that somebody else holds. */
let renewed: DesiredPeer;
let foreign: DesiredPeer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-peers-'));
  authority = await Authority.create(folder, { platformId: PLATFORM, platformCode: 'demo', nowMs: Date.now() });
  const { keyPem, csrDer } = await createKeyAndCsr('civil');
  const { publicKey } = await sealing.generateKey();
  first = await peer(csrDer, publicKey);
  renewed = await peer(await createCsr('civil', keyPem), publicKey);
  foreign = await peer((await createKeyAndCsr('civil')).csrDer, (await sealing.generateKey()).publicKey);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function peer(csrDer: Uint8Array, sealingKey: Uint8Array): Promise<DesiredPeer> {
  const certificate = await authority.issue(csrDer, {
    role: 'agent',
    platformId: PLATFORM,
    nodeId: parseId(CIVIL),
    code: 'civil',
    days: 10,
    nowMs: Date.now(),
  });
  const facts = {
    nodeId: CIVIL,
    code: 'civil',
    departmentCode: 'civil',
    departmentTitle: '民政局',
    certificate,
    sealingKey,
  };
  return { ...facts, readsFormat: 1, fencingToken: 0n, revoked: false };
}

function world(confirm: ConfirmDestinations, directory = mkdtempSync(join(folder, 'agent-'))) {
  const inner = createDesiredState();
  const { desired, part } = withPeerKeys(inner, { directory, confirm, clock: systemClock, log: silentLog() });
  const take = (present: DesiredPeer, receiverId = CIVIL): DesiredPeer | undefined => {
    const lane = { laneId: 'lane', senderId: OWN, receiverId, destinationIndex: 0, destination: undefined };
    const bridge = {
      bridgeId: 'births',
      state: BridgeState.RUNNING,
      lanes: [{ ...lane, highestEpoch: 0n, ended: false }],
    };
    desired.replace({
      nodeId: OWN,
      bridges: new Map([['births', bridge as unknown as DesiredBridge]]),
      peers: new Map([[CIVIL, present]]),
    } as unknown as Desired);
    return inner.current()?.peers.get(CIVIL);
  };
  return { directory, part, inner, take };
}

const isSealedFor = (present: DesiredPeer | undefined): boolean => (present?.sealingKey.length ?? 0) > 0;
const nameOf = ({ certificate, sealingKey }: DesiredPeer): string => keysFingerprint(certificate, sealingKey);

function codeOf(work: () => void): string {
  try {
    work();
    return 'nothing thrown';
  } catch (error) {
    return error instanceof QiaoError ? error.code : String(error);
  }
}

test('a renewed certificate has the fingerprint it had, other keys have another', () => {
  expect(nameOf(renewed)).toBe(nameOf(first));
  expect(nameOf(foreign)).not.toBe(nameOf(first));
  expect(nameOf({ ...first, sealingKey: foreign.sealingKey })).not.toBe(nameOf(first));
});

test.each([
  ['none', [true, true, true, true]],
  ['changed', [true, true, false, true]],
  ['all', [false, false, false, false]],
] as const)('confirmDestinations: %s', (confirm, expected) => {
  const { take } = world(confirm);
  expect([first, renewed, foreign, first].map((present) => isSealedFor(take(present)))).toEqual(expected);
});

test('keys that wait are sealed for once a person has typed their fingerprint, and no others are', async () => {
  const { directory, part, inner, take } = world('all');
  const waiting = take(first);
  expect(unconfirmedCause(waiting as DesiredPeer)).toMatchObject({
    code: 'DESTINATION_UNCONFIRMED',
    hint: expect.stringContaining(`qiao agent confirm civil ${nameOf(first)}`),
  });
  expect(codeOf(() => confirmPeer(directory, 'civil', nameOf(foreign), 1))).toBe('FINGERPRINT_DIFFERS');
  expect(codeOf(() => confirmPeer(directory, 'city', nameOf(first), 1))).toBe('PEER_UNKNOWN');
  expect(codeOf(() => confirmPeer(directory, '../civil', nameOf(first), 1))).toBe('PEER_UNKNOWN');
  expect(codeOf(() => confirmPeer(directory, 'civil', 'yes', 1))).toBe('FINGERPRINT_INVALID');
  const stop = new AbortController();
  const taken = new Promise<void>((resolve) => {
    inner.onChange(() => resolve());
  });
  const running = part.run(stop.signal);
  confirmPeer(
    directory,
    'civil',
    `SHA256:${nameOf(first)
      .toUpperCase()
      .replace(/(.{4})/g, '$1 ')}`,
    1,
  );
  await taken;
  expect(isSealedFor(inner.current()?.peers.get(CIVIL))).toBe(true);
  stop.abort();
  await running;
  expect([renewed, foreign, first].map((present) => isSealedFor(take(present)))).toEqual([true, false, true]);
});

test('a restart forgets neither what was seen nor what was confirmed', () => {
  const before = world('changed');
  before.take(first);
  const after = world('changed', before.directory);
  expect([foreign, first].map((present) => isSealedFor(after.take(present)))).toEqual([false, true]);
  confirmPeer(before.directory, 'civil', nameOf(first), 1);
  expect(isSealedFor(world('all', before.directory).take(first))).toBe(true);
  expect(statSync(join(before.directory, 'peers.json')).mode & 0o777).toBe(0o600);
});

test('a node that only sends here is written down and waits for nobody', () => {
  const { take } = world('all');
  expect(isSealedFor(take(foreign, OWN))).toBe(true);
});

test('a damaged list stops the agent: taken for empty, every key would pass for the first', () => {
  const { directory, take } = world('changed');
  take(first);
  writeFileSync(join(directory, 'peers.json'), '{', { mode: 0o600 });
  expect(codeOf(() => world('changed', directory))).toBe('PEERS_UNREADABLE');
});
