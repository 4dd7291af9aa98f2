import { expect, test } from 'vitest';
import { addTally, emptyTally, simulate } from './simulate.testing.ts';

const SCHEDULES = 400;

test('whatever is lost, doubled, delayed, killed or restored on a lane, both ends are equal in the end and every delivery has its answer', async () => {
  const seed = Number(process.env.QIAO_SEED ?? Math.floor(Math.random() * 2 ** 31));
  process.stdout.write(`simulation: seed ${seed} (repeat with QIAO_SEED=${seed})\n`);
  const sum = emptyTally();
  const seeds = Array.from({ length: SCHEDULES }, (_, index) => seed + index);
  await simulate(seeds, (ran) => addTally(sum, ran));
  expect(sum.schedules).toBe(SCHEDULES);
  expect(sum.deliveries).toBeGreaterThan(SCHEDULES);
}, 60_000);
