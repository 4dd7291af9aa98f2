import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { OpenPlace } from '@qiao/adapters';
import { BridgeState } from '@qiao/contract/node';
import {
  joinRow,
  type Kind,
  type OutcomeCell,
  parseBridge,
  parseId,
  type Section,
  type TablePlace,
} from '@qiao/exchange';
import { expect, test } from 'vitest';
import { digestOf } from '../capture/compare.ts';
import { KeyEncoder } from '../capture/keys.ts';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import { GONE, openExchangeDatabase } from '../exchange-database/index.ts';
import { Arrivals, waysOn } from './arrivals.ts';

const BACK_ID = 'b'.repeat(32);
const COLUMNS = ['id', 'x', 'seen_at'];
const PASSED: TablePlace = { node: 'farther', dataSource: 'own', table: 'register' };
const FROM: TablePlace = { node: 'there', dataSource: 'own', table: 'register' };

interface Leg {
  readonly capture?: string;
  /** Of the source's table. */
  readonly more?: string;
  /** Of the destination's. */
  readonly landing?: string;
  readonly receivers?: readonly string[];
}

/** A bridge of `register` from one node to another. */
function leg(
  from: string,
  to: string,
  { capture = 'log', more = '', landing = '', receivers = [to] }: Leg = {},
): DesiredBridge {
  const { definition, problems } = parseBridge(
    `{kind: Bridge, name: ${from}-${to}, title: t, source: {node: ${from}, dataSource: own, capture: ${capture}, tables: [{name: register${more}}]},
      schedule: realtime, destinations: [{node: ${to}, dataSource: own, tables: {register: {to: register${landing}}}}]}`,
  );
  if (definition === undefined) throw new Error(JSON.stringify(problems));
  const lanes = receivers.map((receiverId, index) => ({
    laneId: `${from}${receiverId}`,
    senderId: from,
    receiverId,
    destinationIndex: index,
    destination: definition.destinations[0],
    highestEpoch: 1n,
    ended: false,
  }));
  const bridgeId = from === 'here' ? BACK_ID : 'a'.repeat(32);
  return {
    bridgeId,
    name: definition.name,
    version: 1,
    state: BridgeState.RUNNING,
    definition,
    lanes,
    runNumber: 0n,
    allowedDeletes: 0n,
  };
}

/** The hub says of these tables that their rows may come home. */
function inCircles(bridge: DesiredBridge, circles: { pairs?: string[]; rings?: string[] }): DesiredBridge {
  return { ...bridge, circles: { pairs: new Set(circles.pairs), rings: new Set(circles.rings) } };
}

function ways(...onward: DesiredBridge[]): [string, boolean][] {
  const there = leg('there', 'here', { landing: ', conflict: {newestWins: seen_at}' });
  const bridges = new Map([there, ...onward].map((one) => [one.name, one]));
  const [lane] = there.lanes;
  if (lane === undefined) throw new Error('no lane');
  const found = waysOn({ nodeId: 'here', bridges } as unknown as Desired, there, lane).get('register') ?? [];
  expect(found.map(({ from, table }) => ({ from, table }))).toEqual(
    found.map(() => ({ from: FROM, table: 'register' })),
  );
  return found.map(({ bridgeId, sendsBack }) => [bridgeId, sendsBack]);
}

test('what arrives goes on by bridges that take it change by change, as it is, to one destination; a newer row is sent back by a pair alone', () => {
  expect(ways()).toEqual([]);
  expect(ways(leg('here', 'there'))).toEqual([[BACK_ID, true]]);
  expect(ways(leg('here', 'there', { capture: 'trigger' }))).toEqual([[BACK_ID, true]]);
  expect(ways(leg('here', 'elsewhere'))).toEqual([[BACK_ID, false]]);
  expect(ways(leg('here', 'there', { receivers: ['there', 'elsewhere'] }))).toEqual([]);
  expect(ways(leg('here', 'there', { capture: 'compare' }))).toEqual([]);
  expect(ways(leg('here', 'there', { more: `, where: "x = 'y'"` }))).toEqual([]);
  expect(ways(leg('here', 'there', { landing: ', landing: journal' }))).toEqual([]);
});

test('of what lies in no circle nothing is noted, where the hub says so', () => {
  expect(ways(inCircles(leg('here', 'there'), { pairs: ['register'] }))).toEqual([[BACK_ID, true]]);
  expect(ways(inCircles(leg('here', 'elsewhere'), { rings: ['register'] }))).toEqual([[BACK_ID, false]]);
  expect(ways(inCircles(leg('here', 'elsewhere'), { pairs: ['other'] }))).toEqual([]);
  expect(ways(inCircles(leg('here', 'elsewhere'), {}))).toEqual([]);
});

