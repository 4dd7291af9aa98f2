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
import { GONE, openExchangeDatabase, type Word } from '../exchange-database/index.ts';
import { Arrivals, type WayOn, waysOn } from './arrivals.ts';

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

class Landing implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'qiao-arrivals-'));
  readonly database = openExchangeDatabase(join(this.#folder, 'exchange.db'));
  readonly #keys = new KeyEncoder([{ type: 'integer', bits: 64 }]);
  readonly id = this.database.captures.addTable(parseId(BACK_ID), 'register', {
    layout: JSON.stringify(COLUMNS),
    keyLayout: JSON.stringify(['id', this.#keys.encoding]),
    layoutVersion: 1,
  }).id;
  readonly way: WayOn;
  readonly arrivals: Arrivals;

  constructor(way: Partial<WayOn> = {}) {
    const heard = { place: FROM, circle: 'pair' as const };
    this.way = { bridgeId: BACK_ID, table: 'register', from: FROM, heard, sendsBack: true, ...way };
    this.arrivals = new Arrivals(new Map([['register', [this.way]]]), this.database);
  }

  keyOf(key: string): string {
    return this.#keys.encode(Buffer.from(`${key}\n`), 0, key.length);
  }

  /** The row is known here, and was sent on as it is. */
  has(...row: string[]): void {
    this.database.digests.put(this.id, [{ key: this.keyOf(row[0] as string), digest: digest(...row), sent: true }]);
  }

  /** By key as it is written. */
  words(
    ...keys: string[]
  ): Record<string, Omit<Word, 'isLanded' | 'earlier'> & { isLanded?: true; earlier?: readonly string[] }> {
    const words = this.database.arrivals.getMany(
      this.id,
      keys.map((key) => this.keyOf(key)),
    );
    return Object.fromEntries(
      keys.flatMap((key) => {
        const word = words.get(this.keyOf(key));
        if (word === undefined) return [];
        const { isLanded, earlier, ...said } = word;
        return [[key, { ...said, ...(isLanded && { isLanded }), ...(earlier.length > 0 && { earlier }) }]];
      }),
    );
  }

  [Symbol.dispose](): void {
    this.database.close();
    rmSync(this.#folder, { recursive: true });
  }
}

function section(kind: Kind, columns: readonly string[], wholeRows: boolean, ...rows: string[][]): Section {
  return {
    table: 'register',
    kind,
    columns,
    keyColumns: 1,
    rowCount: rows.length,
    rows: Buffer.from(rows.map((row) => `${joinRow(row)}\n`).join('')),
    wholeRows,
  };
}

const digest = (...row: string[]) => digestOf(Buffer.from(`${joinRow(row)}\n`));
const gone = (...keys: string[]) => section('delete', ['id'], false, ...keys.map((key) => [key]));

/** What the target said; rows of the first section by their places wait. */
function answered(sent: Kind, outcome: OutcomeCell['outcome'], ...waiting: number[]) {
  const refused = { table: 'register', kind: sent, outcome: 'quarantined', code: 'CHECK', reason: '' } as const;
  return {
    outcomes: [{ table: 'register', rows: 1, sent, outcome }],
    open: waiting.map((index): OpenPlace => ({ ...refused, section: 0, index })),
  };
}

test('what arrives is noted as the capture would find it: rows by digest, deletes as gone, parts of rows not at all', () => {
  using it = new Landing();
  const { database, arrivals } = it;
  it.has('5', 'e', 't0');
  arrivals.note([
    section('insert', COLUMNS, true, ['1', 'a\tb', 't1']),
    { ...section('update', ['id', 'seen_at', 'x'], true, ['2', 't2', 'b']), path: [PASSED] },
    section('update', ['id', 'x'], false, ['3', 'c']),
    section('update', ['id', 'x'], true, ['4', 'd']),
    gone('5'),
  ]);
  const there = undefined;
  expect(it.words('1', '2', '3', '4', '5')).toEqual({
    '1': { digest: digest('1', 'a\tb', 't1'), path: [FROM], there },
    '2': { digest: digest('2', 'b', 't2'), path: [PASSED, FROM], there },
    '5': { digest: GONE, path: [FROM], there },
  });
  // A later word stays when the one before it is found.
  arrivals.note([section('insert', COLUMNS, true, ['5', 'e', 't5'])]);
  database.arrivals.forget(it.id, [
    { key: it.keyOf('5'), digest: GONE },
    { key: it.keyOf('1'), digest: digest('1', 'a\tb', 't1') },
  ]);
  expect(Object.keys(it.words('1', '2', '5'))).toEqual(['2', '5']);
  database.captures.removeTable(it.id);
  expect(it.words('2', '5')).toEqual({});
});

test('rows that are here as they come, and deletes of rows that are not, are not noted, but for deletes in a ring', () => {
  for (const circle of ['pair', 'ring'] as const) {
    using it = new Landing({ heard: { place: FROM, circle } });
    it.has('1', 'a', 't1');
    it.has('2', 'b', 't2');
    it.arrivals.note([section('update', COLUMNS, true, ['1', 'a', 't1'], ['2', 'c', 't3']), gone('9')]);
    expect(Object.keys(it.words('1', '2', '9'))).toEqual(circle === 'ring' ? ['2', '9'] : ['2']);
    // Over what was said before, and has not been found, they are.
    it.arrivals.note([section('update', COLUMNS, true, ['2', 'b', 't2'])]);
    expect(it.words('2')['2']?.digest).toBe(digest('2', 'b', 't2'));
  }
});

test('what the destination said stays beside what another node says later, until something left that was decided by it', () => {
  using there = new Landing();
  const { database } = there;
  const elsewhere = new Arrivals(new Map([['register', [{ ...there.way, from: PASSED }]]]), database);
  const word = () => there.words('1')['1'];
  there.arrivals.note([section('insert', COLUMNS, true, ['1', 'a', 't1'])]);
  elsewhere.note([section('update', COLUMNS, true, ['1', 'b', 't2'])]);
  elsewhere.note([gone('1')]);
  expect(word()).toEqual({ digest: GONE, path: [PASSED], there: digest('1', 'a', 't1') });
  // Decided by the word before: what the destination is sent now stands there.
  database.arrivals.forget(there.id, [
    { key: there.keyOf('1'), digest: digest('1', 'b', 't2'), there: digest('1', 'a', 't1') },
  ]);
  expect(word()).toEqual({ digest: GONE, path: [PASSED], there: undefined });
  // Its own word stands for itself.
  there.arrivals.note([section('update', COLUMNS, true, ['1', 'c', 't3'])]);
  expect(word()).toEqual({ digest: digest('1', 'c', 't3'), path: [FROM], there: undefined });
});

test('what was said before by the same way and may be found yet is known beside the last word', () => {
  using it = new Landing();
  const elsewhere = new Arrivals(new Map([['register', [{ ...it.way, from: PASSED }]]]), it.database);
  const earlier = () => it.words('1')['1']?.earlier;
  const say = (name: string, { landed = true } = {}) => {
    const sent = [section('update', COLUMNS, true, ['1', name, 't1'])];
    it.arrivals.note(sent);
    if (landed) it.arrivals.landed(sent, answered('update', 'updated'));
  };
  say('a', { landed: false });
  say('b');
  // What did not land is not found; what is noted once more after a death was said once.
  expect(earlier()).toBeUndefined();
  say('c', { landed: false });
  say('c');
  expect(earlier()).toEqual([digest('1', 'b', 't1')]);
  say('d');
  expect(earlier()).toEqual([digest('1', 'b', 't1'), digest('1', 'c', 't1')]);
  it.database.arrivals.earlierFound(it.id, [{ key: it.keyOf('1'), digest: digest('1', 'b', 't1') }]);
  expect(earlier()).toEqual([digest('1', 'c', 't1')]);
  elsewhere.note([section('update', COLUMNS, true, ['1', 'e', 't2'])]);
  expect(earlier()).toBeUndefined();
  for (let n = 0; n < 200; n++) say(`n${n}`);
  expect(earlier()).toHaveLength(100);
});

test('what has landed is known to have, but for rows that wait and tables of which some row stayed', () => {
  using it = new Landing();
  const sent = [section('update', COLUMNS, true, ['1', 'a', 't1'], ['2', 'b', 't1'])];
  const landed = () => Object.entries(it.words('1', '2')).flatMap(([key, { isLanded }]) => (isLanded ? [key] : []));
  it.arrivals.note(sent);
  it.arrivals.landed(sent, answered('update', 'keptTarget'));
  expect(landed()).toEqual([]);
  it.arrivals.landed(sent, answered('update', 'updated', 1));
  expect(landed()).toEqual(['1']);
  // Said again, it is to land again.
  it.arrivals.note(sent);
  expect(landed()).toEqual([]);
  // What waited for it to land is looked at once it is answered, though it stayed off.
  it.database.arrivals.lookAt(it.id, [{ key: it.keyOf('2'), digest: it.words('2')['2']?.digest ?? '' }]);
  it.arrivals.landed(sent, answered('update', 'keptTarget'));
  expect(it.database.arrivals.due(it.id, 10).map(({ key }) => key)).toEqual([it.keyOf('2')]);
});

test('where rows stayed, those that are not here as they were sent there are to be sent back; deletes have no time', () => {
  using it = new Landing();
  const sent = [
    section('update', COLUMNS, true, ['1', 'a', 't0'], ['6', 'x', 't0'], ['7', 'c', 't0']),
    section('insert', COLUMNS, true, ['2', 'b', 't0']),
  ];
  it.arrivals.note(sent);
  const due = () => it.database.sendBacks.due(it.id, 10).map(({ key }) => key);
  it.arrivals.landed(sent, answered('delete', 'keptTarget'));
  it.arrivals.landed(sent, answered('update', 'updated'));
  const other = new Arrivals(new Map([['register', [{ ...it.way, sendsBack: false }]]]), it.database);
  other.landed(sent, answered('update', 'keptTarget'));
  expect(due()).toEqual([]);
  // A row that waits is not the newer one here, and one that is here as it was sent there is nobody's.
  it.has('7', 'c', 't0');
  it.arrivals.landed(sent, answered('update', 'keptTarget', 1));
  expect(due()).toEqual([it.keyOf('1')]);
  it.database.captures.removeTable(it.id);
  expect(due()).toEqual([]);
});

test('deletes of rows that were never here are looked at in a ring, once they have landed', () => {
  for (const circle of ['pair', 'ring'] as const) {
    using it = new Landing({ heard: { place: PASSED, circle } });
    it.has('1', 'a', 't1');
    const sent = [gone('1', '2', '3')];
    it.arrivals.note(sent);
    const due = () => it.database.arrivals.due(it.id, 10).map(({ key }) => key);
    it.arrivals.landed(sent, answered('delete', 'deleted', 2));
    expect(due()).toEqual([]);
    it.arrivals.landed(sent, answered('delete', 'deletedNothing', 2));
    expect(due()).toEqual(circle === 'ring' ? [it.keyOf('2')] : []);
  }
});
