import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ColumnType } from './columnType.ts';
import { comparable, compareValues } from './compareValues.ts';
import { cursorKind, DEFAULT_LAG_MS, lagBehind, latestValue } from './cursorValue.ts';

const integer: ColumnType = { type: 'integer', bits: 64 };
const decimal: ColumnType = { type: 'decimal' };
const date: ColumnType = { type: 'date' };
const timestamp: ColumnType = { type: 'timestamp', digits: 6 };
const timestamptz: ColumnType = { type: 'timestamptz', digits: 6 };

describe('the value a lag behind', () => {
  test('of a time is earlier by the lag, and rounded down to what its type writes', () => {
    expect(lagBehind(timestamp, '2024-03-01 00:04:59.999999', { lagMs: 300_000 })).toBe('2024-02-29 23:59:59.999');
    expect(lagBehind(timestamp, '2024-03-01 00:05:00', { lagMs: 300_000 })).toBe('2024-03-01 00:00:00');
    expect(lagBehind(timestamptz, '2024-03-01 00:05:00.5+00', { lagMs: 300_000 })).toBe('2024-03-01 00:00:00.5+00');
    expect(lagBehind(date, '2024-03-01', { lagMs: 1_000 })).toBe('2024-02-29');
    expect(lagBehind(timestamp, '2024-03-01 00:10:00', {})).toBe('2024-03-01 00:00:00');
    expect(DEFAULT_LAG_MS).toBe(600_000);
  });

  test('of a number is smaller by the lag, at any size', () => {
    expect(lagBehind(integer, '9223372036854775807', { lagSteps: 7 })).toBe('9223372036854775800');
    expect(lagBehind(integer, '3', { lagSteps: 5 })).toBe('-2');
    expect(lagBehind(integer, '3', {})).toBe('3');
    expect(lagBehind(decimal, '10.05', { lagSteps: 10 })).toBe('0.05');
    expect(lagBehind(decimal, '10.05', { lagSteps: 11 })).toBe('-0.95');
  });

  test('is not known of infinities, of years before Christ and of the year 1, so that everything is read', () => {
    for (const value of [
      'infinity',
      '-infinity',
      '0044-03-15 00:00:00 BC',
      '0001-01-01 00:00:00',
      '12000-01-01 00:00:00',
    ]) {
      expect(lagBehind(timestamp, value, { lagMs: 1_000 })).toBeUndefined();
    }
    expect(lagBehind(decimal, 'NaN', {})).toBeUndefined();
    expect(lagBehind({ type: 'text' }, 'a', {})).toBeUndefined();
  });

  test('is never above what it was taken from', () => {
    const times = fc.date({ min: new Date('0002-01-01'), max: new Date('9999-12-31'), noInvalidDate: true });
    fc.assert(
      fc.property(times, fc.nat(999), fc.integer({ min: 1_000, max: 1e10 }), (at, micros, lagMs) => {
        const text = `${at.toISOString().replace('T', ' ').slice(0, -1)}${String(micros).padStart(3, '0')}`;
        const bound = lagBehind(timestamp, text, { lagMs }) as string;
        expect(compareValues(comparable(timestamp, bound), comparable(timestamp, text))).toBeLessThan(0);
      }),
    );
  });
});

describe('the latest value of a right clock', () => {
  const atMs = Date.UTC(2024, 1, 29, 20, 0, 0, 120);

  test('is the instant itself where the column keeps one', () => {
    expect(latestValue(timestamptz, atMs, ['Asia/Shanghai'])).toBe('2024-02-29 20:00:00.12+00');
  });

  test('is what the clock on the wall shows, by the earliest of the zones it may hang in', () => {
    expect(latestValue(timestamp, atMs, ['Asia/Shanghai'])).toBe('2024-03-01 04:00:00.12');
    expect(latestValue(timestamp, atMs, ['Asia/Shanghai', 'UTC'])).toBe('2024-02-29 20:00:00.12');
    expect(latestValue(date, atMs, ['Asia/Shanghai'])).toBe('2024-03-01');
    expect(latestValue(date, atMs, ['UTC'])).toBe('2024-02-29');
  });

  test('is unknown for numbers', () => {
    expect(latestValue(integer, atMs, ['UTC'])).toBeUndefined();
    expect(cursorKind(integer)).toBe('number');
    expect(cursorKind({ type: 'text' })).toBeUndefined();
  });
});
