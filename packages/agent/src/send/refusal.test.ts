import { RefusalFate } from '@qiao/contract/control';
import { describe, expect, test } from 'vitest';
import { inWorld, refuse } from './sendWorld.testing.ts';

describe('a refusal', () => {
  test('that says later pauses the lane and sends the same again, in order', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      expect(refuse(world, 1, RefusalFate.RESEND)).toBe('later');
      expect(refuse(world, 0, RefusalFate.RESEND)).toBe('later');
      expect(world.lane).toMatchObject({ onBusCount: 0, onBusBytes: 0 });
      expect(world.bus.messages).toHaveLength(2);
      world.nowMs += 501;
      service.wake();
      await world.bus.held(4);
      expect(world.bus.sequences.slice(2)).toEqual([0n, 1n]);
      expect(world.books).toEqual(['statement', 'refusal']);
    }));

  test('that says later pauses no longer when the clock is set back', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      refuse(world, 1, RefusalFate.RESEND);
      world.nowMs -= 24 * 60 * 60 * 1000;
      service.wake();
      await world.bus.held(4);
    }));

  test('that never ends otherwise is closed by a void of the same place, hash and counts', () =>
    inWorld(async (world) => {
      world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      expect(refuse(world, 1, RefusalFate.VOID, { code: 'DESTINATION_NOT_BOUND' })).toBe('voided');
      await world.sent(3);
      const [, rows, closing] = world.bus.messages;
      expect(closing?.header.role).toEqual({ $case: 'void', value: { code: 'DESTINATION_NOT_BOUND', reason: 'why' } });
      expect(closing?.header.parts).toEqual([]);
      for (const field of ['sequence', 'contentHash', 'counts', 'previousChain', 'sealedAtMs'] as const) {
        expect(closing?.header[field]).toEqual(rows?.header[field]);
      }
      expect(world.books).toEqual(['statement', 'refusal', 'settlement']);
      // Refused as well: then nobody will answer, and our settlement is the last word.
      expect(refuse(world, 2, RefusalFate.VOID)).toBe('closed');
      expect(world.lane.waitingCount).toBe(1);
    }));

  test('never closes an opening: everything behind it would wait for ever', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      expect(refuse(world, 0, RefusalFate.VOID)).toBe('later');
      world.nowMs += 501;
      service.wake();
      await world.bus.held(3);
      expect(world.bus.sequences).toEqual([0n, 1n, 0n]);
      expect(world.bus.header(2).role?.$case).toBe('opening');
    }));

  test('that stops leaves the lane stuck until a newer version', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      expect(refuse(world, 1, RefusalFate.STOP)).toBe('stuck');
      expect(service.states()[0]).toMatchObject({
        condition: 'SERVICE_CONDITION_STUCK',
        code: 'SOME_CODE',
        hint: 'what next',
      });
      world.version = 2;
      service.wake();
      await world.bus.held(3);
      expect(world.bus.sequences.at(-1)).toBe(1n);
    }));

  test('of an old epoch begins a new one above it, closes the old in the books and loads again', () =>
    inWorld(async (world) => {
      world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      const oldEpoch = world.bus.messages[0]?.header.epoch;
      expect(refuse(world, 1, RefusalFate.NEW_EPOCH, { highestEpoch: 4n })).toBe('reopened');
      await world.bus.held(3);
      const opening = world.bus.messages[2]?.header;
      expect(opening).toMatchObject({ sequence: 0n, epoch: { ordinal: 5n } });
      expect(opening?.role).toMatchObject({ value: { previous: oldEpoch, previousLastSequence: 1n } });
      expect(world.lane).toMatchObject({ phase: 'loading', waitingCount: 1 });
      expect(world.books).toEqual(['statement', 'refusal', 'settlement']);
      // The refusal's twin is late: it speaks of an epoch that is over.
      expect(refuse(world, 0, RefusalFate.NEW_EPOCH, { highestEpoch: 4n })).toBe('ignored');
      await world.pack(['1\ta']);
      await world.bus.held(4);
      expect(world.bus.messages[3]?.header.role).toMatchObject({ value: { loadBegins: true, loadEnds: true } });
    }));
});

test('a token that the receiver has seen a newer one of is told to whoever asks the hub', () =>
  inWorld(async (world) => {
    world.start();
    await world.pack(['1\ta']);
    await world.sent(2);
    refuse(world, 1, RefusalFate.RESEND, { code: 'FENCED', fencingToken: 12n });
    expect(world.outbid).toBe(12n);
  }));

test('a token that nobody can have been given is told to nobody, nor is one of a delivery that was not refused', () =>
  inWorld(async (world) => {
    world.start();
    await world.pack(['1\ta']);
    await world.sent(2);
    refuse(world, 1, RefusalFate.RESEND, { code: 'FENCED', fencingToken: 1n << 52n });
    refuse(world, 1, RefusalFate.RESEND, { code: 'FENCED', fencingToken: 12n, sequence: 77n });
    refuse(world, 1, RefusalFate.RESEND, { code: 'FENCED', fencingToken: 12n, contentHash: new Uint8Array(32) });
    expect(world.outbid).toBe(0n);
  }));

test('a refusal that comes before the acknowledgement is not taken for answered by it', () =>
  inWorld(async (world) => {
    world.start();
    await world.pack(['1\ta']);
    // The bus holds both; the outbox has not noted it yet.
    await world.bus.held(2);
    const { laneId, epoch, sequence, contentHash } = world.bus.header(1);
    const words = { code: 'DESTINATION_NOT_BOUND', message: 'why', hint: '', highestEpoch: 0n, fencingToken: 0n };
    world.service.handleRefusal({ laneId, epoch, sequence, contentHash, fate: RefusalFate.VOID, ...words });
    await world.sent(3);
    expect(world.bus.messages[2]?.header.role?.$case).toBe('void');
  }));
