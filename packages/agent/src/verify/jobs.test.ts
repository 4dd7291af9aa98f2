import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { parseId } from '@qiao/exchange';
import { expect, test, vi } from 'vitest';
import { BRIDGE_ID, RECEIVER_ID } from '../capture/captureWorld.testing.ts';
import { CursorWorld } from '../capture/cursorWorld.testing.ts';
import { createVerifyService } from './jobs.ts';
import type { VerifyPorts } from './ports.ts';

const BRIDGE = parseId(BRIDGE_ID);

/** The service over a world whose waits take no time. */
function serviceOver(world: CursorWorld, more: Record<string, unknown> = {}) {
  return createVerifyService({
    ...world.ports,
    limits: { ...world.ports.limits, retentionMs: 86_400_000 },
    permissions: { exposes: [{ dataSource: 'his', table: '*' }], accepts: [], defaultSchema: () => undefined },
    newSecret: () => randomBytes(32),
    onQueued: () => undefined,
    clock: {
      ...world.ports.clock,
      elapsedMs: () => performance.now(),
      nowMs: () => world.nowMs,
      sleep: async () => await pause(1),
    },
    ...more,
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

test('comparisons with destinations that do not answer keep no turn from jobs of others', async () => {
  using world = new CursorWorld();
  world.fill(10);
  await world.scan();
  await world.deliver();
  const { lanesOut } = world.database;
  const silent = [world.addLane(), world.addLane()].map(({ lane }) => lane);
  await world.scan();
  for (const lane of [world.destination.lane, ...silent]) lanesOut.setPhase(lane, 'streaming');
  const peer = { nodeId: RECEIVER_ID, code: 'civil', sealingKey: new Uint8Array(65), revoked: false };
  const service = serviceOver(world, {
    desired: { current: () => ({ ...world.desired, peers: new Map([[RECEIVER_ID, peer]]) }), onChange: () => () => {} },
    sealing: { name: 'none', seal: async (body: Uint8Array) => ({ body, wrappedKey: new Uint8Array(1) }) },
  });
  for (const lane of silent) service.start([{ kind: 'verify', bridge: BRIDGE, lane, options: {}, operator: 'zhang' }]);
  world.nowMs += 1;
  const nothing = { fromMs: world.nowMs, toMs: world.nowMs, reason: 'asked for' };
  const [third] = service.start([
    { kind: 'resend', bridge: BRIDGE, lane: world.destination.lane, options: nothing, operator: 'li' },
  ]);
  const stop = new AbortController();
  const running = service.parts[0]?.run(stop.signal);
  await vi.waitFor(() => expect(service.job(third?.job as Uint8Array)?.state).toBe('done'), 20_000);
  stop.abort();
  await running;
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
