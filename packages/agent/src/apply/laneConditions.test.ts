import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import type { LaneIn } from '../exchange-database/index.ts';
import { createLaneConditions } from './laneConditions.ts';

test('a lane that waits for its next attempt waits no longer because somebody set the clock back', () => {
  const clock = {
    dateMs: Date.UTC(2026, 0, 15),
    sinceStartMs: 0,
    nowMs: () => clock.dateMs,
    elapsedMs: () => clock.sinceStartMs,
    sleep: async () => {},
  };
  const conditions = createLaneConditions({
    database: { lanesIn: { get: () => undefined } } as never,
    clock,
    log: silentLog(),
  });
  const state = { lane: new Uint8Array(16), stuck: undefined } as LaneIn;
  const pauseMs = conditions.retryLater(state.lane, new Error('the target is away'));
  expect(conditions.mayTry(state, 1)).toBe(false);
  clock.dateMs -= 86_400_000;
  clock.sinceStartMs += pauseMs;
  expect(conditions.mayTry(state, 1)).toBe(true);
});
