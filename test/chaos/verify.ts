// The platform's own word on it: at rest every mirror is compared with its source, as an operator would ask for it, and nothing may differ.

import { setTimeout as pause } from 'node:timers/promises';
import { JobState } from '@qiao/contract/job';
import type { Play } from './play.ts';
import { keysEverRefused } from './tables.ts';

const DONE_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 20;

/** Sentences about what `qiao bridge verify` finds; empty when it finds nothing. A journal keeps changes, and refused rows do differ. */
export async function verifyFindings(play: Play): Promise<string[]> {
  const bridges = play.plan.bridges.filter(
    (bridge) => bridge.shape !== 'journal' && keysEverRefused(bridge).size === 0,
  );
  const found = await Promise.all(bridges.map(({ name }) => findingsOf(play, name)));
  return found.flat();
}

async function findingsOf({ stage }: Play, name: string): Promise<string[]> {
  const { centre } = stage.platform;
  const { jobs } = await centre.verifyBridge({ name });
  const jobIds = jobs.map(({ jobId }) => jobId);
  const beganAtMs = performance.now();
  for (;;) {
    const now = (await centre.getBridgeJobs({ name, jobIds })).jobs;
    if (now.every(({ state }) => state === JobState.DONE || state === JobState.FAILED)) {
      return now.flatMap(({ state, code, message, tables }) => {
        if (state === JobState.FAILED) return [`verify of ${name} failed: ${code} ${message}`];
        return tables.flatMap(({ table, missing, differing, extraOwned, inMotion }) => {
          // At rest nothing moves, and extra rows that no lane owns are the department's own.
          if (missing + differing + extraOwned + inMotion === 0n) return [];
          const rows = `${missing} missing, ${differing} differing, ${extraOwned} too many, ${inMotion} in motion`;
          return [`verify of ${name}: ${table}: ${rows}`];
        });
      });
    }
    const waitedMs = performance.now() - beganAtMs;
    if (waitedMs > DONE_WITHIN_MS) return [`verify of ${name} was not done within ${DONE_WITHIN_MS / 1000} s`];
    // An agent holds each answer for a while, and so many and no more.
    await pause(Math.max(LOOK_EVERY_MS, waitedMs / 5));
  }
}
