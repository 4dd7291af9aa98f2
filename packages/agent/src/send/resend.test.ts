import { randomBytes } from 'node:crypto';
import { ControlMessage, RefusalFate } from '@qiao/contract/control';
import { describe, expect, test } from 'vitest';
import { RESENDS_KEPT } from '../exchange-database/resendsTaken.ts';
import { DEFAULT_SEND_LIMITS } from './ports.ts';
import { purgeSettled } from './purge.ts';
import { inWorld, refuse, type SendWorld } from './sendWorld.testing.ts';

describe('a resend request', () => {
  const requestId = randomBytes(16);

  test('publishes again what was asked for, settled or not', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.pack(['1\tb']);
      await world.sent(3);
      world.answer(0);
      world.answer(1);
      const { laneId, epoch } = world.bus.header(0);
      const request = {
        laneId,
        epoch,
        firstSequence: 1n,
        lastSequence: 0n,
        reason: 'mark moved backwards',
        requestId,
        isPlace: false,
      };
      expect(service.resendDeliveries(request)).toEqual({ kind: 'resending', deliveries: 2 });
      await world.sent(5);
      expect(world.bus.sequences.slice(3)).toEqual([1n, 2n]);
      expect(world.lane).toMatchObject({ onBusCount: 2, waitingCount: 1 });
      world.answer(3);
      world.answer(4);
      expect(world.lane).toMatchObject({ onBusCount: 0, onBusBytes: 0, waitingCount: 0 });
    }));

  /** Deliveries 0 to 6, all of them settled; four fit into the window. */
  const settled = (work: (world: SendWorld, ask: (first: bigint) => unknown) => Promise<void>) =>
    inWorld(async (world) => {
      world.limits = { ...DEFAULT_SEND_LIMITS, windowCount: 4 };
      const service = world.start();
      const lines: string[] = [];
      for (let delivery = 0; delivery <= 6; delivery += 1) {
        if (delivery > 0) {
          lines.push(`${delivery}\ta`);
          await world.pack([...lines]);
        }
        if (delivery === 0) continue;
        await world.sent(delivery + 1);
        if (delivery === 1) world.answer(0);
        world.answer(delivery);
      }
      const { laneId, epoch } = world.bus.header(0);
      const words = { laneId, epoch, lastSequence: 0n, reason: 'mark moved backwards', isPlace: false };
      await work(world, (firstSequence) =>
        service.resendDeliveries({ ...words, firstSequence, requestId: randomBytes(16) }),
      );
    });

  test('keeps to the window: what was answered before waits for its receipt as anything else, and the receipts bring the rest', () =>
    settled(async (world, ask) => {
      expect(ask(1n)).toEqual({ kind: 'resending', deliveries: 6 });
      await world.bus.held(7 + 4);
      await expect.poll(() => world.lane.onBusCount).toBe(4);
      expect(world.bus.sequences.slice(7)).toEqual([1n, 2n, 3n, 4n]);
      // Asked for again while they are under way: nothing is said twice.
      expect(ask(1n)).toEqual({ kind: 'resending', deliveries: 6 });
      for (const index of [7, 8, 9, 10]) world.answer(index);
      await world.sent(7 + 6);
      expect(world.bus.sequences.slice(7)).toEqual([1n, 2n, 3n, 4n, 5n, 6n]);
      for (const index of [11, 12]) world.answer(index);
      expect(world.lane).toMatchObject({ onBusCount: 0, onBusBytes: 0, waitingCount: 0 });
    }));

  test('of what the destination had no room for is published later; what is refused otherwise is over', () =>
    settled(async (world, ask) => {
      ask(6n);
      await world.sent(8);
      expect(refuse(world, 7, RefusalFate.RESEND, { code: 'DESTINATION_BUSY' })).toBe('later');
      expect(world.lane).toMatchObject({ onBusCount: 0, refusalsInRow: 1 });
      world.nowMs += 60_000;
      world.service.wake();
      await world.sent(9);
      expect(refuse(world, 8, RefusalFate.NEW_EPOCH, { highestEpoch: 9n })).toBe('ignored');
      expect(world.lane).toMatchObject({ onBusCount: 0, onBusBytes: 0, epoch: 1n });
    }));

  test('that nobody answers lets new deliveries pass after a while, and what is lacking is asked for anew', () =>
    settled(async (world, ask) => {
      ask(1n);
      await expect.poll(() => world.lane.onBusCount).toBe(4);
      world.nowMs += DEFAULT_SEND_LIMITS.resendAfterMs + 1;
      world.service.wake();
      await world.sent(7 + 6);
      expect(world.lane.onBusCount).toBe(2);
      ask(1n);
      await world.bus.held(7 + 6 + 2);
      expect(world.bus.sequences.slice(13)).toEqual([1n, 2n]);
    }));

  test('of deliveries that are purged, or whose epoch ends, leaves the window with them', () =>
    settled(async (world, ask) => {
      ask(5n);
      await world.sent(9);
      purgeSettled(world.database, Number.MAX_SAFE_INTEGER);
      expect(world.lane).toMatchObject({ onBusCount: 0, onBusBytes: 0 });
    }));

  test('is none when a receiver says where it stands: the newest settled delivery is asked about, and nothing sent at a word that may be old', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.pack(['1\tb']);
      await world.sent(3);
      const { laneId, epoch } = world.bus.header(0);
      const place = { laneId, lastSequence: 0n, reason: 'place', requestId: randomBytes(16), isPlace: true };
      const says = (firstSequence: bigint, of = epoch) => {
        const answer = service.resendDeliveries({ ...place, firstSequence, epoch: of });
        const asked = world.database.controlOut.next(10).flatMap(({ number, message }) => {
          world.database.controlOut.sent(number);
          const { body } = ControlMessage.decode(message);
          return body?.$case === 'receiptsWanted' ? body.value.known : [];
        });
        return [answer.kind, ...asked];
      };
      const nothing = { ordinal: 0n, nonce: new Uint8Array(0) };
      expect(says(0n, nothing)).toEqual(['known']);
      world.answer(0);
      world.answer(1);
      const newest = { sequence: 1n, revision: 1, settled: true };
      expect(says(0n, nothing)).toEqual(['asked', newest]);
      expect(says(1n)).toEqual(['asked', newest]);
      // What is under way comes by itself.
      expect(says(2n)).toEqual(['known']);
      expect(says(3n)).toEqual(['known']);
      expect(says(0n, { ordinal: 2n, nonce: new Uint8Array(16) })).toEqual(['otherEpoch']);
      expect(world.bus.messages).toHaveLength(3);
      expect(world.lane.stuck).toBeUndefined();
      // This end never sent so much: it is an old copy.
      expect(says(4n)).toEqual(['forked']);
      expect(world.lane.stuck).toMatchObject({ code: 'LANE_FORKED' });
    }));

  test('for what is past its retention begins a new epoch', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      world.answer(0);
      world.answer(1);
      purgeSettled(world.database, world.nowMs + 1);
      const { laneId, epoch } = world.bus.header(0);
      const request = {
        laneId,
        epoch,
        firstSequence: 1n,
        lastSequence: 1n,
        reason: 'gap',
        requestId,
        isPlace: false,
      };
      expect(service.resendDeliveries(request)).toEqual({ kind: 'reopened' });
      expect(world.lane).toMatchObject({ epoch: 2n, phase: 'loading' });
    }));

  test('that the bus brings again is no news, also when what it asked for was settled and purged meanwhile', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      const { laneId, epoch } = world.bus.header(0);
      const request = {
        laneId,
        epoch,
        firstSequence: 1n,
        lastSequence: 0n,
        reason: 'inbox lost',
        requestId,
        isPlace: false,
      };
      expect(service.resendDeliveries(request)).toEqual({ kind: 'resending', deliveries: 1 });
      await world.sent(3);
      world.answer(0);
      world.answer(1);
      purgeSettled(world.database, world.nowMs + 1);
      // It died before the bus had the acknowledgement.
      expect(service.resendDeliveries(request)).toEqual({ kind: 'known' });
      expect(world.lane).toMatchObject({ epoch: 1n, phase: 'streaming' });
      // Asked for anew, it really is wanted.
      expect(service.resendDeliveries({ ...request, requestId: randomBytes(16) })).toEqual({ kind: 'reopened' });
    }));

  test('that could not be answered is answered when it comes again', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      world.answer(0);
      world.answer(1);
      purgeSettled(world.database, world.nowMs + 1);
      const { laneId, epoch } = world.bus.header(0);
      const request = {
        laneId,
        epoch,
        firstSequence: 1n,
        lastSequence: 1n,
        reason: 'gap',
        requestId,
        isPlace: false,
      };
      const stranger = { ...request, laneId: randomBytes(16) };
      expect(service.resendDeliveries(stranger)).toEqual({ kind: 'unknownLane' });
      // The snapshot shows a newer start of this node: this one may open no epoch before the hub has said whose the lane is.
      world.newestToken = 8n;
      expect(service.resendDeliveries(request)).toEqual({ kind: 'unknownLane' });
      world.token = 8n;
      expect(service.resendDeliveries(request)).toEqual({ kind: 'reopened' });
      expect(service.resendDeliveries(request)).toEqual({ kind: 'known' });
    }));

  test('is remembered among the newest of its lane, however many a receiver sends', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      const { laneId, epoch } = world.bus.header(0);
      const request = { laneId, epoch, firstSequence: 1n, lastSequence: 1n, reason: 'gap', isPlace: false };
      const ids = Array.from({ length: RESENDS_KEPT + 10 }, () => randomBytes(16));
      for (const id of ids) service.resendDeliveries({ ...request, requestId: id });
      const kept = () =>
        ['resend_taken', 'command_seen'].map((table) =>
          world.database.sqlite.prepare(`SELECT count(*) FROM ${table}`).pluck().get(),
        );
      expect(kept()).toEqual([RESENDS_KEPT, 0]);
      const newest = ids.slice(-RESENDS_KEPT);
      const answers = newest.map((id) => service.resendDeliveries({ ...request, requestId: id }).kind);
      expect(new Set(answers)).toEqual(new Set(['known']));
    }));
});
