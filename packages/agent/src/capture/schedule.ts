/** When a bridge is scanned next: pure, from what the snapshot says, what capture remembers and the time. */
import { isInsideWindow, nextRunMs } from '@qiao/exchange';
import type { DesiredBridge } from '../control/desired.ts';
import type { CaptureState } from '../exchange-database/index.ts';

export type Due =
  | { readonly kind: 'now'; readonly runNumber: bigint; readonly allowedDeletes: bigint }
  | { readonly kind: 'at'; readonly atMs: number }
  /** Only a new snapshot brings the next run. */
  | { readonly kind: 'waits' };

export interface ScheduleFacts {
  readonly bridge: Pick<DesiredBridge, 'definition' | 'version' | 'runNumber' | 'allowedDeletes'>;
  readonly state: CaptureState | undefined;
  /** A destination waits for its load. */
  readonly hasLoading: boolean;
  /** Some destination takes rows at all. */
  readonly hasLanes: boolean;
  /** When this process ended its last try; undefined before the first, and what stuck before is then tried at once. */
  readonly triedAtMs: number | undefined;
  /** With capture `log`: whether the log cannot go on without a scan; undefined with another capture. */
  readonly owesScan: boolean | undefined;
  readonly startedAtMs: number;
  readonly nowMs: number;
  readonly realtimeEveryMs: number;
  /** The platform's zone, for a window that names none. */
  readonly timeZone: string;
}

const WINDOW_LOOK_AGAIN_MS = 30_000;
/**
 * A stuck capture looks now and then whether a person has mended its cause, as a stuck lane does. Where the guard holds deletes, it goes on with
 * whatever else changes, and ends this by itself when the rows are back.
 */
const STUCK_LOOK_AGAIN_MS = 15_000;

/** A run that a person asked for comes before everything. */
export function dueScan(facts: ScheduleFacts): Due {
  const { bridge, state, nowMs } = facts;
  const { schedule, limits } = bridge.definition;
  if (!facts.hasLanes) return { kind: 'waits' };
  const answered = state?.runNumber ?? 0n;
  if (bridge.runNumber > answered) {
    return { kind: 'now', runNumber: bridge.runNumber, allowedDeletes: bridge.allowedDeletes };
  }
  const stuck = state !== undefined && state.version >= bridge.version ? state.stuck : undefined;
  const { triedAtMs } = facts;
  const atMs =
    stuck === undefined || triedAtMs === undefined ? scheduledMs(facts) : againMs(triedAtMs > nowMs ? 0 : triedAtMs);
  if (atMs === undefined) return { kind: 'waits' };
  if (atMs > nowMs) return { kind: 'at', atMs };
  if (limits?.window !== undefined && !isInsideWindow(limits.window, limits.timeZone ?? facts.timeZone, nowMs)) {
    return { kind: 'at', atMs: nowMs + WINDOW_LOOK_AGAIN_MS };
  }
  return { kind: 'now', runNumber: answered, allowedDeletes: 0n };

  /** Its next run, as agreed for the source, and never at once. */
  function againMs(triedMs: number): number | undefined {
    if (facts.owesScan === false) return undefined;
    const nextMs = facts.owesScan === true ? triedMs : nextRunMs(schedule, triedMs, facts.realtimeEveryMs);
    return nextMs === undefined ? undefined : Math.max(nextMs, triedMs + STUCK_LOOK_AGAIN_MS);
  }

  function scheduledMs({ startedAtMs, hasLoading, realtimeEveryMs }: ScheduleFacts): number | undefined {
    const isFrequent = schedule.kind === 'realtime' || schedule.kind === 'interval';
    // A clock that was set back must not silence a bridge until it has caught up.
    const lastRunAtMs = (state?.lastRunAtMs ?? 0) > nowMs ? 0 : (state?.lastRunAtMs ?? 0);
    if (isFrequent && (hasLoading || lastRunAtMs === 0)) return nowMs;
    // What the log brings needs no scan, however often one would be due.
    if (facts.owesScan !== undefined && (facts.owesScan || isFrequent)) return facts.owesScan ? nowMs : undefined;
    return nextRunMs(schedule, lastRunAtMs === 0 ? startedAtMs : lastRunAtMs, realtimeEveryMs);
  }
}
