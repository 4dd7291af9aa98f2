// One seed on a stage: bridges are made, the workload and the faults run beside each other, everything is healed, the platform must
// come to rest, and then the invariants must hold.

import { setTimeout as pause } from 'node:timers/promises';
import { readBooks } from '@qiao/testkit';
import { makeTables, retireBridges, startBridges } from './bridges.ts';
import { NODES } from './departments.ts';
import type { FaultKind } from './faultPlan.ts';
import { playFault } from './faults.ts';
import { brokenInvariants, type LogMarks, markLogs } from './invariants.ts';
import type { BridgePlan, SeedPlan } from './plan.ts';
import { Play } from './play.ts';
import { unrest } from './quiet.ts';
import type { Stage } from './stage.ts';
import { type Moment, Timeline } from './timeline.ts';
import { playWorkload } from './transactions.ts';
import { verifyFindings } from './verify.ts';

export interface SeedResult {
  readonly seed: number;
  /** What does not hold; empty for a seed that passed. */
  readonly broken: readonly string[];
  readonly moments: readonly Moment[];
  readonly injected: ReadonlyMap<FaultKind, number>;
  readonly changes: Play['changes'];
  readonly rows: number;
  readonly tookMs: number;
  /** From the last heal until everything was at rest; undefined when it never was. */
  readonly restMs: number | undefined;
  /** Where its time went, milliseconds by step. */
  readonly steps: ReadonlyMap<string, number>;
}

/** Faults are healed by then; what is not at rest after this long is stuck. */
const REST_WITHIN_MS = 90_000;
const LOOK_EVERY_MS = 100;
/** A scan that began before the last change has ended by then. */
const STAYS_AT_REST_MS = 250;

export async function runSeed(stage: Stage, plan: SeedPlan): Promise<SeedResult> {
  const startedMs = performance.now();
  const steps = new Map<string, number>();
  const timed = async <T>(step: string, act: () => Promise<T>): Promise<T> => {
    const beganMs = performance.now();
    try {
      return await act();
    } finally {
      steps.set(step, Math.round(performance.now() - beganMs));
    }
  };
  const marks = markLogs(stage);
  stage.tap.listen();
  const made = new Play(stage, plan, new Timeline(performance.now()));
  let running = made;
  const play = async () => {
    await timed('tables', () => makeTables(made));
    await timed('start', () => startBridges(made));
    // The moments of faults count from here.
    running = new Play(stage, plan, new Timeline(performance.now()));
    return playOut(running, marks, timed);
  };
  const broken = await play().catch((error: unknown) => [
    `the seed could not be played: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
  ]);
  const rows = broken.length > 0 ? 0 : await sentRows(running);
  if (broken.length === 0) await timed('retire', () => retireBridges(running));
  return {
    seed: plan.seed,
    broken,
    moments: running.timeline.moments,
    injected: running.injected,
    changes: running.changes,
    rows,
    tookMs: performance.now() - startedMs,
    restMs: running.restMs,
    steps,
  };
}

type Timed = <T>(step: string, act: () => Promise<T>) => Promise<T>;

async function playOut(play: Play, marks: LogMarks, timed: Timed): Promise<string[]> {
  const { plan, timeline } = play;
  timeline.add(`bridges started: ${plan.bridges.map((bridge) => describeBridge(bridge)).join('; ')}`);
  await timed('faults', () =>
    Promise.all([
      ...plan.bridges.map((bridge) => playWorkload(play, bridge)),
      ...plan.faults.map((fault) => playFault(play, fault)),
    ]),
  );
  await timed('heal', () => healAll(play.stage));
  timeline.add('everything is healed');
  const unresting = await timed('rest', () => waitForRest(play));
  if (unresting.length > 0) return unresting;
  timeline.add('at rest');
  const broken = await timed('invariants', () => brokenInvariants(play, marks));
  broken.push(...(await timed('verify', () => verifyFindings(play))));
  for (const sentence of broken) timeline.add(sentence);
  return broken;
}

function describeBridge({ name, shape, from, destinations }: BridgePlan): string {
  const ends = destinations.map(({ node, dataSource }) => `${node} ${dataSource}`).join(', ');
  return `${name} (${shape}) ${from.node} ${from.dataSource} → ${ends}`;
}

/** Every fault healed itself; this holds also when one of them threw. */
async function healAll(stage: Stage): Promise<void> {
  for (const link of stage.platform.links.values()) link.heal();
  for (const node of NODES) stage.disk(node).free();
  for (const name of [...NODES, 'hub', 'monitor'] as const) {
    await stage.inTurn(name, async () => {
      stage.program(name).thaw();
      await stage.revive(name);
    });
  }
}

/** Empty when everything stayed at rest for a moment; else what still was not at the end. */
async function waitForRest(play: Play): Promise<string[]> {
  const startedMs = performance.now();
  let restingSinceMs: number | undefined;
  let last: string[] = [];
  let lastWord = '';
  while (performance.now() - startedMs < REST_WITHIN_MS) {
    try {
      last = await unrest(play);
    } catch (error) {
      last = [`cannot be asked: ${error instanceof Error ? error.message : String(error)}`];
    }
    if (last.length === 0) {
      restingSinceMs ??= performance.now();
      if (performance.now() - restingSinceMs >= STAYS_AT_REST_MS) {
        play.restMs = restingSinceMs - startedMs;
        return [];
      }
    } else {
      restingSinceMs = undefined;
      // The timeline tells each new reason once.
      const word = (last[0] ?? '').replace(/\d+/g, 'n');
      if (word !== lastWord)
        play.timeline.add(`not at rest: ${last[0]}${last.length > 1 ? ` (and ${last.length - 1} more)` : ''}`);
      lastWord = word;
    }
    await pause(LOOK_EVERY_MS);
  }
  return last.map((sentence) => `not at rest within ${REST_WITHIN_MS / 1000} s: ${sentence}`);
}

async function sentRows(play: Play): Promise<number> {
  let rows = 0;
  for (const { name } of play.plan.bridges) {
    for (const { sent } of (await readBooks(play.stage.platform, name)).lines) rows += sent.total;
  }
  return rows;
}
