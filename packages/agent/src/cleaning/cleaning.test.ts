import { BookEntry, ControlMessage } from '@qiao/contract/control';
import { ChangeKind, Outcome } from '@qiao/contract/counts';
import { BridgeState, NodeSnapshot } from '@qiao/contract/node';
import { Receipt } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { parseId } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { keepDefinitions } from '../apply/versions.ts';
import { CaptureWorld } from '../capture/captureWorld.testing.ts';
import { BRIDGE, LANE, personRows, RECEIVER, ReceiverWorld, SENDER, TestSender } from '../receive/sender.testing.ts';
import { purgeSettled } from '../send/purge.ts';
import { type CleaningPorts, clean } from './cleaning.ts';
import { type Named, namedIn } from './named.ts';

const DAY_MS = 86_400_000;
const NOTHING: Named = { bridges: new Set(), lanes: new Set(), landing: new Set() };
const signed = (payload: Uint8Array): Signed => ({
  payload,
  suite: 'test',
  keyId: new Uint8Array(32),
  signature: new Uint8Array(1),
});

function cleaning(world: CaptureWorld | ReceiverWorld, named: () => Named): CleaningPorts {
  const { database } = world;
  const clock =
    'nowMs' in world ? { nowMs: () => world.nowMs, elapsedMs: () => world.nowMs, sleep: async () => {} } : world.clock;
  const desired =
    'nowMs' in world
      ? { current: () => world.desired, onChange: () => () => undefined }
      : { current: () => world.desired.current(), onChange: () => () => undefined };
  return {
    database,
    desired,
    signer: { sign: (_context, payload) => signed(payload) },
    fence: { token: () => 1n, isLost: false, whenGiven: async () => undefined },
    clock,
    newId: () => new Uint8Array(16),
    cancel: { database, sign: (_context, payload) => signed(payload), clock, onQueued: () => {} },
    named,
    retentionMs: DAY_MS,
    log: silentLog(),
  };
}

test('a sender forgets a lane and its bridge a retention after they left the snapshot, and closes it in the books', async () => {
  using world = new CaptureWorld();
  const columns = [{ name: 'id', type: { type: 'text' } as const }];
  world.addTable('person', { columns, key: ['id'], lines: ['1', '2'] });
  world.addLane();
  await world.scan();
  const [held] = world.database.lanesOut.all();
  if (held !== undefined) world.database.resendsTaken.add(held.lane, new Uint8Array(16));
  const ports = cleaning(world, () => NOTHING);
  await clean(ports);
  // A hub restored from a backup may lack it for a while: nothing has happened to it yet.
  expect(world.database.lanesOut.all()).toMatchObject([{ phase: 'streaming' }]);
  world.nowMs += DAY_MS;
  await clean(ports);
  expect(world.database.lanesOut.all()).toMatchObject([{ phase: 'ended', waitingCount: 0 }]);
  const entries = world.database.books.after(0n, 10).map(({ entry }) => BookEntry.decode(entry).entry?.$case);
  expect(entries).toEqual(['statement', 'settlement']);
  expect(purgeSettled(world.database, world.nowMs + 1)).toBe(1);
  await clean(ports);
  expect(world.database.lanesOut.all()).toEqual([]);
  await clean(ports);
  expect(world.database.captures.bridges()).toEqual([]);
  const tables = ['delivery_out', 'parcel', 'row_digest', 'receipt_in', 'lane_out', 'lane_loss', 'resend_taken'];
  const left = tables.filter(
    (table) => world.database.sqlite.prepare(`SELECT count(*) FROM ${table}`).pluck().get() !== 0,
  );
  expect(left).toEqual([]);
});

test('a lane that comes back into the snapshot in time goes on as if nothing had been', async () => {
  using world = new CaptureWorld();
  world.addTable('person', { columns: [{ name: 'id', type: { type: 'text' } }], key: ['id'], lines: ['1'] });
  world.addLane();
  await world.scan();
  let named = NOTHING;
  const ports = cleaning(world, () => named);
  await clean(ports);
  world.nowMs += DAY_MS - 1;
  const [bridge] = world.desired.bridges.keys();
  named = { ...NOTHING, bridges: new Set([bridge ?? '']), lanes: new Set(world.lanes.map(({ laneId }) => laneId)) };
  await clean(ports);
  named = NOTHING;
  world.nowMs += DAY_MS - 1;
  await clean(ports);
  expect(world.database.lanesOut.all()).toMatchObject([{ phase: 'streaming' }]);
});

