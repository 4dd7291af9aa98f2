/** Keeps a reading at so many rows per second, measured per chunk. */
import type { Clock } from '@qiao/runtime';

/** A fuller second than this is not made up for: a paused reading does not race afterwards. */
const THROTTLE_MOST_MS = 1_000;

/** The function waits after rows were read; without a limit it never does. */
export function createPace(
  clock: Clock,
  perSecond: number | undefined,
  signal: AbortSignal,
): (rows: number) => Promise<void> {
  if (perSecond === undefined) return async () => undefined;
  let dueMs = clock.elapsedMs();
  return async (rows) => {
    const nowMs = clock.elapsedMs();
    dueMs = Math.max(dueMs, nowMs - THROTTLE_MOST_MS) + (rows * 1_000) / perSecond;
    if (dueMs > nowMs) await clock.sleep(dueMs - nowMs, signal);
  };
}
