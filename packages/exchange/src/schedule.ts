/**
 * When a bridge runs: pure answers about instants that are handed in. Waiting for them belongs to the agent.
 */
import { Cron } from 'croner';
import { QiaoError } from './errors.ts';

export type Schedule =
  | { kind: 'realtime' }
  | { kind: 'cron'; cron: string; timeZone: string }
  | { kind: 'interval'; everyMs: number }
  | { kind: 'manual' };

const MINUTES_A_DAY = 24 * 60;
const WINDOW = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)$/;

/**
 * When the next run is due after `afterMs` (both milliseconds since 1970 UTC); undefined for manual, and for a cron
 * expression that never comes again. `realtimeEveryMs` is the pause between two comparisons of a realtime bridge.
 */
export function nextRunMs(schedule: Schedule, afterMs: number, realtimeEveryMs: number): number | undefined {
  switch (schedule.kind) {
    case 'realtime':
      return afterMs + realtimeEveryMs;
    case 'interval':
      return afterMs + schedule.everyMs;
    case 'cron':
      return new Cron(schedule.cron, { timezone: schedule.timeZone }).nextRun(new Date(afterMs))?.getTime();
    case 'manual':
      return undefined;
    default:
      return schedule satisfies never;
  }
}

/** Why a cron expression (five fields, or six with seconds) is not one; undefined when it is. */
export function cronProblem(cron: string): string | undefined {
  if (/[\r\n]/.test(cron)) return 'more than one line';
  try {
    // Without a function it schedules nothing.
    const parsed = new Cron(cron, { timezone: 'UTC' });
    parsed.stop();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Names that were found to be time zones; not many, for in any case and by any alias there are a few hundred. */
const ZONES = new Set<string>();
const MOST_ZONES = 1_000;

/** Whether a name is a time zone that this machine knows (IANA). */
export function isTimeZone(name: string): boolean {
  if (ZONES.has(name)) return true;
  try {
    if (new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone === '') return false;
  } catch {
    return false;
  }
  // To ask costs 100 µs, and each bridge of each snapshot asks.
  if (ZONES.size < MOST_ZONES) ZONES.add(name);
  return true;
}

/** Whether a text is a daily window: `20:00-06:00`, `00:00-24:00`. Start and end must differ. */
export function isWindow(window: string): boolean {
  return readWindow(window) !== undefined;
}

/** Whether `atMs` lies in a daily window in `timeZone`: from its start on, before its end. Throws WINDOW_INVALID. */
export function isInsideWindow(window: string, timeZone: string, atMs: number): boolean {
  const read = readWindow(window);
  if (read === undefined) {
    throw new QiaoError('WINDOW_INVALID', `Found window ${window}; expected for example 20:00-06:00.`);
  }
  const [hour, minute] = partsOf(atMs, timeZone, { hour: '2-digit', minute: '2-digit' }, ['hour', 'minute']);
  const now = Number(hour) * 60 + Number(minute);
  return read.start < read.end ? now >= read.start && now < read.end : now >= read.start || now < read.end;
}

/** The calendar day of an instant in a zone: `YYYY-MM-DD`. */
export function dayOf(atMs: number, timeZone: string): string {
  const parts = partsOf(atMs, timeZone, { year: 'numeric', month: '2-digit', day: '2-digit' }, [
    'year',
    'month',
    'day',
  ]);
  return parts.join('-');
}

/** What a wall clock in a zone shows at an instant, as the milliseconds since 1970 of a clock in UTC that shows the same. */
export function wallClockMs(atMs: number, timeZone: string): number {
  const options = { year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit' } as const;
  const wanted = ['year', 'month', 'day', 'hour', 'minute', 'second'] as const;
  const parts = partsOf(atMs, timeZone, { ...options, minute: '2-digit', second: '2-digit' }, wanted).map(Number);
  const [year = 0, month = 1, day, hour, minute, second] = parts;
  return Date.UTC(year, month - 1, day, hour, minute, second) + (((atMs % 1000) + 1000) % 1000);
}

function readWindow(window: string): { start: number; end: number } | undefined {
  const [, startHour, startMinute, endHour, endMinute] = WINDOW.exec(window) ?? [];
  if (startHour === undefined) return undefined;
  const start = Number(startHour) * 60 + Number(startMinute);
  const end = Number(endHour) * 60 + Number(endMinute);
  return start === end || end > MINUTES_A_DAY ? undefined : { start, end };
}

const FORMATS = new Map<string, Intl.DateTimeFormat>();

function partsOf(
  atMs: number,
  timeZone: string,
  options: Intl.DateTimeFormatOptions,
  wanted: readonly Intl.DateTimeFormatPartTypes[],
): string[] {
  // Making a format costs a hundred times what using it does.
  const key = `${timeZone} ${wanted.join()}`;
  let format = FORMATS.get(key);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-CA-u-ca-iso8601-nu-latn', { ...options, timeZone, hourCycle: 'h23' });
    FORMATS.set(key, format);
  }
  const parts = format.formatToParts(new Date(atMs));
  return wanted.map((type) => parts.find((part) => part.type === type)?.value ?? '');
}
