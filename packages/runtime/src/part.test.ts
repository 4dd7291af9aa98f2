import { expect, test } from 'vitest';
import { type Clock, createBackoff, createWakeup, silentLog, supervise } from './index.ts';

/** A clock whose sleeps end at once and are written down. */
function quickClock(): Clock & { slept: number[] } {
  const slept: number[] = [];
  return { slept, nowMs: () => 0, elapsedMs: () => 0, sleep: async (ms) => void slept.push(ms) };
}

test('a part that fails is started again after a growing pause until it is stopped', async () => {
  const clock = quickClock();
  const stop = new AbortController();
  let runs = 0;
  const failures: number[] = [];
  await supervise(
    [
      {
        name: 'flaky',
        run: async () => {
          runs += 1;
          if (runs === 4) stop.abort();
          throw new Error('no');
        },
      },
    ],
    { signal: stop.signal, clock, log: silentLog(), onFailure: (_part, _error, attempt) => failures.push(attempt) },
  );
  expect(runs).toBe(4);
  expect(failures).toEqual([1, 2, 3]);
  expect(clock.slept).toHaveLength(3);
  expect(clock.slept[2]).toBeGreaterThan(clock.slept[0] as number);
});

test('a pause ends when a person has acted', async () => {
  const stop = new AbortController();
  const asked = createWakeup();
  const never = {
    ...quickClock(),
    sleep: (_ms: number, signal?: AbortSignal) =>
      new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve())),
  };
  let runs = 0;
  await supervise(
    [
      {
        name: 'waiting',
        run: async () => {
          runs += 1;
          if (runs === 3) stop.abort();
          throw new Error('no');
        },
      },
    ],
    { signal: stop.signal, clock: never, log: silentLog(), asked, onFailure: () => asked.wake() },
  );
  expect(runs).toBe(3);
});

test('a part that ends though nobody stopped it is started again', async () => {
  const stop = new AbortController();
  let runs = 0;
  await supervise(
    [
      {
        name: 'quitter',
        run: async () => {
          runs += 1;
          if (runs === 2) stop.abort();
        },
      },
    ],
    { signal: stop.signal, clock: quickClock(), log: silentLog() },
  );
  expect(runs).toBe(2);
});

test('pauses double up to the most and begin again after progress', () => {
  const pauses = createBackoff({ firstMs: 100, mostMs: 350, random: () => 1 });
  expect([pauses.next(), pauses.next(), pauses.next(), pauses.next()]).toEqual([100, 200, 350, 350]);
  pauses.reset();
  expect(pauses.next()).toBe(100);
});

test('a wake before the wait is remembered', async () => {
  const wakeup = createWakeup();
  wakeup.wake();
  await wakeup.wait(60_000);
  const waiting = wakeup.wait(60_000);
  wakeup.wake();
  await waiting;
});

test('a wait ends when it is aborted', async () => {
  const stop = new AbortController();
  const waiting = createWakeup().wait(60_000, stop.signal);
  stop.abort();
  await waiting;
});

test('what everything else waits for names its longest pause', async () => {
  const clock = quickClock();
  const stop = new AbortController();
  let runs = 0;
  const bus = {
    name: 'bus',
    mostPauseMs: 300,
    run: async () => {
      runs += 1;
      if (runs === 12) stop.abort();
      throw new Error('no');
    },
  };
  await supervise([bus], { signal: stop.signal, clock, log: silentLog() });
  expect(Math.max(...clock.slept)).toBeLessThanOrEqual(300);
});
