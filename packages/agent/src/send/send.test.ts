import { randomBytes } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import { ControlMessage, RefusalFate } from '@qiao/contract/control';
import { ServiceCondition } from '@qiao/contract/node';
import { decodeContent, idText, parseId } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import { NODE_ID, RECEIVER_ID } from '../capture/captureWorld.testing.ts';
import { createReceiptAsker } from './askReceipts.ts';
import { DEFAULT_SEND_LIMITS } from './ports.ts';
import { purgeSettled } from './purge.ts';
import { inWorld, signed } from './sendWorld.testing.ts';

describe('a lane', () => {
  test('begins with its opening and continues in sequence, chained and within the contract', () =>
    inWorld(async (world) => {
      world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      await world.pack(['1\tb', '2\tc']);
      await world.bus.held(3);
      expect(world.bus.sequences).toEqual([0n, 1n, 2n]);
      const [opening, load, change] = world.bus.messages;
      expect(opening?.header.role?.$case).toBe('opening');
      expect(load?.header.fencingToken).toBe(7n);
      expect(load?.header.role).toMatchObject({ value: { loadBegins: true, loadEnds: true } });
      const sections = decodeContent(zstdDecompressSync(change?.body ?? new Uint8Array()));
      expect(sections.map(({ kind, rowCount }) => `${kind} ${rowCount}`)).toEqual(['update 1', 'insert 1']);
      expect(world.books).toEqual(['statement', 'statement']);
    }));

  test('sends nothing without a fencing token, and says why', () =>
    inWorld(async (world) => {
      world.token = undefined;
      const service = world.start();
      await world.pack(['1\ta']);
      expect(service.states()[0]).toMatchObject({ code: 'NO_FENCING_TOKEN', waitingDeliveries: 2n });
      world.token = 9n;
      service.wake();
      await world.sent(2);
      expect(world.bus.messages[0]?.header.fencingToken).toBe(9n);
    }));

  test('a lane that the hub lets end at another node than before is refused, and goes on when it names the first one', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      const [lane] = world.lanes;
      if (lane === undefined) throw new Error('no lane');
      world.lanes[0] = { ...lane, receiverId: NODE_ID.replace(/1$/, '3'), highestEpoch: 5n };
      world.peerIds.push(world.lanes[0].receiverId);
      await world.pack(['1\tb']);
      expect(world.lane).toMatchObject({ receiver: Buffer.from(parseId(RECEIVER_ID)), epoch: 1n });
      expect(service.states()[0]).toMatchObject({ condition: ServiceCondition.STUCK, code: 'RECEIVER_CHANGED' });
      expect(world.bus.messages).toHaveLength(2);
      world.lanes[0] = lane;
      await world.pack(['1\tc']);
      await world.bus.held(4);
      expect(world.bus.messages.map(({ header }) => idText(header.receiverId))).toEqual(Array(4).fill(RECEIVER_ID));
      expect(service.states()[0]?.code).toBe('');
    }));

  test('says that another process has this node’s fence', () =>
    inWorld(async (world) => {
      world.token = undefined;
      world.isFenced = true;
      await world.pack(['1\ta']);
      const service = world.start();
      expect(service.states()[0]).toMatchObject({ condition: ServiceCondition.RETRYING, code: 'FENCED' });
      expect(service.states()[0]?.hint).toContain('stop');
    }));

  test('keeps no more than its window on the bus until receipts come', () =>
    inWorld(async (world) => {
      world.limits = { ...DEFAULT_SEND_LIMITS, windowCount: 3 };
      world.parcelBytes = 64;
      world.start();
      world.chunkRows = 1;
      await world.pack(Array.from({ length: 10 }, (_, i) => `${i}\t${'x'.repeat(60)}`));
      await world.bus.held(3);
      await new Promise(setImmediate);
      expect(world.bus.messages).toHaveLength(3);
      expect(world.lane.onBusCount).toBe(3);
      expect(world.answer(0)).toBe('recorded');
      await world.bus.held(4);
      expect(world.bus.sequences).toEqual([0n, 1n, 2n, 3n]);
      expect(world.lane.settledThrough).toBe(0n);
    }));

  test('publishes again under the same place, content and day when no receipt comes', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      world.nowMs += 30_001;
      service.wake();
      await world.sent(4);
      const [, first, , again] = world.bus.messages;
      expect(again?.header).toEqual({ ...first?.header, settledThrough: 0n });
      expect(world.lane.onBusCount).toBe(2);
    }));

  test('publishes again when the clock was set back behind what it waits for', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      world.nowMs -= 24 * 60 * 60 * 1000;
      service.wake();
      await world.sent(4);
      expect(world.bus.sequences).toEqual([0n, 1n, 0n, 1n]);
    }));

  test('takes up what was packed before a crash', () =>
    inWorld(async (world) => {
      await world.pack(['1\ta']);
      world.reopen();
      world.start();
      await world.sent(2);
      expect(world.bus.sequences).toEqual([0n, 1n]);
    }));

  test('cuts a large body into parts that its one header names', () =>
    inWorld(async (world) => {
      world.parcelBytes = 12 * 1024 * 1024;
      world.start();
      // Hexadecimal noise halves under zstd: ten million characters make two parts.
      await world.pack(Array.from({ length: 10 }, (_, i) => `${i}\t${randomBytes(500_000).toString('hex')}`));
      await world.bus.held(3);
      const parts = world.bus.messages.slice(1);
      expect(parts.map(({ part }) => part)).toEqual([0, 1]);
      expect(parts[0]?.header).toEqual(parts[1]?.header);
      const body = Buffer.concat(parts.map((part) => part.body));
      expect(decodeContent(zstdDecompressSync(body))[0]?.rowCount).toBe(10);
    }));
});

