import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { RESENDS_KEPT } from '../exchange-database/resendsTaken.ts';
import { purgeSettled } from './purge.ts';
import { inWorld } from './sendWorld.testing.ts';

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
        answeredOnly: false,
      };
      expect(service.resendDeliveries(request)).toEqual({ kind: 'resending', deliveries: 2 });
      await world.sent(5);
      expect(world.bus.sequences.slice(3)).toEqual([1n, 2n]);
      expect(world.lane).toMatchObject({ onBusCount: 1, waitingCount: 1 });
    }));

  test('of a receiver that starts brings back what was answered, and leaves what is under way', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.pack(['1\tb']);
      await world.sent(3);
      world.answer(0);
      world.answer(1);
      const { laneId, epoch } = world.bus.header(0);
      const started = (firstSequence: bigint, of = epoch) =>
        service.resendDeliveries({
          laneId,
          epoch: of,
          firstSequence,
          lastSequence: 0n,
          reason: 'started',
          requestId: randomBytes(16),
          answeredOnly: true,
        });
      expect(started(2n)).toEqual({ kind: 'resending', deliveries: 0 });
      expect(started(7n)).toEqual({ kind: 'resending', deliveries: 0 });
      expect(started(1n)).toEqual({ kind: 'resending', deliveries: 1 });
      await world.sent(4);
      expect(world.bus.sequences.slice(3)).toEqual([1n]);
      // One that remembers nothing has no epoch; one of a later epoch says nothing of this one.
      expect(started(0n, { ordinal: 0n, nonce: new Uint8Array(0) })).toEqual({ kind: 'resending', deliveries: 2 });
      expect(started(0n, { ordinal: 2n, nonce: new Uint8Array(16) })).toEqual({ kind: 'otherEpoch' });
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
        answeredOnly: false,
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
        answeredOnly: false,
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
        answeredOnly: false,
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
      const request = { laneId, epoch, firstSequence: 1n, lastSequence: 1n, reason: 'gap', answeredOnly: false };
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
