// `npm run simulate`: runs schedules by their seeds, and tells the first failing one with the fewest steps that still fail.
//
//   npm run simulate -- --schedules 1000000 [--seed 1] [--minutes 60]

import { parseArgs } from 'node:util';
import { type FaultKind, type Plan, planOf, runPlan, type Step } from './schedule.testing.ts';

export interface Simulated {
  readonly schedules: number;
  readonly deliveries: number;
  readonly faults: ReadonlyMap<FaultKind, number>;
}

export class ScheduleFailed extends Error {}

/** Runs schedules `seed`, `seed + 1`, …; throws ScheduleFailed with the shrunken steps for the first that fails. */
export async function simulate(
  seed: number,
  schedules: number,
  untilMs = Number.POSITIVE_INFINITY,
): Promise<Simulated> {
  const faults = new Map<FaultKind, number>();
  let deliveries = 0;
  let done = 0;
  for (; done < schedules && Date.now() < untilMs; done += 1) {
    const plan = planOf(seed + done);
    try {
      const ran = await runPlan(plan);
      deliveries += ran.deliveries;
      for (const [kind, times] of ran.faults) faults.set(kind, (faults.get(kind) ?? 0) + times);
    } catch (error) {
      throw new ScheduleFailed(await story(plan, error), { cause: error });
    }
  }
  return { schedules: done, deliveries, faults };
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

if (import.meta.main) {
  const { values } = parseArgs({
    options: { schedules: { type: 'string' }, seed: { type: 'string' }, minutes: { type: 'string' } },
  });
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  const schedules = Number(values.schedules ?? 10_000);
  const startedAtMs = Date.now();
  const untilMs = values.minutes === undefined ? undefined : startedAtMs + Number(values.minutes) * 60_000;
  const say = (line: string) => void process.stdout.write(`${line}\n`);
  say(`seeds ${seed} to ${seed + schedules - 1}`);
  const { schedules: done, deliveries, faults } = await simulate(seed, schedules, untilMs);
  const seconds = (Date.now() - startedAtMs) / 1_000;
  say(`${done} schedules, ${deliveries} deliveries in ${seconds.toFixed(0)} s; every promise held`);
  for (const [kind, times] of [...faults].toSorted(([a], [b]) => (a < b ? -1 : 1))) say(`  ${kind} ${times}`);
}
