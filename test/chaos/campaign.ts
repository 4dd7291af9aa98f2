// Many seeds: a stage serves one after another and is replaced when a seed failed on it, or now and then. A failure is printed with
// everything needed to tell it again, its logs are kept, and its faults are shrunk.

import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FaultKind } from './faultPlan.ts';
import { describeFault } from './faultPlan.ts';
import { markRows, whatStays } from './growth.ts';
import { planSeed } from './plan.ts';
import { type Campaign, type Failure, report } from './report.ts';
import { runSeed, type SeedResult } from './runner.ts';
import { shrinkFaults } from './shrink.ts';
import { Stage } from './stage.ts';

export interface CampaignOptions {
  readonly firstSeed: number;
  /** How many seeds, and how many minutes at the most. */
  readonly seeds: number;
  readonly minutes: number;
  readonly kinds: ReadonlySet<FaultKind> | undefined;
  /** Where logs of failures go. */
  readonly keep: string;
  readonly shrinks: boolean;
  /** Prints every timeline, not only those of failures. */
  readonly tellsAll: boolean;
  /** Where the figures go as JSON. */
  readonly json: string | undefined;
  readonly say: (line: string) => void;
  /** Ends the campaign after the seed that runs. */
  readonly signal: AbortSignal;
}

/** A stage lives this many seeds: long enough that what grows shows, short enough that founding a platform is drilled too. */
const SEEDS_PER_STAGE = 50;
/** Attempts of shrinking; each is a platform of its own. */
const SHRINK_ATTEMPTS = 10;

export async function runCampaign(options: CampaignOptions): Promise<Campaign> {
  const { say } = options;
  const startedMs = performance.now();
  const results: SeedResult[] = [];
  const failures: Failure[] = [];
  let stage: Stage | undefined;
  let onStage = 0;
  try {
    for (let index = 0; index < options.seeds; index += 1) {
      if (options.signal.aborted || performance.now() - startedMs > options.minutes * 60_000) break;
      if (stage !== undefined && onStage >= SEEDS_PER_STAGE) {
        await endStage(stage);
        stage = undefined;
      }
      if (stage === undefined) {
        stage = await Stage.open();
        onStage = 0;
      }
      const plan = planSeed(options.firstSeed + index, options.kinds);
      const result = await runSeed(stage, plan);
      onStage += 1;
      results.push(result);
      say(lineOf(result));
      if (options.tellsAll && result.broken.length === 0) say(momentsText(result));
      if (result.broken.length === 0) continue;
      const logs = keepLogs(stage, result, options.keep);
      await stage[Symbol.asyncDispose]();
      stage = undefined;
      const faults = plan.faults.map(({ number, atMs, forMs, fault }) => ({
        number,
        text: `${atMs}+${forMs} ms ${describeFault(fault)}`,
      }));
      say(failureText(result, logs));
      const shrunk = options.shrinks
        ? await shrinkFaults(plan, SHRINK_ATTEMPTS, async (smaller) => {
            await using fresh = await Stage.open();
            const again = await runSeed(fresh, smaller);
            say(
              `  shrinking: faults ${smaller.faults.map(({ number }) => number).join(', ') || 'none'}: ${again.broken[0] ?? 'passes'}`,
            );
            return again.broken.length > 0;
          })
        : undefined;
      if (shrunk !== undefined)
        say(`  smallest failing faults: ${shrunk.map(({ number }) => number).join(', ') || 'none at all'}`);
      failures.push({
        seed: result.seed,
        broken: result.broken,
        faults: faults.map(({ text }) => text),
        shrunk: shrunk?.map(({ number }) => number),
        logs,
      });
    }
  } finally {
    if (stage !== undefined) await endStage(stage);
  }
  const campaign = report(results, failures, performance.now() - startedMs);
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(campaign, null, 2)}\n`);
  say(campaign.text);
  return campaign;
}

async function endStage(stage: Stage): Promise<void> {
  for (const x of await whatStays(stage)) console.log('STAYS', x);
  console.log('marks', await markRows(stage));
  await stage[Symbol.asyncDispose]();
}

function lineOf({ seed, broken, rows, tookMs, restMs, injected }: SeedResult): string {
  const faults = [...injected].map(([kind, times]) => (times === 1 ? kind : `${kind}×${times}`)).join(' ');
  const verdict = broken.length === 0 ? 'ok  ' : 'FAIL';
  const rest = restMs === undefined ? 'never' : `${(restMs / 1000).toFixed(1)} s`;
  return `${verdict} seed ${seed}: ${rows} rows, ${(tookMs / 1000).toFixed(1)} s, at rest after ${rest}; ${faults}`;
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

function keepLogs(stage: Stage, { seed, broken, moments }: SeedResult, keep: string): string {
  const folder = join(keep, `seed-${seed}`);
  mkdirSync(folder, { recursive: true });
  for (const { name } of stage.platform.programs) {
    cpSync(join(stage.directory, `${name}.log`), join(folder, `${name}.log`));
  }
  for (const [node, disk] of stage.disks) {
    cpSync(disk.directory, join(folder, node), { recursive: true, filter: (file) => !file.includes('identity') });
  }
  writeFileSync(join(folder, 'timeline.json'), `${JSON.stringify({ seed, broken, moments }, null, 2)}\n`);
  return folder;
}