describe('a receipt', () => {
  test('settles its delivery, frees the window and lets the parcel go after its retention', () =>
    inWorld(async (world) => {
      world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      expect([world.answer(0), world.answer(1), world.answer(1)]).toEqual(['recorded', 'recorded', 'known']);
      expect(world.lane).toMatchObject({
        settledThrough: 1n,
        onBusBytes: 0,
        onBusCount: 0,
        waitingBytes: 0,
        waitingCount: 0,
      });
      expect(purgeSettled(world.database, world.nowMs)).toBe(0);
      expect(purgeSettled(world.database, world.nowMs + 1)).toBe(1);
      expect(world.answer(1, { revision: 2 })).toBe('unknownDelivery');
    }));

  test('with open rows frees the window but keeps the body', () =>
    inWorld(async (world) => {
      world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      world.answer(0);
      world.answer(1, { settled: false });
      expect(world.lane).toMatchObject({ settledThrough: 0n, onBusCount: 0, waitingCount: 0 });
      expect(purgeSettled(world.database, world.nowMs + 1)).toBe(0);
      expect(world.answer(1, { revision: 2 })).toBe('recorded');
      expect(world.lane.settledThrough).toBe(1n);
      expect(purgeSettled(world.database, world.nowMs + 1)).toBe(1);
    }));

  test('of another content stops the lane as a fork', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      expect(world.answer(1, { contentHash: new Uint8Array(32) })).toBe('fork');
      expect(service.states()[0]).toMatchObject({ condition: 'SERVICE_CONDITION_STUCK', code: 'LANE_FORKED' });
    }));

  test('of another content, late and about a closed epoch, does not stop the lane that took its place', () =>
    inWorld(async (world) => {
      world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      const foreign = world.receipt(1, { contentHash: new Uint8Array(32) });
      const { laneId, epoch } = world.bus.header(1);
      world.service.handleRefusal({
        laneId,
        epoch,
        sequence: 1n,
        contentHash: new Uint8Array(0),
        fate: RefusalFate.NEW_EPOCH,
        code: 'FORK',
        message: 'why',
        hint: '',
        highestEpoch: 0n,
        fencingToken: 0n,
      });
      expect(world.lane.epoch).toBe(2n);
      expect(world.service.recordReceipt(foreign, signed())).toBe('unknownDelivery');
      expect(world.lane.stuck).toBeUndefined();
    }));

  test('of a delivery that this copy never sent begins a new epoch: the copy is an old one', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      const beyond = { ...world.receipt(1), sequence: 2n };
      expect(world.service.recordReceipt({ ...beyond, receiverId: parseId('f'.repeat(32)) }, signed())).toBe(
        'unknownDelivery',
      );
      expect(world.service.recordReceipt(beyond, signed())).toBe('fork');
      expect(service.states()[0]).toMatchObject({ condition: 'SERVICE_CONDITION_STUCK', code: 'LANE_FORKED' });
    }));

  test('of somebody who is not the receiver changes nothing', () =>
    inWorld(async (world) => {
      world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      expect(world.answer(1, { receiverId: parseId('f'.repeat(32)) })).toBe('unknownDelivery');
      expect(world.lane.waitingCount).toBe(2);
    }));
});

