// The hundred seeds that every change must pass: the harness of `npm run chaos`, three platforms side by side. More seeds, other ones,
// and how to tell a failure again: docs/reliability.md.

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runCampaign } from './chaos/campaign.ts';
import { formsOf, leaksIn, type Witness } from './chaos/leaks.ts';
import type { PlannedFault, SeedPlan } from './chaos/plan.ts';
import { planSeed } from './chaos/plan.ts';
import { WITNESS_NAME } from './chaos/schema.ts';
import { shrinkFaults } from './chaos/shrink.ts';

const SEEDS = Number(process.env.QIAO_CHAOS_SEEDS ?? 100);
/** No seed begins later, and all have to be run: ten minutes are enough for a hundred on two cores of their own, half as many more on shared ones. */
const MINUTES = 15;

test(`${SEEDS} seeds of faults: nothing is lost, nothing is doubled, every book balances, nothing stays behind`, {
  timeout: 1_200_000,
}, async () => {
  const { failures, never, seeds } = await runCampaign({
    firstSeed: 1,
    seeds: SEEDS,
    minutes: MINUTES,
    workers: 3,
    kinds: undefined,
    keep: join(tmpdir(), 'qiao-chaos-failures'),
    shrinks: false,
    tellsAll: false,
    json: undefined,
    say: (line) => void process.stdout.write(`${line}\n`),
    signal: new AbortController().signal,
  });
  expect(failures).toEqual([]);
  expect(seeds).toBe(SEEDS);
  // A fault that begins in no run, or a change that no source makes, proves nothing. Fewer seeds are for a quick look.
  if (SEEDS >= 100) expect(never).toEqual([]);
});

test('the search for leaks finds a secret and a name in every form, and lets them be where they belong', () => {
  const directory = mkdtempSync(join(tmpdir(), 'qiao-leaks-'));
  try {
    mkdirSync(join(directory, 'identity'));
    const secret = randomBytes(32);
    const witnesses: Witness[] = [
      { what: 'the key', value: secret, home: /^identity\// },
      { what: 'the name', value: Buffer.from(WITNESS_NAME), home: /^(?!)/ },
    ];
    writeFileSync(join(directory, 'identity', 'key'), secret);
    writeFileSync(join(directory, 'clean.log'), randomBytes(100_000));
    expect(leaksIn(directory, witnesses)).toEqual([]);
    for (const { what, value } of witnesses) {
      for (const { form, bytes } of formsOf(value)) {
        writeFileSync(join(directory, 'leak.log'), Buffer.concat([randomBytes(50_000), bytes, randomBytes(50_000)]));
        expect([form, leaksIn(directory, witnesses)]).toEqual([form, [`${what} is readable in leak.log`]]);
      }
    }
    writeFileSync(join(directory, 'leak.log'), JSON.stringify({ msg: `no such person: ${WITNESS_NAME}` }));
    expect(leaksIn(directory, witnesses)).toEqual(['the name is readable in leak.log']);
  } finally {
    rmSync(directory, { recursive: true });
  }
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
