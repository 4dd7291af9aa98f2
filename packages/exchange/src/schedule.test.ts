import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesText, durationText, parseBytes, parseDuration } from './duration.ts';
import { cronProblem, dayOf, isInsideWindow, isTimeZone, isWindow, nextRunMs } from './schedule.ts';

const at = (text: string): number => Date.parse(text);

describe('durations and sizes', () => {
  test('are read back from their shortest text', () => {
    fc.assert(
      fc.property(
        fc.maxSafeNat(),
        (value) => parseDuration(durationText(value)) === value && parseBytes(bytesText(value)) === value,
      ),
    );
    expect([
      durationText(300_000),
      durationText(90_000),
      durationText(86_400_000),
      durationText(1_500),
      durationText(0),
    ]).toEqual(['5m', '90s', '1d', '1500ms', '0ms']);
    expect([bytesText(16 * 1024 * 1024), bytesText(1025), parseBytes('64 KiB')]).toEqual(['16MiB', '1025B', 65_536]);
  });

  test('take nothing else', () => {
    expect(
      ['', '5', '5 m', '-5m', '5M', '1h30m', '0.5h', '999999999999999d', '5m '].filter(
        (text) => parseDuration(text) !== undefined,
      ),
    ).toEqual([]);
    expect(['', '16', '16MB', '-1MiB', '1.5GiB'].filter((text) => parseBytes(text) !== undefined)).toEqual([]);
  });
});

describe('a schedule', () => {
  test('says when the next run is due', () => {
    const now = at('2024-01-31T23:59:30+08:00');
    expect(nextRunMs({ kind: 'manual' }, now, 5_000)).toBeUndefined();
    expect(nextRunMs({ kind: 'realtime' }, now, 5_000)).toBe(now + 5_000);
    expect(nextRunMs({ kind: 'interval', everyMs: 30_000 }, now, 5_000)).toBe(now + 30_000);
    const nightly = { kind: 'cron', cron: '0 2 * * *', timeZone: 'Asia/Shanghai' } as const;
    expect(nextRunMs(nightly, now, 5_000)).toBe(at('2024-02-01T02:00:00+08:00'));
    expect(nextRunMs(nightly, at('2024-02-01T02:00:00+08:00'), 5_000)).toBe(at('2024-02-02T02:00:00+08:00'));
  });

  test('refuses what is no cron expression', () => {
    expect(cronProblem('*/5 * * * *')).toBeUndefined();
    expect(cronProblem('0 0 30 2 1,5')).toBeUndefined();
    expect(
      ['', 'every day', '61 * * * *', '* * *', '* * * * *\n'].filter((text) => cronProblem(text) === undefined),
    ).toEqual([]);
  });
});

describe('a window', () => {
  test('may go over midnight, and is told in its own zone', () => {
    const inside = (time: string): boolean =>
      isInsideWindow('20:00-06:00', 'Asia/Shanghai', at(`2024-01-31T${time}+08:00`));
    expect([
      inside('19:59:59'),
      inside('20:00:00'),
      inside('00:00:00'),
      inside('05:59:59'),
      inside('06:00:00'),
    ]).toEqual([false, true, true, true, false]);
    expect(isInsideWindow('08:00-12:00', 'UTC', at('2024-01-31T11:59:59Z'))).toBe(true);
    expect(isInsideWindow('08:00-12:00', 'UTC', at('2024-01-31T12:00:00Z'))).toBe(false);
  });

  test('is two times of a day', () => {
    expect(['20:00-06:00', '00:00-24:00'].filter((text) => !isWindow(text))).toEqual([]);
    expect(
      ['', '20-06', '25:00-06:00', '06:00-06:00', '00:00-24:30', '20:00 - 06:00'].filter((text) => isWindow(text)),
    ).toEqual([]);
  });
});

test('a day of the books is a calendar day of the zone', () => {
  const instant = at('2024-01-31T16:00:00Z');
  expect([dayOf(instant, 'Asia/Shanghai'), dayOf(instant, 'UTC'), dayOf(instant - 1, 'Asia/Shanghai')]).toEqual([
    '2024-02-01',
    '2024-01-31',
    '2024-01-31',
  ]);
  expect([isTimeZone('Asia/Shanghai'), isTimeZone('Asia/Nowhere')]).toEqual([true, false]);
});
