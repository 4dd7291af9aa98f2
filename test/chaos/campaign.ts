// Many seeds: workers take them in turn, each with a stage of its own that serves one seed after another and is replaced when a seed
// failed on it, or now and then. A failure is printed with everything needed to tell it again, its logs are kept, and its faults are
// shrunk.

import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeFault, type FaultKind } from './faultPlan.ts';
import { whatStays } from './growth.ts';
import { whatLeaked } from './leaks.ts';
import { planSeed, type SeedPlan } from './plan.ts';
import { type Campaign, type Failure, report } from './report.ts';
import { runSeed, type SeedResult } from './runner.ts';
import { shrinkFaults } from './shrink.ts';
import { Stage } from './stage.ts';

export interface CampaignOptions {
  readonly firstSeed: number;
  /** How many seeds, and how many minutes at the most. */
  readonly seeds: number;
  readonly minutes: number;
  /** Platforms side by side. */
  readonly workers: number;
  readonly kinds: ReadonlySet<FaultKind> | undefined;
  /** Where logs of failures go. */
  readonly keep: string;
  readonly shrinks: boolean;
  /** Prints every timeline, not only those of failures. */
  readonly tellsAll: boolean;
  /** Where the figures go as JSON. */
  readonly json: string | undefined;
  readonly say: (line: string) => void;
  /** Ends the campaign after the seeds that run. */
  readonly signal: AbortSignal;
}

/** A stage lives this many seeds: long enough that what grows shows, short enough that founding a platform is drilled too. */
const SEEDS_PER_STAGE = 50;
/** A seed that needed longer to come to rest has its logs kept when every timeline is told. */
const SLOW_MS = 10_000;
/** Attempts of shrinking; each is a platform of its own. */
const SHRINK_ATTEMPTS = 10;

