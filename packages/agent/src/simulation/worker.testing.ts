// One thread of `npm run simulate`: takes the next seed as long as there are any, and tells what it ran.

import { parentPort, workerData } from 'node:worker_threads';
import { ScheduleFailed, simulate, type Tally } from './simulate.testing.ts';

/** What the threads of a run share. */
export interface Shift {
  readonly seed: number;
  readonly schedules: number;
  readonly untilMs: number;
  /** How many seeds were given out; whether no more are. */
  readonly counters: Int32Array;
}

export const GIVEN = 0;
export const STOPPED = 1;

export type Told =
  | { readonly kind: 'ran'; readonly tally: Tally }
  | { readonly kind: 'failed'; readonly story: string };

if (parentPort !== null) {
  const tell = (told: Told) => parentPort?.postMessage(told, []);
  try {
    await simulate(seedsOf(workerData as Shift), (tally) => tell({ kind: 'ran', tally }));
  } catch (error) {
    if (!(error instanceof ScheduleFailed)) throw error;
    tell({ kind: 'failed', story: error.message });
  }
}

/** Given out one by one over all threads, so that what was run is always every seed up to some one. */
function* seedsOf({ seed, schedules, untilMs, counters }: Shift): Generator<number> {
  while (Atomics.load(counters, STOPPED) === 0 && Date.now() < untilMs) {
    const next = Atomics.add(counters, GIVEN, 1);
    if (next >= schedules) return;
    yield seed + next;
  }
}
