import { expect, test } from 'vitest';
import { simulate } from './simulate.testing.ts';

test('whatever is lost, doubled, delayed, killed or restored on a lane, both ends are equal in the end and every delivery has its answer', async () => {
  const seed = Number(process.env.QIAO_SEED ?? Math.floor(Math.random() * 2 ** 31));
  process.stdout.write(`simulation: seed ${seed} (repeat with QIAO_SEED=${seed})\n`);
  const { schedules, deliveries } = await simulate(seed, 400);
  expect(schedules).toBe(400);
  expect(deliveries).toBeGreaterThan(400);
}, 60_000);
