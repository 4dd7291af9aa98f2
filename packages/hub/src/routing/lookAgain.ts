// Owns the second look before a refusal. Replicas change nodes, bridges and epochs behind each other's back, and a refusal may
// stop a lane or cancel rows: what memory would refuse is judged once more by what is on disk. Many refusals share one look.

import type { Clock } from '@qiao/runtime';

/** Resolves when everything that was on disk at the call is in memory. */
export type LookAgain = () => Promise<void>;

/** A sender that floods with nonsense costs ten looks a second, and not thousands. */
const LEAST_PAUSE_MS = 100;

export function createLookAgain(reload: () => Promise<void>, clock: Clock): LookAgain {
  let looking: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;
  let lastAtMs = Number.NEGATIVE_INFINITY;

  async function look(before: Promise<void>): Promise<void> {
    await before.catch(() => undefined);
    const waitMs = lastAtMs + LEAST_PAUSE_MS - clock.nowMs();
    // A clock that was set back must not make it wait for hours.
    if (waitMs > 0) await clock.sleep(Math.min(waitMs, LEAST_PAUSE_MS), new AbortController().signal);
    // Whoever comes from here on may have seen more than this look will find.
    next = undefined;
    lastAtMs = clock.nowMs();
    await reload();
  }

  return () => {
    if (next === undefined) {
      next = look(looking);
      looking = next;
    }
    return next;
  };
}