export async function runCampaign(options: CampaignOptions): Promise<Campaign> {
  const startedMs = performance.now();
  const results: SeedResult[] = [];
  const failures: Failure[] = [];
  let taken = 0;
  const next = (): number | undefined => {
    const isOver = options.signal.aborted || performance.now() - startedMs > options.minutes * 60_000;
    if (isOver || taken >= options.seeds) return undefined;
    taken += 1;
    return options.firstSeed + taken - 1;
  };
  await Promise.all(
    Array.from({ length: Math.min(options.workers, options.seeds) }, () => work(options, next, results, failures)),
  );
  const campaign = report(results, failures, performance.now() - startedMs);
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(campaign, null, 2)}\n`);
  options.say(campaign.text);
  return campaign;
}

async function work(
  options: CampaignOptions,
  next: () => number | undefined,
  results: SeedResult[],
  failures: Failure[],
): Promise<void> {
  const { say } = options;
  let stage: Stage | undefined;
  let served: number[] = [];
  let said: string[] = [];
  const endStage = async () => {
    if (stage === undefined) return;
    const endsMs = performance.now();
    const stays = await whatStays(stage);
    say(
      `stage of ${served.length} seeds back at its floor after ${((performance.now() - endsMs) / 1000).toFixed(1)} s`,
    );
    const leaked = await whatLeaked(stage, said);
    const broken = [...stays, ...leaked];
    if (broken.length > 0) failures.push(stayed(stage, served, broken, options));
    await stage[Symbol.asyncDispose]();
    stage = undefined;
  };
  try {
    for (let seed = next(); seed !== undefined; seed = next()) {
      if (served.length >= SEEDS_PER_STAGE) await endStage();
      if (stage === undefined) {
        stage = await Stage.open();
        served = [];
        said = [];
      }
      const plan = planSeed(seed, options.kinds);
      const result = await runSeed(stage, plan);
      served.push(seed);
      results.push(result);
      said.push(momentsText(result), ...result.broken);
      say(lineOf(result));
      if (options.tellsAll && result.broken.length === 0) {
        say(momentsText(result));
        // Slow is not wrong, and worth a look.
        if ((result.restMs ?? 0) > SLOW_MS) say(`slow; logs: ${keepLogs(stage, result, options.keep)}`);
      }
      if (result.broken.length === 0) continue;
      const logs = keepLogs(stage, result, options.keep);
      const leaked = await whatLeaked(stage, said);
      if (leaked.length > 0) failures.push(stayed(stage, served, leaked, options));
      await stage[Symbol.asyncDispose]();
      stage = undefined;
      say(failureText(result, logs));
      failures.push(await examined(plan, result, logs, options));
    }
    await endStage();
  } finally {
    // Only after an error of the harness itself.
    await stage?.[Symbol.asyncDispose]();
  }
}

/** The failure with the fewest faults that were seen to be enough. */
async function examined(
  plan: SeedPlan,
  { seed, broken }: SeedResult,
  logs: string,
  { shrinks, say }: CampaignOptions,
): Promise<Failure> {
  const faults = plan.faults.map(({ atMs, forMs, fault }) => `${atMs}+${forMs} ms ${describeFault(fault)}`);
  if (!shrinks) return { seed, broken, faults, shrunk: undefined, logs };
  const smallest = await shrinkFaults(plan, SHRINK_ATTEMPTS, async (smaller) => {
    await using fresh = await Stage.open();
    const again = await runSeed(fresh, smaller);
    say(`  shrinking: faults ${numbersOf(smaller.faults)}: ${again.broken[0] ?? 'passes'}`);
    return again.broken.length > 0;
  });
  say(`  smallest failing faults: ${numbersOf(smallest)}`);
  return { seed, broken, faults, shrunk: smallest.map(({ number }) => number), logs };
}

/** What a stage left behind belongs to no seed alone: the last one names it, and the logs tell of all. */
function stayed(stage: Stage, served: readonly number[], broken: string[], { keep, say }: CampaignOptions): Failure {
  const seed = served.at(-1) ?? 0;
  const logs = keepLogs(stage, { seed, broken, moments: [] }, keep);
  say([`after the seeds ${served.join(', ')}:`, ...broken.map((text) => `  - ${text}`), `logs: ${logs}`].join('\n'));
  return { seed, broken, faults: [], shrunk: undefined, logs };
}

function numbersOf(faults: readonly { number: number }[]): string {
  return faults.map(({ number }) => number).join(', ') || 'none at all';
}

function lineOf({ seed, broken, rows, tookMs, restMs, injected, steps }: SeedResult): string {
  const faults = [...injected].map(([kind, times]) => (times === 1 ? kind : `${kind}×${times}`)).join(' ');
  const verdict = broken.length === 0 ? 'ok  ' : 'FAIL';
  const rest = restMs === undefined ? 'never' : `${(restMs / 1000).toFixed(1)} s`;
  return `${verdict} seed ${seed}: ${rows} rows, ${(tookMs / 1000).toFixed(1)} s, at rest after ${rest}; ${faults}; ${[...steps].map(([step, ms]) => `${step} ${ms}`).join(' ')}`;
}

function momentsText({ moments }: SeedResult): string {
  return moments.map(({ atMs, what }) => `  ${String(atMs).padStart(7)} ms  ${what}`).join('\n');
}

function failureText(result: SeedResult, logs: string): string {
  const { seed, broken } = result;
  return [
    `seed ${seed} failed:`,
    ...broken.slice(0, 20).map((sentence) => `  - ${sentence}`),
    'timeline:',
    momentsText(result),
    `logs: ${logs}`,
    `again: npm run chaos -- --seed ${seed}`,
  ].join('\n');
}

function keepLogs(
  stage: Stage,
  { seed, broken, moments }: Pick<SeedResult, 'seed' | 'broken' | 'moments'>,
  keep: string,
): string {
  const folder = join(keep, `seed-${seed}`);
  mkdirSync(folder, { recursive: true });
  for (const { name } of stage.platform.programs) {
    cpSync(join(stage.directory, `${name}.log`), join(folder, `${name}.log`));
  }
  for (const [node, disk] of stage.disks) {
    cpSync(disk.directory, join(folder, node), { recursive: true, filter: (file) => !/identity|host\.key/.test(file) });
  }
  writeFileSync(join(folder, 'timeline.json'), `${JSON.stringify({ seed, broken, moments }, null, 2)}\n`);
  return folder;
}
