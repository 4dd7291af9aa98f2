import { describe, expect, test } from 'vitest';
import { inWorld } from './sendWorld.testing.ts';

test('a lane that ends is closed in the books and sends nothing more', () =>
  inWorld(async (world) => {
    world.bus.isConnected = false;
    const service = world.start();
    await world.pack(['1\ta']);
    world.lanes = world.lanes.map((lane) => ({ ...lane, ended: true }));
    service.wake();
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(world.lane).toMatchObject({ phase: 'ended', waitingCount: 0 });
    expect(world.books).toEqual(['statement', 'settlement']);
    expect(service.states()).toEqual([]);
  }));

test('an exchange database older than the hub knows gives nothing it holds to the bus', () =>
  inWorld(async (world) => {
    await world.pack(['1\ta']);
    world.lanes = world.lanes.map((lane) => ({ ...lane, highestEpoch: 3n }));
    world.start();
    await world.bus.held(1);
    expect(world.bus.messages[0]?.header).toMatchObject({ sequence: 0n, epoch: { ordinal: 4n } });
    expect(world.lane.phase).toBe('loading');
  }));

describe('two histories of a lane', () => {
  test('end in a new epoch by themselves, after a person could see it', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      expect(world.answer(1, { contentHash: new Uint8Array(32) })).toBe('fork');
      world.nowMs += 19_000;
      service.wake();
      await new Promise(setImmediate);
      expect(world.lane.epoch).toBe(1n);
      world.nowMs += 1_001;
      service.wake();
      await world.bus.held(3);
      expect(world.bus.header(2)).toMatchObject({ sequence: 0n, epoch: { ordinal: 2n } });
      expect(world.lane).toMatchObject({ phase: 'loading', stuck: undefined });
    }));

  test('are not outbid by a copy of the node that lost its fence', () =>
    inWorld(async (world) => {
      await world.pack(['1\ta']);
      world.lanes = world.lanes.map((lane) => ({ ...lane, highestEpoch: 3n }));
      world.token = undefined;
      world.isFenced = true;
      const service = world.start();
      service.wake();
      await new Promise(setImmediate);
      expect(world.lane.epoch).toBe(1n);
      expect(service.sending()).toEqual([]);
    }));

  test('are not outbid by a process that the snapshot shows a newer start, before the hub has told it so', () =>
    inWorld(async (world) => {
      await world.pack(['1\ta']);
      world.lanes = world.lanes.map((lane) => ({ ...lane, highestEpoch: 3n }));
      world.newestToken = (world.token ?? 0n) + 1n;
      const service = world.start();
      service.wake();
      await new Promise(setImmediate);
      expect(world.lane.epoch).toBe(1n);
      world.token = world.newestToken;
      service.wake();
      await new Promise(setImmediate);
      expect(world.lane.epoch).toBe(4n);
    }));
});
