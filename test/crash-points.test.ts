// At every crash point of the registry a process kills itself (SIGKILL), starts again, and the exchange ends as if nothing had
// happened: the same rows in the tables, the same sums in the books. In each act the processes are armed with all their points of it
// and die at whichever they pass next. A point that nobody reached fails the story.

import { readFileSync } from 'node:fs';
import { ServiceLeg } from '@qiao/contract/node';
import { CRASH_POINTS } from '@qiao/runtime';
import { until } from '@qiao/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ACTS, type ActName } from './crash-points/acts.ts';
import { pointsOf, SCENES, victimsOf } from './crash-points/scenes.ts';
import { CrashWorld, POINTS } from './crash-points/world.ts';

/** The target's disk is full, as its server would say. */
const FULL = [
  "CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room' USING ERRCODE = '53100'; END $$",
  'CREATE TRIGGER is_full BEFORE INSERT OR UPDATE OR DELETE ON ex_person EXECUTE FUNCTION is_full()',
];

/** Only these acts, for looking at one thing again. */
const ONLY = process.env.QIAO_CRASH_ONLY?.split(',');
const isWanted = (name: string) => ONLY === undefined || ONLY.includes(name);

test('every crash point of the registry has a scene', () => {
  const missing = POINTS.filter((point) => SCENES[point] === undefined);
  expect(missing, 'name what leads to these points in test/crash-points/scenes.ts').toEqual([]);
  const gone = Object.keys(SCENES).filter((point) => !(point in CRASH_POINTS));
  expect(gone, 'these names are not in the registry any more').toEqual([]);
});

test('a point that is died at elsewhere is named there', () => {
  const unnamed = POINTS.filter((point) => {
    const scene = SCENES[point];
    const file = 'act' in scene ? undefined : scene.story;
    return file !== undefined && !readFileSync(new URL(`../${file}`, import.meta.url), 'utf8').includes(`'${point}`);
  });
  expect(unnamed).toEqual([]);
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

  test('attempts are counted as attempts: the target has no room, the sender dies behind the bus, and the books stay as they were', () =>
    play(async () => {
      await world.target.run(...FULL);
      await world.dieAt({ health: ['send.published'] }, () => world.batch());
      await until(world.platform, 'the receiver has tried more than once', async () => {
        const { nodes } = await world.platform.books.listNodeStates({});
        const services = nodes.find(({ code }) => code === 'civil-affairs')?.heartbeat?.services ?? [];
        return services.some(({ leg, retries }) => leg === ServiceLeg.APPLY && retries > 1n);
      });
      await world.target.run('DROP TRIGGER is_full ON ex_person');
    }));

  for (const act of Object.keys(ACTS) as ActName[]) {
    test.runIf(isWanted(act))(`dead at the points of the act ${act}, nothing is lost and nothing doubled`, () =>
      play(() => ACTS[act](world, pointsOf(act))),
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
});
