import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BridgeState } from '@qiao/contract/node';
import { idText, parseId, QiaoError } from '@qiao/exchange';
import { silentLog, systemClock } from '@qiao/runtime';
import { Authority, createCsr, createKeyAndCsr, keysFingerprint, sealing } from '@qiao/security';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDesiredState, type Desired, type DesiredBridge, type DesiredPeer } from './desired.ts';
import { type ConfirmDestinations, RECORDS_MOST, unconfirmedCause, withPeerKeys } from './peerKeys.ts';
import { confirmPeer } from './peerRecords.ts';

const PLATFORM = new Uint8Array(16).fill(1);
const OWN = idText(new Uint8Array(16).fill(2));
const CIVIL = idText(new Uint8Array(16).fill(3));
const OTHER = idText(new Uint8Array(16).fill(4));

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
  /** A snapshot with these peers and a lane to, or from, the first of them. */
  const takeAll = (peers: readonly DesiredPeer[], ends: 'to' | 'from' | 'none' = 'to') => {
    const [peer] = peers;
    const receiverId = ends === 'to' ? peer?.nodeId : OWN;
    const senderId = ends === 'to' ? OWN : peer?.nodeId;
    const lane = { laneId: 'lane', senderId, receiverId, destinationIndex: 0, destination: undefined };
    const bridge = {
      bridgeId: 'births',
      state: BridgeState.RUNNING,
      lanes: [{ ...lane, highestEpoch: 0n, ended: false }],
    };
    desired.replace({
      nodeId: OWN,
      bridges: new Map(ends === 'none' ? [] : [['births', bridge as unknown as DesiredBridge]]),
      peers: new Map(peers.map((present) => [present.nodeId, present])),
    } as unknown as Desired);
    return (nodeId: string): DesiredPeer | undefined => inner.current()?.peers.get(nodeId);
  };
  const take = (present: DesiredPeer, ends: 'to' | 'from' | 'none' = 'to'): DesiredPeer | undefined =>
    takeAll([present], ends)(present.nodeId);
  const records = () => {
    const read = JSON.parse(readFileSync(join(directory, 'peers.json'), 'utf8')) as Record<string, { code: string }>;
    return Object.entries(read).map(([nodeId, { code }]) => ({ nodeId, node: code }));
  };
  return { directory, part, inner, take, takeAll, records };
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

test('what holds for destinations holds for nodes that send here: keys of missing rows are sealed for them', () => {
  expect(isSealedFor(world('all').take(foreign, 'from'))).toBe(false);
  const { take } = world('changed');
  expect([first, foreign].map((present) => isSealedFor(take(present, 'from')))).toEqual([true, false]);
  expect(isSealedFor(world('none').take(foreign, 'from'))).toBe(true);
});

test.each(['from', 'none'] as const)('keys named while the node is no destination do not become known (%s)', (ends) => {
  const { take } = world('changed');
  take(first);
  take(foreign, ends);
  expect([foreign, first].map((present) => isSealedFor(take(present)))).toEqual([false, true]);
});

test('another node under a known code is no node seen first, also after the known one was left out or renamed', () => {
  const other = { ...foreign, nodeId: OTHER };
  const { take, takeAll, records } = world('changed');
  take(first);
  expect(isSealedFor(takeAll([other, first])(OTHER))).toBe(false);
  takeAll([]);
  expect(records()).toEqual([{ nodeId: CIVIL, node: 'civil' }]);
  expect(isSealedFor(take(other))).toBe(false);
  const renamed = { ...first, code: 'police' };
  expect(isSealedFor(takeAll([renamed, other])(OTHER))).toBe(false);
  expect(isSealedFor(takeAll([renamed])(CIVIL))).toBe(false);
  expect(isSealedFor(take(first))).toBe(true);
});

test('keys that were confirmed under one code do not count under another', () => {
  const { directory, take } = world('all');
  take(first);
  confirmPeer(directory, 'civil', nameOf(first), 1);
  expect(isSealedFor(take({ ...first, code: 'police' }))).toBe(false);
  expect(isSealedFor(take(first))).toBe(true);
});

test.each([
  ['none', undefined],
  ['changed', 'DESTINATION_UNCONFIRMED'],
  ['all', 'DESTINATION_UNCONFIRMED'],
] as const)(
  'a certificate that comes without a sealing key is believed by nobody who confirms (%s)',
  (confirm, code) => {
    const { directory, take } = world(confirm);
    const without = { ...foreign, sealingKey: new Uint8Array(0) };
    expect(unconfirmedCause(take(without) as DesiredPeer)?.code).toBe(code);
    take(first);
    confirmPeer(directory, 'civil', nameOf(first), 1);
    expect(unconfirmedCause(take(without) as DesiredPeer)?.code).toBe(code);
    expect(unconfirmedCause(take(first) as DesiredPeer)).toBeUndefined();
  },
);

test('nothing is sealed for a node whose rights ended, whatever key the hub names', () => {
  const { take } = world('none');
  const revoked = take({ ...foreign, revoked: true });
  expect([isSealedFor(revoked), revoked?.unconfirmed]).toEqual([false, undefined]);
});

test('of two nodes under one code, the one with the typed fingerprint is confirmed', () => {
  const other = { ...foreign, nodeId: OTHER };
  const { directory, takeAll, records } = world('all');
  takeAll([other, first]);
  confirmPeer(directory, 'civil', nameOf(first), 1);
  const peers = takeAll([other, first]);
  expect([isSealedFor(peers(OTHER)), isSealedFor(peers(CIVIL))]).toEqual([false, true]);
  expect(codeOf(() => confirmPeer(directory, 'civil', '0'.repeat(64), 1))).toBe('FINGERPRINT_DIFFERS');
  takeAll([]);
  expect(records()).toEqual([{ nodeId: CIVIL, node: 'civil' }]);
});

test('the list stays bounded: past it first keys wait, and what nothing was sealed for is forgotten', () => {
  const { directory, take: before } = world('changed');
  before(first);
  const file = join(directory, 'peers.json');
  const [record] = Object.values(JSON.parse(readFileSync(file, 'utf8')) as Record<string, object>);
  const ids = Array.from({ length: RECORDS_MOST }, (_, index) => `f${index.toString(16).padStart(31, '0')}`);
  const full = Object.fromEntries(
    ids.map((id, index) => [id, { ...record, code: `node-${index}`, usedAs: `node-${index}` }]),
  );
  writeFileSync(file, JSON.stringify(full), { mode: 0o600 });
  const changed = world('changed', directory);
  expect(isSealedFor(changed.take(foreign))).toBe(false);
  changed.takeAll([]);
  expect(changed.records()).toHaveLength(RECORDS_MOST);
  expect(changed.records().map(({ node }) => node)).not.toContain('civil');
  const none = world('none', directory);
  expect(isSealedFor(none.take(foreign))).toBe(true);
  expect(none.records()).toHaveLength(RECORDS_MOST);
  expect(none.records().map(({ node }) => node)).toContain('civil');
});

test('a damaged list stops the agent: taken for empty, every key would pass for the first', () => {
  const { directory, take } = world('changed');
  take(first);
  writeFileSync(join(directory, 'peers.json'), '{', { mode: 0o600 });
  expect(codeOf(() => world('changed', directory))).toBe('PEERS_UNREADABLE');
});
