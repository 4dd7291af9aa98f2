import { describe, expect, test } from 'vitest';
import type { ColumnType } from './columnType.ts';
import { pairText } from './pairText.ts';

function back(source: ColumnType, target: ColumnType, text: string): string {
  const pair = pairText(source, target);
  if (pair.kind === 'none') throw new Error(pair.why);
  return pair.kind === 'same' ? text : pair.back(text);
}

const integer: ColumnType = { type: 'integer', bits: 32 };

describe('a value compared at both ends', () => {
  test.each<[string, ColumnType, ColumnType, string, string]>([
    ['an integer kept as a decimal', integer, { type: 'decimal', precision: 12, scale: 2 }, '12.00', '12'],
    ['a negative one', integer, { type: 'decimal', precision: 12, scale: 2 }, '-12.00', '-12'],
    [
      'a decimal kept with more digits',
      { type: 'decimal', precision: 5, scale: 2 },
      { type: 'decimal', precision: 9, scale: 4 },
      '1.5000',
      '1.50',
    ],
    ['a decimal without a limit', { type: 'decimal' }, { type: 'decimal' }, '1.50', '1.50'],
    [
      'zeros before the point',
      { type: 'decimal', precision: 3, scale: -2 },
      { type: 'decimal', precision: 9, scale: 1 },
      '1200.0',
      '1200',
    ],
    [
      'a whole decimal in a float',
      { type: 'decimal', precision: 7, scale: 0 },
      { type: 'float', bits: 32 },
      '9.999999e+06',
      '9999999',
    ],
    ['NaN', { type: 'decimal', precision: 5, scale: 2 }, { type: 'decimal', precision: 9, scale: 4 }, 'NaN', 'NaN'],
    ['a day kept as a moment', { type: 'date' }, { type: 'timestamp', digits: 6 }, '2024-01-31 00:00:00', '2024-01-31'],
    [
      'a day before Christ',
      { type: 'date' },
      { type: 'timestamp', digits: 6 },
      '0044-03-15 00:00:00 BC',
      '0044-03-15 BC',
    ],
    [
      'a moment in UTC',
      { type: 'timestamptz', digits: 6 },
      { type: 'timestamp', digits: 6 },
      '2024-01-31 08:00:00.5',
      '2024-01-31 08:00:00.5+00',
    ],
    ['infinity', { type: 'timestamptz', digits: 6 }, { type: 'timestamp', digits: 6 }, 'infinity', 'infinity'],
    [
      'a short float kept in a long one',
      { type: 'float', bits: 32 },
      { type: 'float', bits: 64 },
      '16777216',
      '1.6777216e+07',
    ],
    ['its smallest', { type: 'float', bits: 32 }, { type: 'float', bits: 64 }, '1e-45', '1e-45'],
    ['a number kept as text', { type: 'decimal', precision: 5, scale: 2 }, { type: 'text' }, '1.50', '1.50'],
  ])('%s has the text of the source', (_what, source, target, stored, expected) => {
    expect(back(source, target, stored)).toBe(expected);
  });

  test.each<[string, ColumnType, ColumnType, string]>([
    ['cents in a column of integers', integer, { type: 'decimal', precision: 12, scale: 2 }, '12.34'],
    ['a long float where a short one was sent', { type: 'float', bits: 32 }, { type: 'float', bits: 64 }, '0.10000001'],
    ['an hour in a column of days', { type: 'date' }, { type: 'timestamp', digits: 6 }, '2024-01-31 00:00:01'],
  ])('%s stay visible as what nobody sent', (_what, source, target, stored) => {
    expect(back(source, target, stored)).toBe(stored);
  });

  test('a pair that loses something cannot be compared, and says why', () => {
    const pair = pairText({ type: 'decimal', precision: 9, scale: 3 }, { type: 'float', bits: 64 });
    expect(pair).toEqual({ kind: 'none', why: expect.stringContaining('rounded') });
  });
});
