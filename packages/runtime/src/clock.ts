// Time as a port: every part receives a Clock, so a test can stand at 23:59:59 and a simulation can replay a seed.

import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

export interface Clock {
  /** Milliseconds since 1970 UTC: for dates, and for what is written down. Somebody may set it forward or back at any time. */
  nowMs(): number;
  /** Milliseconds since some moment before this process began, by a clock that nobody sets: for how long something took or waits. */
  elapsedMs(): number;
  /** Resolves after `ms`, or early, without an error, when the signal aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

const offsetMs = drillOffset();

export const systemClock: Clock = {
  nowMs: () => Date.now() + offsetMs(),
  elapsedMs: () => performance.now(),
  sleep: async (ms, signal) => {
    try {
      await delay(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      if (signal?.aborted !== true) throw error;
    }
  },
};

/**
 * For drills of a clock that is wrong: QIAO_CLOCK_OFFSET_FILE names a file with the milliseconds to add, read at the start and
 * again at each SIGUSR2, so that the clock jumps under a running process. Without the variable, or the file, time is the machine's.
 */
function drillOffset(): () => number {
  const file = process.env.QIAO_CLOCK_OFFSET_FILE;
  if (file === undefined) return () => 0;
  let offset = readOffset(file);
  process.on('SIGUSR2', () => {
    offset = readOffset(file);
  });
  return () => offset;
}

function readOffset(file: string): number {
  try {
    const offset = Number(readFileSync(file, 'utf8'));
    return Number.isSafeInteger(offset) ? offset : 0;
  } catch {
    return 0;
  }
}