test('a receiver cancels the open rows of a lane that is over, in a last revision, and takes its mark out of the target', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna', '2\t\\N'])]));
  await world.apply();
  expect(world.database.quarantine.countOpen(parseId(LANE))).toBe(1);
  const ports = cleaning(world, () => NOTHING);
  await clean(ports);
  world.clock.atMs += DAY_MS;
  await clean(ports);
  const receipts = world.database.books
    .after(0n, 10)
    .map(({ entry }) => BookEntry.decode(entry).entry)
    .flatMap((entry) => (entry?.$case === 'receipt' ? [Receipt.decode(entry.value.payload)] : []));
  expect(receipts.map(({ revision, settled }) => [revision, settled])).toEqual([
    [1, false],
    [2, true],
  ]);
  const cells = receipts[1]?.outcomes.map(({ sent, outcome, rows }) => [sent, outcome, rows]);
  expect(cells).toContainEqual([ChangeKind.INSERT, Outcome.CANCELLED, 1n]);
  expect(cells).toContainEqual([ChangeKind.INSERT, Outcome.INSERTED, 1n]);
  expect(cells).toHaveLength(2);
  const told = world.database.controlOut.next(50).map(({ message }) => ControlMessage.decode(message));
  expect(
    told.some(({ body, toNodeId }) => body?.$case === 'receipt' && Buffer.from(toNodeId).toString('hex') === SENDER),
  ).toBe(true);
  expect(world.database.quarantine.countOpen(parseId(LANE))).toBe(0);
  // The mark and the lane's row go together, when the target is at hand.
  expect(world.targetRows(`SELECT count(*) FROM qiao_mark WHERE lane = '${LANE}'`)).not.toEqual([[0]]);
  const desired = world.desired.current();
  if (desired !== undefined) world.desired.replace({ ...desired, bridges: new Map() });
  await world.apply();
  expect(world.targetRows(`SELECT count(*) FROM qiao_mark WHERE lane = '${LANE}'`)).toEqual([[0]]);
  expect(world.targetRows('SELECT id FROM person')).toEqual([[1]]);
  expect(world.database.lanesIn.all()).toEqual([]);
});

test('a lane that apply forgets before the cleaning looks again leaves nothing behind', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  await clean(cleaning(world, () => NOTHING));
  world.clock.atMs += DAY_MS;
  const desired = world.desired.current();
  if (desired !== undefined) world.desired.replace({ ...desired, bridges: new Map() });
  await world.apply();
  expect(world.database.lanesIn.all()).toEqual([]);
  expect(world.database.receiptsOut.get({ lane: parseId(LANE), epoch: 1n, sequence: 1n })).toBeUndefined();
  expect(world.database.sqlite.prepare('SELECT count(*) FROM receipt_out').pluck().get()).toBe(0);
});

test('definitions go with the last lane of a bridge that ended here, though the hub names it for a while', async () => {
  using world = new ReceiverWorld();
  const { database } = world;
  const snapshot = (state: BridgeState, ended: boolean) =>
    NodeSnapshot.fromPartial({
      nodeId: parseId(RECEIVER),
      bridges: [
        {
          bridgeId: parseId(BRIDGE),
          version: 1,
          state,
          definitionJson: '{}',
          lanes: [{ laneId: parseId(LANE), receiverId: parseId(RECEIVER), ended }],
        },
      ],
    });
  const versions = () => database.bridgeVersions.bridges().length;
  const cleanUnder = async (now: NodeSnapshot) => {
    keepDefinitions(database, now, RECEIVER, world.clock.nowMs());
    await clean(cleaning(world, () => namedIn(now)));
    return versions();
  };
  expect(await cleanUnder(snapshot(BridgeState.RUNNING, false))).toBe(1);
  database.lanesIn.ensure(parseId(LANE), parseId(BRIDGE), parseId(SENDER));
  database.lanesIn.end(parseId(LANE));
  // What is under way still lands under them.
  expect(await cleanUnder(snapshot(BridgeState.RUNNING, true))).toBe(1);
  database.lanesIn.remove(parseId(LANE));
  expect(await cleanUnder(snapshot(BridgeState.RUNNING, true))).toBe(0);
  expect(await cleanUnder(snapshot(BridgeState.RETIRED, false))).toBe(0);
});
