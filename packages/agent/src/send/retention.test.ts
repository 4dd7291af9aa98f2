import { describe, expect, test } from 'vitest';
import { DEFAULT_SEND_LIMITS } from './ports.ts';
import { purgeSettled } from './purge.ts';
import { suspendOverBudget } from './retention.ts';
import { inWorld } from './sendWorld.testing.ts';

const STALLED = { silentMs: 600_000, stalledMs: 600_000 };
const ANSWERING = { silentMs: 1_000, stalledMs: 1_000 };

describe('a budget that is used up', () => {
  test('gives up the bodies of its lane alone, and loads anew once the destination answers', () =>
    inWorld(async (world) => {
      world.limits = { ...DEFAULT_SEND_LIMITS, laneBudgetBytes: 10 };
      const service = world.start();
      await world.pack(['1\ta']);
      service.wake();
      await world.sent(2);
      // Silence of a moment is none.
      expect(world.lane.phase).toBe('streaming');
      world.nowMs += DEFAULT_SEND_LIMITS.resendMostMs;
      service.wake();
      await world.bus.held(3);
      expect(world.lane).toMatchObject({ phase: 'suspended', epoch: 2n, waitingCount: 1 });
      expect(world.lane.owes).toMatchObject({ code: 'LANE_SUSPENDED', epoch: 1n });
      expect(service.states()[0]).toMatchObject({ owes: { code: 'LANE_SUSPENDED' } });
      expect(world.books).toEqual(['statement', 'settlement']);
      // What a comparison may say of causes: of the epoch that gave rows up nothing, of the one that loads anew all.
      const { jobs } = world.database;
      expect([1n, 2n].map((epoch) => jobs.hasLost(world.lane.lane, epoch))).toEqual([true, false]);
      // Without waiting for the retention of settled ones: the disk is what is short.
      expect(purgeSettled(world.database, world.nowMs - DEFAULT_SEND_LIMITS.retentionMs)).toBe(1);
      const opening = world.bus.messages.findIndex(({ header }) => header.epoch?.ordinal === 2n);
      expect(world.answer(opening)).toBe('recorded');
      expect(world.lane.phase).toBe('loading');
      world.limits = DEFAULT_SEND_LIMITS;
    }));

  test('ends when the destination was silent for long enough, though nothing else happens then', () =>
    inWorld(async (world) => {
      world.limits = { ...DEFAULT_SEND_LIMITS, laneBudgetBytes: 10, resendMostMs: 300 };
      const service = world.start();
      await world.pack(['1\ta']);
      service.wake();
      await world.sent(2);
      expect(world.lane.phase).toBe('streaming');
      world.nowMs += 300;
      await expect.poll(() => world.lane.phase, { timeout: 10_000 }).toBe('suspended');
      world.limits = DEFAULT_SEND_LIMITS;
    }));

  test('is also one of days, and is the bridge’s own when it names one', () =>
    inWorld(async (world) => {
      await world.pack(['1\ta']);
      const [lane] = world.database.lanesOut.all();
      const known = world.known();
      const days = { ...DEFAULT_SEND_LIMITS, laneBudgetDays: 30 };
      world.nowMs += 29 * 86_400_000;
      world.limits = days;
      expect(suspendOverBudget(world.sendPorts, known, lane as never, STALLED)).toBe(false);
      world.nowMs += 2 * 86_400_000;
      const patient = { ...known.bridge.definition, limits: { retention: { days: 40 } } };
      const own = { ...known, bridge: { ...known.bridge, definition: patient } };
      expect(suspendOverBudget(world.sendPorts, own, lane as never, STALLED)).toBe(false);
      expect(suspendOverBudget(world.sendPorts, known, lane as never, STALLED)).toBe(true);
      expect(world.lane).toMatchObject({ phase: 'suspended', owes: { code: 'LANE_SUSPENDED' } });
    }));

  test('is not used up by a load to a destination that answers, unless that never catches up', () =>
    inWorld(async (world) => {
      await world.pack(['1\ta']);
      world.limits = { ...DEFAULT_SEND_LIMITS, laneBudgetBytes: 1 };
      expect(suspendOverBudget(world.sendPorts, world.known(), world.lane, ANSWERING)).toBe(false);
      const far = { ...world.lane, waitingBytes: 65 * 1024 * 1024 };
      expect(suspendOverBudget(world.sendPorts, world.known(), far, ANSWERING)).toBe(true);
    }));

  test('opens no epoch in a process that lost its fence', () =>
    inWorld(async (world) => {
      await world.pack(['1\ta']);
      world.isFenced = true;
      world.limits = { ...DEFAULT_SEND_LIMITS, laneBudgetBytes: 1 };
      expect(suspendOverBudget(world.sendPorts, world.known(), world.lane, STALLED)).toBe(false);
    }));

  test('of days is not used up by a clock that was set right, while the destination goes on answering', () =>
    inWorld(async (world) => {
      world.limits = { ...DEFAULT_SEND_LIMITS };
      const years = 20 * 365 * 86_400_000;
      const service = world.start();
      world.leap(-years);
      await world.pack(['1\ta']);
      service.wake();
      await world.sent(2);
      world.leap(years);
      await world.pack(['2\tb']);
      service.wake();
      await world.bus.held(3);
      expect(world.lane.phase).toBe('streaming');
      world.limits = DEFAULT_SEND_LIMITS;
    }));
});
