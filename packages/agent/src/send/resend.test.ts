import { randomBytes } from 'node:crypto';
import { ControlMessage } from '@qiao/contract/control';
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
        isPlace: false,
      };
      expect(service.resendDeliveries(request)).toEqual({ kind: 'resending', deliveries: 2 });
      await world.sent(5);
      expect(world.bus.sequences.slice(3)).toEqual([1n, 2n]);
      expect(world.lane).toMatchObject({ onBusCount: 1, waitingCount: 1 });
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
