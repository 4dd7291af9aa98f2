export type Schedule =
  | { kind: 'realtime' }
  | { kind: 'cron'; cron: string; timeZone: string }
  | { kind: 'interval'; everyMs: number }
  | { kind: 'manual' };
/** When the next run is due after `afterMs` (milliseconds since 1970 UTC); undefined for manual. */
export function nextRunMs(schedule: Schedule, afterMs: number, realtimeEveryMs: number): number | undefined {
  throw new Error(String([schedule, afterMs, realtimeEveryMs]));
}
/** Whether `atMs` lies in a daily window such as "20:00-06:00" in `timeZone`. */
export function isInsideWindow(window: string, timeZone: string, atMs: number): boolean {
  throw new Error(String([window, timeZone, atMs]));
}
/** The calendar day of `atMs` in a zone: YYYY-MM-DD. */
export function dayOf(atMs: number, timeZone: string): string {
  throw new Error(String([atMs, timeZone]));
}
