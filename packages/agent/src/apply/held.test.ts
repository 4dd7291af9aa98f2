import type { Section } from '@qiao/exchange';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { heldCells, keyTextOf, splitHeld } from './held.ts';

const section = (rows: string, keyColumns = 1): Section => ({
  table: 'person',
  kind: 'update',
  columns: ['id', 'name'],
  keyColumns,
  rowCount: rows.split('\n').length - 1,
  rows: Buffer.from(rows),
  wholeRows: true,
});

test('a change of a key with an open row is held and the others go on', () => {
  const split = splitHeld([section('1\ta\n2\tb\n3\tc\n')], new Map([['person', new Set(['2'])]]));
  expect(Buffer.from(split.sections[0]?.rows ?? []).toString()).toBe('1\ta\n3\tc\n');
  expect(split.sections[0]?.rowCount).toBe(2);
  expect(split.held.map(({ index, keyText }) => [index, keyText])).toEqual([[1, '2']]);
  expect(split.sentIndexes.get(0)).toEqual([0, 2]);
  expect(heldCells(split.held)).toEqual([{ table: 'person', sent: 'update', outcome: 'held', rows: 1 }]);
});

test('sections of tables without open rows are passed on as the same object', () => {
  const one = section('1\ta\n');
  expect(splitHeld([one], new Map()).sections[0]).toBe(one);
  expect(splitHeld([one], new Map([['person', new Set(['9'])]])).sections[0]).toBe(one);
});

test('the key text is exactly the first key fields, even when the key is the whole line', () => {
  expect(keyTextOf(Buffer.from('a\tb\tc\n'), 2)).toBe('a\tb');
  expect(keyTextOf(Buffer.from('a\tb\n'), 2)).toBe('a\tb');
  expect(keyTextOf(Buffer.from('\\N\tb\n'), 1)).toBe('\\N');
});

test('no row is lost or doubled by the split', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 9 })), fc.uniqueArray(fc.nat({ max: 9 })), (ids, open) => {
      const rows = ids.map((id) => `${id}\tx\n`).join('');
      const split = splitHeld([section(rows)], new Map([['person', new Set(open.map(String))]]));
      const stayed = split.sections[0]?.rowCount ?? 0;
      expect(stayed + split.held.length).toBe(ids.length);
      for (const row of split.held) expect(open).toContain(Number(row.keyText));
    }),
  );
});