test('what arrives is noted as the capture would find it: rows by digest, deletes as gone, parts of rows not at all', () => {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-arrivals-'));
  const database = openExchangeDatabase(join(folder, 'exchange.db'));
  const keys = new KeyEncoder([{ type: 'integer', bits: 64 }]);
  const bridge = parseId(BACK_ID);
  const { id } = database.captures.addTable(
    bridge,
    'register',
    JSON.stringify(COLUMNS),
    JSON.stringify(['id', keys.encoding]),
  );
  const way = { bridgeId: BACK_ID, table: 'register', from: FROM, sendsBack: true };
  const arrivals = new Arrivals(new Map([['register', [way]]]), database);
  const section = (kind: Kind, columns: readonly string[], wholeRows: boolean, ...rows: string[][]): Section => ({
    table: 'register',
    kind,
    columns,
    keyColumns: 1,
    rowCount: rows.length,
    rows: Buffer.from(rows.map((row) => `${joinRow(row)}\n`).join('')),
    wholeRows,
  });
  const keyOf = (key: string) => keys.encode(Buffer.from(`${key}\n`), 0, key.length);
  const digest = (...row: string[]) => digestOf(Buffer.from(`${joinRow(row)}\n`));
  arrivals.note([
    section('insert', COLUMNS, true, ['1', 'a\tb', 't1']),
    { ...section('update', ['id', 'seen_at', 'x'], true, ['2', 't2', 'b']), path: [PASSED] },
    section('update', ['id', 'x'], false, ['3', 'c']),
    section('update', ['id', 'x'], true, ['4', 'd']),
    section('delete', ['id'], false, ['5']),
  ]);
  const asked = ['1', '2', '3', '4', '5'].map(keyOf);
  expect(database.arrivals.getMany(id, asked)).toEqual(
    new Map([
      [keyOf('1'), { digest: digest('1', 'a\tb', 't1'), path: [FROM] }],
      [keyOf('2'), { digest: digest('2', 'b', 't2'), path: [PASSED, FROM] }],
      [keyOf('5'), { digest: GONE, path: [FROM] }],
    ]),
  );
  // A later word stays when the one before it is found.
  arrivals.note([section('insert', COLUMNS, true, ['5', 'e', 't5'])]);
  database.arrivals.forget(id, [
    { key: keyOf('5'), digest: GONE },
    { key: keyOf('1'), digest: digest('1', 'a\tb', 't1') },
  ]);
  expect([...database.arrivals.getMany(id, asked).keys()]).toEqual([keyOf('2'), keyOf('5')]);
  // What stayed here against the rows of a section is to be looked at; deletes have no time.
  const sent = [
    section('update', COLUMNS, true, ['1', 'a', 't0'], ['6', 'x', 't0'], ['7', 'c', 't0']),
    section('insert', COLUMNS, true, ['2', 'b', 't0']),
  ];
  const refused = { table: 'register', kind: 'update', outcome: 'quarantined', code: 'CHECK', reason: '' } as const;
  const answered = (outcome: Pick<OutcomeCell, 'sent' | 'outcome'>, ...waiting: number[]) => ({
    outcomes: [{ table: 'register', rows: 1, ...outcome }],
    open: waiting.map((index): OpenPlace => ({ ...refused, section: 0, index })),
  });
  const due = () => database.arrivals.dueBack(id, 10).map(({ key }) => key);
  arrivals.landed(sent, answered({ sent: 'delete', outcome: 'keptTarget' }));
  arrivals.landed(sent, answered({ sent: 'update', outcome: 'updated' }));
  const other = new Arrivals(new Map([['register', [{ ...way, sendsBack: false }]]]), database);
  other.landed(sent, answered({ sent: 'update', outcome: 'keptTarget' }));
  expect(due()).toEqual([]);
  // A row that waits is not the newer one here, and one that is here as it was sent there is nobody's.
  database.digests.put(id, [{ key: keyOf('7'), digest: digest('7', 'c', 't0'), sent: true }]);
  arrivals.landed(sent, answered({ sent: 'update', outcome: 'keptTarget' }, 1));
  expect(due()).toEqual([keyOf('1')]);
  database.captures.removeTable(id);
  expect(due()).toEqual([]);
  expect(database.arrivals.getMany(id, asked)).toEqual(new Map());
  database.close();
  rmSync(folder, { recursive: true });
});
