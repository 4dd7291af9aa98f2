import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ListDeliveriesRequest, ReconcileRequest, Verdict } from '@qiao/contract/monitor';
import { BridgeState, Directory } from '@qiao/contract/node';
import { testStore } from '@qiao/database/testing';
import { idText, type KindCount } from '@qiao/exchange';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type DeliveryRow, type MonitorDatabase, openMonitorDatabase } from '../monitorDatabase.ts';
import { type BooksPorts, readBooks } from '../reconciliation/books.ts';
import { moveTallies } from '../reconciliation/tallies.ts';
import { listDeliveries } from './deliveries.ts';

const NOW_MS = Date.UTC(2026, 10, 20, 12);
const LATE_AFTER_MS = 300_000;
const id = (fill: number) => new Uint8Array(16).fill(fill);
const [sender, receiver] = [id(1), id(2)];

const bridge = (fill: number, state: BridgeState) => ({
  bridgeId: id(fill),
  name: 'births',
  state,
  lateAfterMs: BigInt(LATE_AFTER_MS),
  lanes: [{ laneId: id(fill + 1), senderId: sender, receiverId: receiver }],
});
const directory = Directory.fromPartial({
  nodes: [
    { nodeId: sender, code: 'health' },
    { nodeId: receiver, code: 'city' },
  ],
  bridges: [bridge(10, BridgeState.RETIRED), bridge(20, BridgeState.RUNNING)],
});

let folder: string;
let database: MonitorDatabase;
let ports: BooksPorts;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-deliveries-'));
  database = await openMonitorDatabase(await testStore(join(folder, 'monitor.db')));
  ports = {
    database,
    nodes: {
      directory,
      node: (nodeId: string) => directory.nodes.find((one) => idText(one.nodeId) === nodeId),
      agents: () => directory.nodes,
      state: () => undefined,
      hubHeardAtMs: NOW_MS,
    } as unknown as BooksPorts['nodes'],
    timeZone: 'UTC',
    nowMs: () => NOW_MS,
    nodeSilentAfterMs: 20_000,
  };
});
afterAll(async () => {
  await database.destroy();
  rmSync(folder, { recursive: true });
});

const counts: KindCount[] = [{ table: 'person', inserts: 3, updates: 0, deletes: 0 }];

async function enter(of: number, sequence: number, facts: Partial<DeliveryRow>): Promise<void> {
  const row: DeliveryRow = {
    lane_id: idText(id(of + 1)),
    epoch: 1,
    nonce: '00',
    sequence,
    bridge_id: idText(id(of)),
    sender_id: idText(sender),
    receiver_id: idText(receiver),
    day: '2026-11-20',
    sealed_at_ms: NOW_MS - 1_000_000 + sequence,
    received_at_ms: 0,
    applied_at_ms: 0,
    sent_hash: '',
    received_hash: '',
    counts: JSON.stringify(counts),
    outcomes: '[]',
    extras: '[]',
    revision: 0,
    settlement_code: '',
    origin: 'change',
    state: 'balanced',
    reason: '',
    capture_reason: '',
    rows: 3,
    statement: null,
    receipt: null,
    ...facts,
  };
  await database.transaction().execute(async (transaction) => {
    await transaction.insertInto('delivery').values(row).execute();
    await moveTallies(transaction, undefined, row);
  });
}

async function list(request: Partial<ListDeliveriesRequest>): Promise<string[]> {
  const found: string[] = [];
  for await (const line of listDeliveries(ports, ListDeliveriesRequest.fromPartial({ bridge: 'births', ...request }))) {
    found.push(`${Buffer.from(line.laneId)[0]}/${line.sequence} ${line.verdict.replace('VERDICT_', '')}`);
  }
  return found;
}

test('a list goes on past its pages, newest first, and through the bridge that had the name before', async () => {
  await enter(10, 1, { sealed_at_ms: 5 });
  await enter(20, 1, { state: 'inFlight' });
  // Sealed in one millisecond, as a burst is: a page ends in its midst.
  for (let sequence = 2; sequence <= 1_201; sequence += 1) await enter(20, sequence, { sealed_at_ms: NOW_MS - 500 });
  const every = await list({ limit: 5_000 });
  expect(every).toHaveLength(1_202);
  expect(new Set(every).size).toBe(1_202);
  expect([every[0], ...every.slice(-2)]).toEqual(['21/1201 BALANCED', '21/1 DEVIATION', '11/1 BALANCED']);
  expect(await list({})).toHaveLength(1_000);
});

test('what is wrong is found behind any number of newer deliveries that are right', async () => {
  expect(await list({ verdict: Verdict.DEVIATION, limit: 3 })).toEqual(['21/1 DEVIATION']);
  expect(await list({ verdict: Verdict.OPEN })).toEqual([]);
});

test('a day that is none, and a bridge that never was, are refused', async () => {
  await expect(list({ fromDay: 'yesterday' })).rejects.toMatchObject({ code: 'DAY_INVALID' });
  await expect(list({ bridge: 'deaths' })).rejects.toMatchObject({ code: 'BRIDGE_UNKNOWN' });
});

test('a delivery older than the books of its receiver is forgotten, not late; a younger one is late', async () => {
  const books = async () => (await readBooks(ports, ReconcileRequest.fromPartial({ bridge: 'births' }))).lines[1];
  const rows = { inFlightRows: 3n, forgottenRows: 0n, forgottenDeliveries: 0n };
  expect(await books()).toMatchObject({ ...rows, verdict: Verdict.DEVIATION, bridgeState: BridgeState.RUNNING });
  await database
    .insertInto('book_position')
    .values({ node_id: idText(receiver), database_id: '00', through: 9, begins_at_ms: NOW_MS - 900_000 })
    .execute();
  expect(await list({ verdict: Verdict.DEVIATION })).toEqual([]);
  const [oldest] = await list({ verdict: Verdict.EXPLAINED });
  expect(oldest).toBe('21/1 EXPLAINED');
  const line = await books();
  expect(line).toMatchObject({ verdict: Verdict.EXPLAINED, inFlightRows: 0n, forgottenRows: 3n, receipted: 1_200n });
  expect(line?.remarks.join()).toContain('the books of city begin at 2026-11-20T11:45:00.000Z');

  await enter(20, 1_202, { state: 'inFlight', sealed_at_ms: NOW_MS - 800_000 });
  expect(await list({ verdict: Verdict.DEVIATION })).toEqual(['21/1202 DEVIATION']);
  expect(await books()).toMatchObject({ verdict: Verdict.DEVIATION, inFlightDeliveries: 1n, forgottenDeliveries: 1n });
});
