import type { Section } from '@qiao/exchange';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { OpenKeys } from '../exchange-database/index.ts';
import { keyTextOf, splitHeld } from './held.ts';

const section = (rows: string, keyColumns = 1): Section => ({
  table: 'person',
  kind: 'update',
  columns: ['id', 'name'],
  keyColumns,
  rowCount: rows.split('\n').length - 1,
  rows: Buffer.from(rows),
  wholeRows: true,
});

const open = (keys: readonly string[], waits: 'behind' | 'missingBase' = 'behind'): OpenKeys =>
  new Map([['person', new Map(keys.map((key) => [key, waits]))]]);

test('a change of a key with an open row is held and the others go on', () => {
  const split = splitHeld([section('1\ta\n2\tb\n3\tc\n')], open(['2']));
  expect(Buffer.from(split.sections[0]?.rows ?? []).toString()).toBe('1\ta\n3\tc\n');
  expect(split.sections[0]?.rowCount).toBe(2);
  expect(split.held.map(({ index, keyText }) => [index, keyText])).toEqual([[1, '2']]);
  expect(split.sentIndexes.get(0)).toEqual([0, 2]);
});

test('sections of tables without open rows are passed on as the same object', () => {
  const one = section('1\ta\n');
  expect(splitHeld([one], new Map()).sections[0]).toBe(one);
  expect(splitHeld([one], open(['9'])).sections[0]).toBe(one);
});

test('the key text is exactly the first key fields, even when the key is the whole line', () => {
  expect(keyTextOf(Buffer.from('a\tb\tc\n'), 2)).toBe('a\tb');
  expect(keyTextOf(Buffer.from('a\tb\n'), 2)).toBe('a\tb');
  expect(keyTextOf(Buffer.from('\\N\tb\n'), 1)).toBe('\\N');
});

test('a key that lacks its base only lets a whole row and a delete through, and what follows them', () => {
  const partial = { ...section('1\ta\n'), wholeRows: false };
  const whole = section('1\tb\n');
  const before = splitHeld([partial, whole, partial], open(['1'], 'missingBase'));
  expect(before.held.map((row) => row.section)).toEqual([0]);
  expect(before.superseding).toEqual([{ table: 'person', keyText: '1', section: 1, index: 0 }]);
  const gone: Section = { ...section('1\n'), kind: 'delete', columns: ['id'], wholeRows: false };
  expect(splitHeld([gone], open(['1'], 'missingBase')).superseding).toHaveLength(1);
  expect(splitHeld([gone, whole], open(['1'])).held).toHaveLength(2);
});

test('no row is lost or doubled by the split', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 9 })), fc.uniqueArray(fc.nat({ max: 9 })), (ids, blocked) => {
      const rows = ids.map((id) => `${id}\tx\n`).join('');
      const split = splitHeld([section(rows)], open(blocked.map(String)));
      const stayed = split.sections[0]?.rowCount ?? 0;
      expect(stayed + split.held.length).toBe(ids.length);
      for (const row of split.held) expect(blocked).toContain(Number(row.keyText));
    }),
  );
});
