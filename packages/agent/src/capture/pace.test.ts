import type { Clock } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { createPace } from './pace.ts';

/** A clock that only sleeping moves. */
function sleepingClock(): Clock & { atMs: number } {
  const clock = {
    atMs: 1_000_000,
    nowMs: () => clock.atMs,
    elapsedMs: () => clock.atMs,
    sleep: async (ms: number) => {
      clock.atMs += ms;
    },
  };
  return clock;
}

const forever = new AbortController().signal;

test('rows are read no faster than asked, whatever the size of their chunks', async () => {
  const clock = sleepingClock();
  const begunMs = clock.atMs;
  const pace = createPace(clock, 100, forever);
  for (const rows of [1, 499, 250, 250]) await pace(rows);
  expect(clock.atMs - begunMs).toBe(10_000);
});

test('a reading that stood still catches up with one second and no more', async () => {
  const clock = sleepingClock();
  const pace = createPace(clock, 100, forever);
  await pace(50);
  clock.atMs += 60_000;
  const goesOnMs = clock.atMs;
  for (let chunk = 0; chunk < 4; chunk += 1) await pace(50);
  expect(clock.atMs - goesOnMs).toBe(1_000);
});

test('without a rate nobody waits', async () => {
  const clock = sleepingClock();
  const begunMs = clock.atMs;
  await createPace(clock, undefined, forever)(1_000_000);
  expect(clock.atMs).toBe(begunMs);
});
