// At every crash point of the registry a process kills itself (SIGKILL), starts again, and the exchange ends as if nothing had
// happened: the same rows in the tables, the same sums in the books. Points that traffic passes are died at side by side, each
// process through its own list while rows travel; the others in acts of their own. A point that nobody reached fails the story.

import { CRASH_POINTS } from '@qiao/runtime';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ACTS, type ActName } from './crash-points/acts.ts';
import { drivenPoints, pointsOf, SCENES, victimsOf } from './crash-points/scenes.ts';
import { CrashWorld, POINTS, type Process } from './crash-points/world.ts';

/** Only `traffic`, `starts`, these acts or these driven points, for looking at one thing again. */
const ONLY = process.env.QIAO_CRASH_ONLY?.split(',');
const isWanted = (name: string) => ONLY === undefined || ONLY.includes(name);

test('every crash point of the registry has a scene', () => {
  const missing = POINTS.filter((point) => SCENES[point] === undefined);
  expect(missing, 'name what leads to these points in test/crash-points/scenes.ts').toEqual([]);
  const gone = Object.keys(SCENES).filter((point) => !(point in CRASH_POINTS));
  expect(gone, 'these names are not in the registry any more').toEqual([]);
});

describe('a platform whose processes die at every boundary', () => {
  let world: CrashWorld;
  beforeAll(async () => {
    world = await CrashWorld.start();
  }, 400_000);
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]();
  });

  /** Plays one act and looks what is left; after a failure nothing more is played on that platform. */
  async function play(act: () => Promise<unknown>): Promise<void> {
    if (world.isBroken) throw new Error('an earlier act failed: its platform is not played on');
    world.isBroken = true;
    await act();
    const { expected, found } = await world.books();
    expect(found).toEqual(expected);
    world.isBroken = false;
  }

  test('undisturbed, each batch of changes is counted once at each end', () => play(() => world.batch()));

  test.runIf(isWanted('traffic'))(
    'dead at each point that rows lead past, sender and monitor go on where they stopped',
    () => play(() => dieUnderTraffic(['health', 'monitor'])),
  );

  test.runIf(isWanted('traffic'))(
    'dead at each point that rows lead past, receivers and hub go on where they stopped',
    () => play(() => dieUnderTraffic(['civil-affairs', 'archive', 'hub'])),
  );

  test.runIf(isWanted('starts'))('dead when others start, hub and agents still learn of every start', () =>
    play(dieWhileOthersStart),
  );

  for (const act of Object.keys(ACTS) as ActName[]) {
    test.runIf(isWanted(act))(`dead at the points of the act ${act}, nothing is lost and nothing doubled`, () =>
      play(() => ACTS[act](world)),
    );
  }

  for (const [point, { who, drive }] of drivenPoints()) {
    test.runIf(isWanted(point))(`dead at ${point}, the exchange comes to rest by itself`, () =>
      play(async () => {
        for (const victim of who) await world.dieAt(victim, point, (signal) => drive(world, signal));
      }),
    );
  }

  test.runIf(ONLY === undefined)('every point was died at, by everybody who passes it', async () => {
    const missed = POINTS.flatMap((point) => {
      const dead = world.deaths.get(point) ?? new Set();
      const alive = victimsOf(SCENES[point]).filter((victim) => !dead.has(victim));
      return alive.length === 0 ? [] : [`${point}: ${alive.join(', ')}`];
    });
    expect(missed, 'nobody died there: see test/crash-points/scenes.ts').toEqual([]);
    const audit = await world.platform.tryQiao('audit', 'verify');
    expect(audit.code, audit.stdout + audit.stderr).toBe(0);
  });

  async function dieUnderTraffic(victims: readonly Process[]): Promise<void> {
    const over = new AbortController();
    const traffic = world.traffic(over.signal);
    try {
      await allOf(victims.map((victim) => world.dieInTurn(victim, pointsOf(victim, 'traffic'), over)));
    } finally {
      over.abort();
      await traffic;
    }
  }

  async function dieWhileOthersStart(): Promise<void> {
    const over = new AbortController();
    const starting = world.startAgainAndAgain('archive', over.signal);
    try {
      for (const victim of ['hub', 'health'] as const) {
        await world.dieInTurn(victim, pointsOf(victim, 'starts'), over);
      }
    } finally {
      over.abort();
      await starting;
    }
    await world.batch();
  }
});

/** Waits for all of them, also when one fails: what goes on behind a failed test would disturb the next. */
async function allOf(work: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
