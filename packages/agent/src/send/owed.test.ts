import { RefusalFate } from '@qiao/contract/control';
import { describe, expect, test } from 'vitest';
import { payDueMs, payOwed } from './owed.ts';
import { inWorld, refuse } from './sendWorld.testing.ts';

describe('rows that were cancelled', () => {
  test('are owed, and travel again in a new epoch once its opening was answered', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      world.answer(0);
      refuse(world, 1, RefusalFate.VOID, { code: 'NOT_ALLOWED' });
      await world.sent(3);
      expect(world.lane.owes).toMatchObject({ code: 'NOT_ALLOWED', epoch: 1n });
      // The void is answered: nothing is under way any more, and the debt may be paid.
      world.answer(2);
      world.nowMs += 1_001;
      service.wake();
      await world.bus.held(4);
      expect(world.bus.header(3)).toMatchObject({ sequence: 0n, epoch: { ordinal: 2n } });
      expect(world.lane.phase).toBe('suspended');
      // While the cause lasts its opening is refused like everything else, and nothing is packed.
      expect(refuse(world, 3, RefusalFate.VOID, { code: 'NOT_ALLOWED' })).toBe('later');
      world.nowMs += 501;
      service.wake();
      await world.bus.held(5);
      expect(world.answer(4)).toBe('recorded');
      expect(world.lane).toMatchObject({ phase: 'loading', owes: { code: 'NOT_ALLOWED' } });
      await world.scan();
      service.wake();
      expect(world.lane).toMatchObject({ phase: 'streaming', owes: undefined });
      await world.bus.held(6);
      expect(world.bus.header(5)).toMatchObject({ sequence: 1n, epoch: { ordinal: 2n } });
    }));

  test('that fail again are tried again ever more rarely', () =>
    inWorld(async (world) => {
      await world.pack(['1\ta']);
      const { lane } = world.lane;
      for (const pauseMs of [1_000, 2_000, 4_000]) {
        world.database.lanesOut.setPhase(lane, 'streaming');
        world.database.lanesOut.owe(lane, { code: 'NOT_ALLOWED', reason: '' }, world.nowMs);
        const due = payDueMs({ ...world.lane, waitingCount: 0 });
        expect((due ?? 0) - world.nowMs).toBe(pauseMs);
        world.nowMs = (due ?? 0) + 60_000;
        expect(payOwed(world.sendPorts, world.lane)).toBe(true);
        world.database.sqlite.exec('UPDATE lane_out SET owes_code = NULL');
      }
    }));
});
