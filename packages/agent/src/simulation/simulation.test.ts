import { expect, test } from 'vitest';
import { addTally, emptyTally, simulate } from './simulate.testing.ts';

const SCHEDULES = 400;
/** Each broke a promise once: an end, or both, put back where nothing that came afterwards showed it. */
const FOUND = [43_710_293, 43_987_434, 44_419_328];

test('whatever is lost, doubled, delayed, killed or restored on a lane, both ends are equal in the end and every delivery has its answer', async () => {
  const seed = Number(process.env.QIAO_SEED ?? Math.floor(Math.random() * 2 ** 31));
  process.stdout.write(`simulation: seed ${seed} (repeat with QIAO_SEED=${seed})\n`);
  const sum = emptyTally();
  const seeds = Array.from({ length: SCHEDULES }, (_, index) => seed + index);
  await simulate([...FOUND, ...seeds], (ran) => addTally(sum, ran));
  expect(sum.schedules).toBe(FOUND.length + SCHEDULES);
  expect(sum.deliveries).toBeGreaterThan(SCHEDULES);
}, 60_000);
