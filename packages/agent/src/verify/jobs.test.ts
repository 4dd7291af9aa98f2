import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { idText, parseId } from '@qiao/exchange';
import { expect, test, vi } from 'vitest';
import { BRIDGE_ID } from '../capture/captureWorld.testing.ts';
import { CursorWorld } from '../capture/cursorWorld.testing.ts';
import { createVerifyService } from './jobs.ts';
import type { VerifyPorts } from './ports.ts';
import { type Saying, TalkingWorld } from './talkingWorld.testing.ts';

const BRIDGE = parseId(BRIDGE_ID);

/** The service over a world whose waits take no time. */
function serviceOver(world: CursorWorld) {
  return createVerifyService({
    ...world.ports,
    limits: { ...world.ports.limits, retentionMs: 86_400_000 },
    permissions: { exposes: [{ dataSource: 'his', table: '*' }], accepts: [], defaultSchema: () => undefined },
    newSecret: () => randomBytes(32),
    onQueued: () => undefined,
    clock: { ...world.ports.clock, nowMs: () => world.nowMs, sleep: async () => await pause(1) },
  } as unknown as VerifyPorts);
}

test('jobs towards destinations that are away keep no turn from those of others', async () => {
  using world = new CursorWorld();
  world.fill(10);
  await world.scan();
  await world.deliver();
  const { lanesOut } = world.database;
  lanesOut.setPhase(world.destination.lane, 'streaming');
  const away = [world.addLane(), world.addLane()].map(({ lane }) => lane);
  await world.scan();
  for (const lane of away) lanesOut.setPhase(lane, 'suspended');
  const service = serviceOver(world);
  for (const lane of away) service.start([{ kind: 'verify', bridge: BRIDGE, lane, options: {}, operator: 'zhang' }]);
  world.nowMs += 1;
  const nothing = { fromMs: world.nowMs, toMs: world.nowMs, reason: 'asked for' };
  const [third] = service.start([
    { kind: 'resend', bridge: BRIDGE, lane: world.destination.lane, options: nothing, operator: 'li' },
  ]);
  const stop = new AbortController();
  const running = service.parts[0]?.run(stop.signal);
  await vi.waitFor(() => expect(service.job(third?.job as Uint8Array)?.state).toBe('done'), 10_000);
  stop.abort();
  await running;
  expect(world.database.jobs.ofBridge(BRIDGE, 10).map(({ kind, state }) => `${kind} ${state}`)).toEqual([
    'resend done',
    'verify running',
    'verify running',
  ]);
});

test('jobs that only wait for receipts keep no turn from those of others', async () => {
  using world = new CursorWorld();
  const fromMs = world.nowMs;
  world.fill(10);
  await world.scan();
  await world.deliver();
  const lanes = [world.destination, world.addLane(), world.addLane()].map(({ lane }) => lane);
  await world.scan();
  for (const lane of lanes) world.database.lanesOut.setPhase(lane, 'streaming');
  const service = serviceOver(world);
  const options = { fromMs, toMs: world.nowMs + 1, reason: 'asked for' };
  world.nowMs += 2;
  for (const lane of lanes) service.start([{ kind: 'resend', bridge: BRIDGE, lane, options, operator: 'li' }]);
  const stop = new AbortController();
  const running = service.parts[0]?.run(stop.signal);
  const phases = () => world.database.jobs.ofBridge(BRIDGE, 10).map(({ state, phase }) => `${state} ${phase}`);
  await vi.waitFor(() => expect(phases()).toEqual(['running sent', 'running sent', 'running sent']), 10_000);
  stop.abort();
  await running;
});

/** Its jobs run until the work is done. */
async function whileRunning(world: TalkingWorld, work: () => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const running = world.service.parts[0]?.run(stop.signal);
  try {
    await work();
  } finally {
    stop.abort();
    await running;
  }
}

const BEHIND: Saying = () => ({ code: 'LANE_BEHIND', message: 'the lane has not caught up' });

