// The hundred seeds that every change must pass: the harness of `npm run chaos`, two platforms side by side. More seeds, other ones,
// and how to tell a failure again: docs/reliability.md.

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runCampaign } from './chaos/campaign.ts';
import type { PlannedFault, SeedPlan } from './chaos/plan.ts';
import { planSeed } from './chaos/plan.ts';
import { shrinkFaults } from './chaos/shrink.ts';

const SEEDS = Number(process.env.QIAO_CHAOS_SEEDS ?? 100);

test(`${SEEDS} seeds of faults: nothing is lost, nothing is doubled, every book balances, nothing stays behind`, {
  timeout: 1_200_000,
}, async () => {
  const { failures } = await runCampaign({
    firstSeed: 1,
    seeds: SEEDS,
    minutes: 18,
    workers: 2,
    kinds: undefined,
    keep: join(tmpdir(), 'qiao-chaos-failures'),
    shrinks: false,
    tellsAll: false,
    json: undefined,
    say: (line) => void process.stdout.write(`${line}\n`),
    signal: new AbortController().signal,
  });
  expect(failures).toEqual([]);
});

test('a seed is the same plan wherever it is made', () => {
  expect(planSeed(7)).toEqual(planSeed(7));
  expect(planSeed(7)).not.toEqual(planSeed(8));
});

test('shrinking finds the two faults of many that are enough, within its attempts', async () => {
  const faults: PlannedFault[] = Array.from({ length: 12 }, (_none, number) => ({
    number,
    atMs: number,
    forMs: 1,
    fault: { kind: 'wipeBus' },
  }));
  const plan: SeedPlan = { seed: 1, bridges: [], faults, lengthMs: 1 };
  let runs = 0;
  const smallest = await shrinkFaults(plan, 40, async (smaller) => {
    runs += 1;
    const left = smaller.faults.map(({ number }) => number);
    return left.includes(3) && left.includes(9);
  });
  expect(smallest.map(({ number }) => number)).toEqual([3, 9]);
  expect(runs).toBeLessThanOrEqual(40);
});

test('a failure that no fault causes shrinks to none', async () => {
  const plan = planSeed(1);
  expect(await shrinkFaults(plan, 10, async () => true)).toEqual([]);
});
