import { expect, test } from 'vitest';
import { isDay } from './day.ts';

test('a day is one of the calendar', () => {
  expect(['2026-01-31', '2024-02-29'].map(isDay)).toEqual([true, true]);
  const impossible = ['2026-13-01', '2026-02-29', '2026-00-10', '2026-04-31', '2026-1-1', '2026-01-31 ', ''];
  expect(impossible.filter(isDay)).toEqual([]);
});
