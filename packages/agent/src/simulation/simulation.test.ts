import { expect, test } from 'vitest';
import { simulate } from './simulate.testing.ts';

test('whatever is lost, doubled, delayed, killed or restored on a lane, both ends are equal in the end and every delivery has its answer', async () => {
  const seed = Number(process.env.QIAO_SEED ?? Math.floor(Math.random() * 2 ** 31));
  process.stdout.write(`simulation: seed ${seed} (repeat with QIAO_SEED=${seed})\n`);
  const { schedules, deliveries } = await simulate(seed, 1_000);
  expect(schedules).toBe(1_000);
  expect(deliveries).toBeGreaterThan(1_000);
}, 60_000);
