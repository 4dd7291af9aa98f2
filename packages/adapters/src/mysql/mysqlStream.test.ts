/** What MySQL writes into its log, read where there is no such server; the same and more is tested at one by QIAO_TEST_MYSQLD. */
import { crc32 } from 'node:zlib';
import { QiaoError } from '@qiao/exchange';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { LogPiece } from '../adapter.ts';
import { BinlogDecoder, type BinlogPlan } from './binlog.ts';
import { storedTypeOf } from './binlogTypes.ts';
import { valueWriter } from './binlogValues.ts';
import { parsePosition } from './logPosition.ts';
import { shown } from './logWorld.testing.ts';
import { COLUMNS, EVENTS, SOURCE } from './mysqlStream.testing.ts';

const columns = COLUMNS.map(({ name, bytes, catalog }) => ({
  name,
  stored: storedTypeOf(catalog, bytes) ?? 0,
  ...valueWriter(catalog, undefined),
}));
const PLAN: BinlogPlan = {
  tables: [{ database: 'register', name: 'person', columns, keyColumns: 1 }],
  tellsCase: true,
  hasChecksum: true,
};

/** Each event, whole. */
function events(): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < EVENTS.length; ) {
    const end = at + EVENTS.readUInt32LE(at + 9);
    found.push(EVENTS.subarray(at, end));
    at = end;
  }
  return found;
}

function read(all: readonly Buffer[]): LogPiece[] {
  const decoder = new BinlogDecoder(PLAN, parsePosition('@binlog.000001:4#0'));
  return all.flatMap((event) => {
    decoder.event(event, 0, event.length);
    return decoder.take();
  });
}

const NULLS = Array.from({ length: 12 }, () => '\\N').join(' ');
const row = (id: number, name = '\\N', rest = NULLS.slice(3)) => `${id} ${name} ${rest}`;

test('every kind of transaction that a MySQL server writes comes with its rows, and stands for its GTID', () => {
  const pieces = read(events()).filter(({ transaction }) => transaction !== undefined);
  expect(pieces.map(({ changes }) => shown(changes))).toEqual([
    ['reshaped'],
    [
      'insert 1 欧阳 𠮷 2000-02-29 -12.50 2024-01-31 08:00:00.000001 2024-01-31 08:00:00.125+00 23:59:59.5 2024 1000000000001 迁出 a,c {"a": [1, 2.5, null], "名": "值"} \\\\x00ff0a',
      `insert ${row(2)}`,
    ],
    [`update ${row(2, 'tagged')}`],
    // In one compressed event.
    [
      `insert ${row(3, 'x'.repeat(40), `${'\\N '.repeat(9)}[{"k": 1e20}] \\N`)}`,
      `insert ${row(4, 'd')}`,
      `update ${row(3, 'x'.repeat(40), `\\N 7.00 ${'\\N '.repeat(7)}[{"k": 1e20}] \\N`)}`,
      'delete 4',
    ],
    [`insert ${row(6)}`],
    // Prepared before, committed now; then prepared and rolled back; then committed at once.
    ['untold'],
    ['untold'],
    [`update ${row(60)}`],
    ['truncate'],
    ['reshaped'],
    ['reshaped'],
  ]);
  const positions = pieces.map(({ position }) => position?.replace(/@.*/, ''));
  const tagged = `${SOURCE}:audit:1`;
  expect(positions.slice(1, 4)).toEqual([`${SOURCE}:4`, `${SOURCE}:4,${tagged}`, `${SOURCE}:5,${tagged}`]);
  expect(positions.at(-1)).toBe(`${SOURCE}:17,${tagged}`);
});

test('a snapshot has seen the transactions of the set that it was taken with, and no others', () => {
  const transactions = read(events()).flatMap(({ transaction }) => transaction ?? []);
  const seen = (set: string) => transactions.map((transaction) => (transaction.isSeen(set) ? 1 : 0)).join('');
  expect(seen('')).toBe('00000000000');
  expect(seen(`${SOURCE}:1-4`)).toBe('11000000000');
  expect(seen(`${SOURCE}:1-5`)).toBe('11010000000');
  expect(seen(`${SOURCE}:1-17`)).toBe('11011111111');
  expect(seen(`${SOURCE}:1-17:audit:1`)).toBe('11111111111');
  expect(seen(`${SOURCE}:4:6-7,\n00000000-0000-0000-0000-000000000000:1-100`)).toBe('01001000000');
});

test('an event that was cut or altered is refused, and never read for ever', () => {
  const all = events();
  let refused = 0;
  const altered = fc.record({
    place: fc.integer({ min: 1, max: all.length - 1 }),
    cut: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
    bytes: fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 3,
    }),
  });
  const reads = fc.property(altered, ({ place, cut, bytes }) => {
    const whole = Buffer.from(all[place] as Buffer);
    const event = whole.subarray(0, cut === null ? whole.length : 23 + Math.floor(cut * (whole.length - 23)));
    const end = event.length - 4;
    for (const [at, byte] of bytes) event[19 + Math.floor(at * (end - 20))] = byte;
    // Its checksum is made anew: what is left to refuse it is what it says.
    event.writeUInt32LE(crc32(event.subarray(0, end)), end);
    try {
      read([...all.slice(0, place), event, ...all.slice(place + 1)]);
    } catch (error) {
      if (!(error instanceof QiaoError) || !/^LOG_(INVALID|LOST)$/.test(error.code)) throw error;
      refused += 1;
    }
  });
  fc.assert(reads, { numRuns: 3_000 });
  expect(refused).toBeGreaterThan(500);
});