test('what is on the bus for a receiver’s old key goes out again for its new one, with the same content', () =>
  inWorld(async (world) => {
    const service = world.start();
    await world.pack(['1\ta']);
    await world.sent(2);
    world.sealingKey = new Uint8Array(65).fill(9);
    service.wake();
    await world.bus.held(3);
    const [, before, after] = world.bus.messages;
    expect(after?.header.sequence).toBe(1n);
    expect(after?.header.contentHash).toEqual(before?.header.contentHash);
    expect(after?.header.sealedFor).not.toEqual(before?.header.sealedFor);
    await world.sent(3);
    service.wake();
    await new Promise(setImmediate);
    expect(world.bus.messages).toHaveLength(3);
  }));

test('nothing is sealed for a destination whose rights were ended', () =>
  inWorld(async (world) => {
    world.sealingKey = new Uint8Array(0);
    const service = world.start();
    // A person has to act, whether or not something waits yet.
    expect(service.states()[0]).toMatchObject({ condition: ServiceCondition.STUCK, code: 'DESTINATION_REVOKED' });
    await world.pack(['1\ta']);
    service.wake();
    expect(service.states()[0]).toMatchObject({ condition: ServiceCondition.STUCK, code: 'DESTINATION_REVOKED' });
    world.sealingKey = new Uint8Array(65);
    service.wake();
    await world.bus.held(2);
  }));

test('a receipt with open rows is asked for again, ever more rarely', () =>
  inWorld(async (world) => {
    const service = world.start();
    await world.pack(['1\ta']);
    await world.sent(2);
    world.answer(0);
    world.answer(1, { settled: false, revision: 3 });
    const asker = createReceiptAsker(world.sendPorts);
    const wanted = () =>
      world.database.controlOut.next(10).map(({ number, message }) => {
        world.database.controlOut.sent(number);
        return ControlMessage.decode(message).body;
      });
    const open = { sequence: 1n, revision: 3 };
    expect(asker.ask(world.lane)).toBe(world.nowMs + 30_000);
    expect(wanted()).toEqual([]);
    world.nowMs += 30_000;
    asker.ask(world.lane);
    // Each process asks once about what only a later copy of this end can have sent.
    expect(wanted()).toMatchObject([
      { $case: 'receiptsWanted', value: { known: [{ sequence: 2n, revision: 0 }], epoch: { ordinal: 1n } } },
      { $case: 'receiptsWanted', value: { known: [open], epoch: { ordinal: 1n } } },
    ]);
    expect(asker.ask(world.lane)).toBe(world.nowMs + 60_000);
    world.nowMs += 60_000;
    asker.ask(world.lane);
    expect(wanted()).toMatchObject([{ value: { known: [open] } }]);
    world.answer(1, { revision: 4 });
    expect(asker.ask(world.lane)).toBeUndefined();
    service.wake();
  }));
