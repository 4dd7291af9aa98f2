/**
 * Values of a cursor's column: which types can be one, what the wall clock says in them, and what lies a lag behind a value.
 * All of it over canonical text, and rounded downwards: a bound that is too low reads some rows again, one that is too high
 * would miss some.
 */
import type { BridgeCursor } from './bridge.ts';
import type { ColumnType } from './columnType.ts';
import { exactNumber } from './compareValues.ts';
import { wallClockMs } from './schedule.ts';

/** How far behind the position of a column of dates or times is read again where the bridge says nothing. */
export const DEFAULT_LAG_MS = 10 * 60_000;

const DAY_MS = 86_400_000;

/** What a column can be as a cursor: its values rise with time, or count; undefined when they have no such order. */
export function cursorKind(type: ColumnType): 'time' | 'number' | undefined {
  switch (type.type) {
    case 'integer':
    case 'decimal':
      return 'number';
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return 'time';
    default:
      return undefined;
  }
}

/**
 * The highest value that a clock which is right can have written by `nowMs`; undefined for numbers, of which nobody can say.
 * A column without a zone is written by some wall clock: by that of `zones` which shows the earliest time.
 */
export function latestValue(type: ColumnType, nowMs: number, zones: readonly string[]): string | undefined {
  if (cursorKind(type) !== 'time') return undefined;
  if (type.type === 'timestamptz') return timeText(type, nowMs);
  return timeText(type, Math.min(...zones.map((zone) => wallClockMs(nowMs, zone))));
}

/** What lies the cursor's lag behind `value`; undefined when that cannot be said, and everything has to be read. */
export function lagBehind(
  type: ColumnType,
  value: string,
  lag: Pick<BridgeCursor, 'lagMs' | 'lagSteps'>,
): string | undefined {
  switch (cursorKind(type)) {
    case 'number':
      return minus(value, lag.lagSteps ?? 0);
    case 'time': {
      const ms = timeMs(value);
      return ms === undefined ? undefined : timeText(type, ms - (lag.lagMs ?? DEFAULT_LAG_MS));
    }
    default:
      return undefined;
  }
}

function minus(value: string, steps: number): string | undefined {
  if (!/^-?\d+(\.\d+)?$/.test(value)) return undefined;
  const { unscaled, scale } = exactNumber(value);
  const result = unscaled - BigInt(steps) * 10n ** BigInt(scale);
  if (scale === 0) return String(result);
  const digits = String(result < 0n ? -result : result).padStart(scale + 1, '0');
  return `${result < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

const TIME = /^(\d{4})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:\+00)?)?$/;

/** Whole milliseconds of a date or time of the years 1 to 9999. */
function timeMs(text: string): number | undefined {
  const match = TIME.exec(text);
  if (match === null) return undefined;
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0] = match
    .slice(1, 7)
    .map((part) => Number(part ?? 0));
  const ms = Number((match[7] ?? '').padEnd(3, '0').slice(0, 3));
  // Date.UTC takes the years 0 to 99 for those of the last century.
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  return date.getTime() + ((hour * 60 + minute) * 60 + second) * 1000 + ms;
}

function timeText(type: ColumnType, ms: number): string | undefined {
  const floored = type.type === 'date' ? Math.floor(ms / DAY_MS) * DAY_MS : ms;
  const date = new Date(floored);
  const year = date.getUTCFullYear();
  if (!(year >= 1 && year <= 9999)) return undefined;
  const [day = '', clock = ''] = date.toISOString().split('T');
  if (type.type === 'date') return day;
  // Always three digits of a fraction, of which canonical text keeps those that count.
  const time = clock.slice(0, -1).replace(/\.?0+$/, '');
  return `${day} ${time}${type.type === 'timestamptz' ? '+00' : ''}`;
}