test.each<[string, Saying]>([
  ['that are silent', () => undefined],
  ['that are silent as soon as they were asked for rows', (_, what) => (what === 'rows' ? undefined : {})],
  ['whose lanes are behind', BEHIND],
])('comparisons with destinations %s keep no turn from those of others', async (_, saying) => {
  using world = new TalkingWorld();
  const [one, two, three] = (await world.streaming()) as [Uint8Array, Uint8Array, Uint8Array];
  world.saying = (lane, what) => (lane === idText(three) ? {} : saying(lane, what));
  await whileRunning(world, async () => {
    const waiting = [world.verify(one), world.verify(two)];
    const other = world.verify(three);
    await vi.waitFor(() => expect(world.service.job(other)?.state).toBe('done'), 20_000);
    expect(waiting.map((job) => world.service.job(job)?.state)).toEqual(['running', 'running']);
    expect(world.service.job(waiting[0] as Uint8Array)?.step).toContain('person: waits ');
  });
});

test('destinations that catch up together are compared, and no more than two jobs read the source at once', async () => {
  using world = new TalkingWorld();
  const lanes = await world.streaming();
  world.saying = BEHIND;
  await whileRunning(world, async () => {
    const jobs = lanes.map((lane) => world.verify(lane));
    await vi.waitFor(() => expect(world.asked.size).toBe(3), 20_000);
    world.saying = () => ({});
    const found = () => jobs.map((job) => world.service.job(job)).map((job) => [job?.state, job?.findings[0]?.missing]);
    await vi.waitFor(() => expect(found()).toEqual(lanes.map(() => ['done', 10])), 20_000);
  });
  expect(world.mostReading).toBe(2);
});

test('a comparison whose destination never catches up ends with its time, though it has no turn', async () => {
  using world = new TalkingWorld();
  const lanes = await world.streaming();
  world.saying = BEHIND;
  await whileRunning(world, async () => {
    const jobs = lanes.map((lane) => world.verify(lane));
    await vi.waitFor(() => expect(world.asked.size).toBe(3), 20_000);
    world.nowMs += 25 * 3_600_000;
    const codes = () => jobs.map((job) => world.service.job(job)?.code);
    await vi.waitFor(() => expect(codes()).toEqual(Array(3).fill('JOB_EXPIRED')), 30_000);
  });
});

test('a comparison that waited without a turn when the agent stopped begins anew with the next start', async () => {
  using world = new TalkingWorld();
  const lanes = await world.streaming();
  world.saying = BEHIND;
  const jobs: Uint8Array[] = [];
  await whileRunning(world, async () => {
    for (const lane of lanes) jobs.push(world.verify(lane));
    await vi.waitFor(() => expect(world.asked.size).toBe(3), 20_000);
  });
  world.saying = () => ({});
  await whileRunning(world, async () => {
    const states = () => jobs.map((job) => world.service.job(job)?.state);
    await vi.waitFor(() => expect(states()).toEqual(['done', 'done', 'done']), 20_000);
  });
});

test('a comparison that goes on after its destination was silent is overtaken by no job that came later', async () => {
  using world = new TalkingWorld();
  const [late, ...others] = (await world.streaming(5)) as [Uint8Array, ...Uint8Array[]];
  let isLate = true;
  world.saying = (lane, what) => (isLate && lane === idText(late) ? BEHIND(lane, what) : {});
  const held: (() => void)[] = [];
  world.held = held;
  await whileRunning(world, async () => {
    const first = world.verify(late);
    const jobs = others.map((lane) => world.verify(lane));
    await vi.waitFor(() => expect(held).toHaveLength(2), 20_000);
    isLate = false;
    await vi.waitFor(() => expect(world.answered).toContain(idText(late)), 20_000);
    await vi.waitFor(() => {
      held.shift()?.();
      expect(world.service.job(first)?.state).toBe('done');
    }, 20_000);
    expect(world.service.job(jobs.at(-1) as Uint8Array)?.state).not.toBe('done');
    world.held = undefined;
    for (const go of held) go();
  });
});

test('comparisons whose destinations know no glance go on in turn', async () => {
  using world = new TalkingWorld();
  const lanes = await world.streaming(4, 10_000);
  const unknown = { code: 'QUESTION_UNKNOWN', message: 'found a question that is not known here' };
  world.saying = (lane, what) => (what !== 'text' ? {} : world.asked.size < 4 ? BEHIND(lane, what) : unknown);
  await whileRunning(world, async () => {
    const jobs = lanes.map((lane) => world.verify(lane));
    const states = () => jobs.map((job) => world.service.job(job)?.state);
    await vi.waitFor(() => expect(states()).toEqual(Array(4).fill('done')), 30_000);
  });
  expect(world.mostReading).toBe(2);
});
