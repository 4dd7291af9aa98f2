// Runs schedules by their seeds, counts what was in them, and tells a failing one with the fewest steps that still fail.

import { type FaultKind, type Plan, planOf, type Ran, runPlan, type Step } from './schedule.testing.ts';

/** What schedules that ran came to. */
export interface Tally {
  schedules: number;
  steps: number;
  deliveries: number;
  /** Processes that died at a crash point. */
  deaths: number;
  readonly faults: Map<FaultKind, number>;
}

export class ScheduleFailed extends Error {}

export function emptyTally(): Tally {
  return { schedules: 0, steps: 0, deliveries: 0, deaths: 0, faults: new Map() };
}

export function addTally(sum: Tally, more: Tally): void {
  sum.schedules += more.schedules;
  sum.steps += more.steps;
  sum.deliveries += more.deliveries;
  sum.deaths += more.deaths;
  for (const [kind, times] of more.faults) sum.faults.set(kind, (sum.faults.get(kind) ?? 0) + times);
}

/**
 * Runs the schedules of these seeds. `say` gets what was run since it was called last, about once a second, and the rest at the
 * end. Throws ScheduleFailed with the shrunken steps for the first that fails.
 */
export async function simulate(seeds: Iterable<number>, say: (ran: Tally) => void): Promise<void> {
  let tally = emptyTally();
  let saidAtMs = Date.now();
  for (const seed of seeds) {
    const plan = planOf(seed);
    const ran = await ranOrTold(plan);
    const { deliveries, deaths, faults } = ran;
    addTally(tally, { schedules: 1, steps: plan.steps.length, deliveries, deaths, faults: new Map(faults) });
    if (Date.now() - saidAtMs < 1_000) continue;
    say(tally);
    tally = emptyTally();
    saidAtMs = Date.now();
  }
  say(tally);
}

async function ranOrTold(plan: Plan): Promise<Ran> {
  try {
    return await runPlan(plan);
  } catch (error) {
    throw new ScheduleFailed(await story(plan, error), { cause: error });
  }
}

async function story(plan: Plan, error: unknown): Promise<string> {
  const steps = await shrink(plan);
  const lines: string[] = [];
  let last: unknown = error;
  await runPlan({ ...plan, steps }, (line) => lines.push(line)).catch((reason: unknown) => {
    last = reason;
  });
  const why = last instanceof Error ? last.message : String(last);
  return `seed ${plan.seed}: ${why}\n${lines.join('\n')}\nrepeat: npm run simulate -- --seed ${plan.seed} --schedules 1`;
}

/** Leaves out steps, large runs of them first, as long as the rest still fails. */
async function shrink(plan: Plan): Promise<readonly Step[]> {
  let steps = plan.steps;
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < steps.length; ) {
      const fewer = [...steps.slice(0, at), ...steps.slice(at + size)];
      if (await fails({ ...plan, steps: fewer })) steps = fewer;
      else at += size;
    }
  }
  return steps;
}

function fails(plan: Plan): Promise<boolean> {
  return runPlan(plan).then(
    () => false,
    () => true,
  );
}
