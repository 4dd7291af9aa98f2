import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChangeKind, Outcome } from '@qiao/contract/counts';
import { BoardLane } from '@qiao/contract/monitor';
import {
  BridgeState,
  Directory,
  type DirectoryNode,
  Heartbeat,
  ServiceCondition,
  ServiceLeg,
} from '@qiao/contract/node';
import { testStore } from '@qiao/database/testing';
import { afterAll, expect, test } from 'vitest';
import { openMonitorDatabase } from '../monitorDatabase.ts';
import { keepAlerts, listAlerts } from './alerts.ts';
import { type ConditionFacts, findConditions } from './conditions.ts';

const folder = mkdtempSync(join(tmpdir(), 'qiao-alerts-'));
afterAll(() => rmSync(folder, { recursive: true }));

const id = (fill: number) => new Uint8Array(16).fill(fill);
const bridge = { bridgeId: id(1), name: 'births', state: BridgeState.RUNNING, explainedAlertShare: 0.1 };
const directory = Directory.fromPartial({
  nodes: [{ nodeId: id(2), code: 'health', certificate: Uint8Array.of(1) }],
  bridges: [bridge],
});

function factsOf(heartbeat: Partial<Heartbeat>, nowMs: number, before?: ConditionFacts): ConditionFacts {
  return {
    nodes: {
      directory,
      hubHeardAtMs: nowMs,
      agents: (): DirectoryNode[] => directory.nodes,
      state: () => ({ heartbeat: Heartbeat.fromPartial(heartbeat), receivedAtMs: nowMs }),
    },
    board: { lanes: [] },
    brokenEntries: [],
    nowMs,
    nodeSilentAfterMs: 20_000,
    serviceDownAfterMs: 10_000,
    retryingSinceMs: before?.retryingSinceMs ?? new Map(),
  };
}

const away = (name: string) => ({ name, adapter: 'sqlite', reachable: false, code: 'X', message: '', checkedAtMs: 0n });
const service = (condition: ServiceCondition, lane: number) =>
  Heartbeat.fromPartial({
    services: [{ bridgeId: bridge.bridgeId, laneId: id(lane), leg: ServiceLeg.SEND, condition, message: 'm' }],
  }).services;

test('a heartbeat that names one thing twice raises one alert, and keeps no other from being raised', async () => {
  const database = await openMonitorDatabase(await testStore(join(folder, 'monitor.db')));
  const stuck = service(ServiceCondition.STUCK, 3);
  const twice = findConditions(
    factsOf({ dataSources: [away('his'), away('his')], services: [...stuck, ...stuck] }, 1_000),
  );
  expect(await keepAlerts(database, twice, 1_000)).toEqual({ opened: 2, resolved: 0 });
  expect(await keepAlerts(database, findConditions(factsOf({}, 2_000)), 2_000)).toEqual({ opened: 0, resolved: 2 });
  expect(await listAlerts(database, false)).toEqual([]);
  await database.destroy();
});

test('rows that a source refuses are told until a scan refuses none', () => {
  const capture = (openRows: bigint) =>
    findConditions(
      factsOf(
        {
          services: Heartbeat.fromPartial({ services: [{ bridgeId: id(1), leg: ServiceLeg.CAPTURE, openRows }] })
            .services,
        },
        1_000,
      ),
    ).map(({ code, subject, hint }) => [code, subject, hint]);
  expect(capture(3n)).toEqual([['ROWS_REFUSED', 'births at health', 'qiao bridge refused births']]);
  expect(capture(0n)).toEqual([]);
});

test('one node cannot drown the alerts of the others, nor fill memory', () => {
  const many = Array.from({ length: 1_000 }, (_, index) => away(`d${index}`));
  expect(findConditions(factsOf({ dataSources: many }, 1_000)).length).toBeLessThanOrEqual(100);
  const loud = findConditions(factsOf({ dataSources: [{ ...away('his'), message: 'x'.repeat(100_000) }] }, 1_000));
  expect(loud[0]?.message.length).toBeLessThanOrEqual(500);

  let facts = factsOf({ services: service(ServiceCondition.RETRYING, 1) }, 0);
  for (let lane = 1; lane <= 50; lane += 1) {
    facts = factsOf({ services: service(ServiceCondition.RETRYING, lane) }, lane, facts);
    findConditions(facts);
  }
  expect(facts.retryingSinceMs.size).toBe(1);
});

test('a service that retries is down after a while; one that was gone in between begins anew', () => {
  const retrying = { services: service(ServiceCondition.RETRYING, 3) };
  const first = factsOf(retrying, 0);
  expect(findConditions(first)).toEqual([]);
  expect(findConditions(factsOf(retrying, 10_000, first))).toMatchObject([{ code: 'SEND_DOWN' }]);
  expect(findConditions(factsOf({}, 11_000, first))).toEqual([]);
  expect(findConditions(factsOf(retrying, 12_000, first))).toEqual([]);
});

test('explained differences are told past the share that the bridge allows', () => {
  const codes = (inserted: bigint, kept: bigint) => {
    const cell = (outcome: Outcome, rows: bigint) => ({ table: 'birth', sent: ChangeKind.INSERT, outcome, rows });
    const outcomes = [cell(Outcome.INSERTED, inserted), cell(Outcome.KEPT_TARGET, kept), cell(Outcome.HELD, 50n)];
    const books = { bridgeId: bridge.bridgeId, laneId: id(3), sent: { total: inserted + kept + 50n }, outcomes };
    const lanes = [BoardLane.fromPartial({ books })];
    return findConditions({ ...factsOf({}, 1_000), board: { lanes } }).map(({ code }) => code);
  };
  expect(codes(140n, 10n)).toEqual([]);
  expect(codes(100n, 50n)).toEqual(['EXPLAINED_PAST_THRESHOLD']);
});

test('a capture that goes on after its source lost history is a warning, ended by whoever says that they know', () => {
  const [running] = service(ServiceCondition.RUNNING, 3);
  const of = (code: string) =>
    ({ services: [{ ...running, leg: ServiceLeg.CAPTURE, laneId: id(0), code }] }) as Partial<Heartbeat>;
  expect(findConditions(factsOf(of('LOG_GAP'), 1_000))).toMatchObject([
    { code: 'HISTORY_LOST', level: 'warning', message: 'LOG_GAP: m' },
  ]);
  expect(findConditions(factsOf(of(''), 1_000))).toEqual([]);
});

test('a hub that says nothing is told of: nothing is routed while it is off, or waits to be confirmed', () => {
  const facts = factsOf({}, 100_000);
  const heardAt = (hubHeardAtMs: number) => findConditions({ ...facts, nodes: { ...facts.nodes, hubHeardAtMs } });
  expect(heardAt(10_000)).toEqual([]);
  expect(heardAt(9_999)).toMatchObject([
    { code: 'HUB_SILENT', level: 'fault', hint: expect.stringContaining('qiao hub confirm') },
  ]);
});
