import { randomBytes } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import { BookEntry, ControlMessage, RefusalFate } from '@qiao/contract/control';
import { DeliveryHeader, DeliveryMessage } from '@qiao/contract/delivery';
import { ServiceCondition } from '@qiao/contract/node';
import { Receipt } from '@qiao/contract/receipt';
import { checkHeader, decodeContent, idText, parseId, QiaoError } from '@qiao/exchange';
import { type CrashPointName, silentLog, simulateCrashes } from '@qiao/runtime';
import { describe, expect, test } from 'vitest';
import { CaptureWorld, NODE_ID, RECEIVER_ID } from '../capture/captureWorld.testing.ts';
import type { DesiredBridge, DesiredLane, DesiredPeer } from '../control/desired.ts';
import { RESENDS_KEPT } from '../exchange-database/resendsTaken.ts';
import { createReceiptAsker } from './askReceipts.ts';
import { payDueMs, payOwed } from './owed.ts';
import { DEFAULT_SEND_LIMITS, type SendLimits, type SendPorts, type SendService } from './ports.ts';
import { purgeSettled } from './purge.ts';
import { suspendOverBudget } from './retention.ts';
import { createSendParts } from './send.ts';

const text = { type: 'text' } as const;

/** A bus in memory that may be away; what it holds is decoded. */
class MemoryBus {
  isConnected = true;
  readonly messages: { header: DeliveryHeader; body: Uint8Array; part: number }[] = [];
  failWith: QiaoError | undefined;
  #waiting: { count: number; resolve: () => void }[] = [];

  async publish(_subject: string, bytes: Uint8Array): Promise<void> {
    if (this.failWith !== undefined) throw this.failWith;
    const message = DeliveryMessage.decode(bytes);
    const header = DeliveryHeader.decode(message.header?.payload ?? new Uint8Array(0));
    checkHeader(header);
    this.messages.push({ header, body: message.body, part: message.part });
    for (const { count, resolve } of this.#waiting) if (this.messages.length >= count) resolve();
  }

  /** Resolves when it holds this many messages. */
  async held(count: number): Promise<void> {
    if (this.messages.length >= count) return;
    await new Promise<void>((resolve) => this.#waiting.push({ count, resolve }));
  }

  header(index: number): DeliveryHeader {
    const message = this.messages[index];
    if (message === undefined) throw new Error(`the bus holds no message ${index}`);
    return message.header;
  }

  get sequences(): bigint[] {
    return this.messages.map(({ header }) => header.sequence);
  }
}

/** A source whose rows are packed, and its sending side. Sealing is the identity, so that bodies can be read. */
class SendWorld extends CaptureWorld {
  readonly bus = new MemoryBus();
  token: bigint | undefined = 7n;
  isFenced = false;
  outbid = 0n;
  sealingKey = new Uint8Array(65);
  readonly peerIds = [RECEIVER_ID];
  limits: SendLimits = DEFAULT_SEND_LIMITS;
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();
  service!: SendService;

  constructor() {
    super();
    this.addTable('person', {
      columns: [
        { name: 'id', type: text },
        { name: 'v', type: text },
      ],
      key: ['id'],
      lines: [],
    });
  }

  get sendPorts(): SendPorts {
    const peer = () => ({ nodeId: RECEIVER_ID, sealingKey: this.sealingKey }) as unknown as DesiredPeer;
    const withPeer = () => ({ ...this.desired, peers: new Map(this.peerIds.map((id) => [id, peer()])) });
    return {
      ...this.ports,
      desired: { current: withPeer, onChange: () => () => undefined },
      fence: {
        token: () => this.token,
        isLost: this.isFenced,
        whenGiven: async () => undefined,
      },
      bus: this.bus,
      dataSubject: 'qiao.up.demo.health.data',
      sealing: { name: 'none', seal: async (body) => ({ body, wrappedKey: new Uint8Array(1) }) },
      clock: { nowMs: () => this.nowMs, sleep: async (_ms, signal) => this.#untilStopped(signal) },
      log: silentLog(),
      limits: this.limits,
      onRoom: () => undefined,
      onQueued: () => undefined,
      onOutbid: (token) => {
        this.outbid = token;
      },
    };
  }

  /** Rows become one parcel (or several, by parcelBytes) on every lane. */
  async pack(lines: string[]): Promise<void> {
    const table = this.tables.get('person');
    if (table !== undefined) table.lines = lines;
    await this.scan();
    this.service?.wake();
  }

  start(): SendService {
    this.service = createSendParts(this.sendPorts);
    const [send] = this.service.parts;
    this.#running = send?.run(this.#stop.signal) ?? Promise.resolve();
    return this.service;
  }

  /** Resolves when the bus held `count` messages and nothing more waits to be published. */
  async sent(count: number): Promise<void> {
    await this.bus.held(count);
    const { lane, epoch } = this.lane;
    while (this.database.deliveriesOut.nextRecorded(lane, epoch, 1).length > 0) await new Promise(setImmediate);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Bridge and lane as the snapshot says. */
  known() {
    const bridge = [...this.desired.bridges.values()][0] as DesiredBridge;
    return { bridge, lane: bridge.lanes[0] as DesiredLane };
  }

  receipt(index: number, over: Partial<Receipt> = {}): Receipt {
    const header = this.bus.header(index);
    const { laneId, sequence, contentHash, receiverId, epoch } = header;
    return Receipt.fromPartial({
      laneId,
      sequence,
      contentHash,
      receiverId,
      epoch,
      revision: 1,
      settled: true,
      ...over,
    });
  }

  answer(index: number, over: Partial<Receipt> = {}) {
    return this.service.recordReceipt(this.receipt(index, over), signed());
  }

  get lane() {
    const [lane] = this.database.lanesOut.all();
    if (lane === undefined) throw new Error('no lane');
    return lane;
  }

  get books(): NonNullable<BookEntry['entry']>['$case'][] {
    return this.database.books.after(0n, 1_000).map(({ entry }) => BookEntry.decode(entry).entry?.$case ?? 'refusal');
  }

  async #untilStopped(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return;
    await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true }));
  }
}

function signed() {
  return { payload: new Uint8Array(1), suite: 'test', keyId: new Uint8Array(32), signature: new Uint8Array(1) };
}

function refuse(world: SendWorld, index: number, fate: RefusalFate, over: object = {}) {
  const { laneId, epoch, sequence, contentHash } = world.bus.header(index);
  const words = { code: 'SOME_CODE', message: 'why', hint: 'what next', highestEpoch: 0n, fencingToken: 0n };
  return world.service.handleRefusal({ laneId, epoch, sequence, contentHash, fate, ...words, ...over });
}

async function inWorld(work: (world: SendWorld) => Promise<void>): Promise<void> {
  using world = new SendWorld();
  world.addLane();
  try {
    await work(world);
  } finally {
    await world.stop();
  }
}

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

  test('of somebody who is not the receiver changes nothing', () =>
    inWorld(async (world) => {
      world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      expect(world.answer(1, { receiverId: parseId('f'.repeat(32)) })).toBe('unknownDelivery');
      expect(world.lane.waitingCount).toBe(2);
    }));
});

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
      const request = { laneId, epoch, firstSequence: 1n, lastSequence: 0n, reason: 'mark moved backwards', requestId };
      expect(service.resendDeliveries(request)).toEqual({ kind: 'resending', deliveries: 2 });
      await world.sent(5);
      expect(world.bus.sequences.slice(3)).toEqual([1n, 2n]);
      expect(world.lane).toMatchObject({ onBusCount: 1, waitingCount: 1 });
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
      const request = { laneId, epoch, firstSequence: 1n, lastSequence: 1n, reason: 'gap', requestId };
      expect(service.resendDeliveries(request)).toEqual({ kind: 'reopened' });
      expect(world.lane).toMatchObject({ epoch: 2n, phase: 'loading' });
    }));

  test('that the bus brings again is no news, also when what it asked for was settled and purged meanwhile', () =>
    inWorld(async (world) => {
      const service = world.start();
      await world.pack(['1\ta']);
      await world.sent(2);
      const { laneId, epoch } = world.bus.header(0);
      const request = { laneId, epoch, firstSequence: 1n, lastSequence: 0n, reason: 'inbox lost', requestId };
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
      const request = { laneId, epoch, firstSequence: 1n, lastSequence: 1n, reason: 'gap', requestId };
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
      const request = { laneId, epoch, firstSequence: 1n, lastSequence: 1n, reason: 'gap' };
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
      // Without waiting for the retention of settled ones: the disk is what is short.
      expect(purgeSettled(world.database, world.nowMs - DEFAULT_SEND_LIMITS.retentionMs)).toBe(1);
      const opening = world.bus.messages.findIndex(({ header }) => header.epoch?.ordinal === 2n);
      expect(world.answer(opening)).toBe('recorded');
      expect(world.lane.phase).toBe('loading');
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
      expect(suspendOverBudget(world.sendPorts, known, lane as never, world.nowMs)).toBe(false);
      world.nowMs += 2 * 86_400_000;
      const patient = { ...known.bridge.definition, limits: { retention: { days: 40 } } };
      const own = { ...known, bridge: { ...known.bridge, definition: patient } };
      expect(suspendOverBudget(world.sendPorts, own, lane as never, world.nowMs)).toBe(false);
      expect(suspendOverBudget(world.sendPorts, known, lane as never, world.nowMs)).toBe(true);
      expect(world.lane).toMatchObject({ phase: 'suspended', owes: { code: 'LANE_SUSPENDED' } });
    }));

  test('is not used up by a load to a destination that answers, unless that never catches up', () =>
    inWorld(async (world) => {
      await world.pack(['1\ta']);
      world.limits = { ...DEFAULT_SEND_LIMITS, laneBudgetBytes: 1 };
      expect(suspendOverBudget(world.sendPorts, world.known(), world.lane, world.nowMs - 1_000)).toBe(false);
      const far = { ...world.lane, waitingBytes: 65 * 1024 * 1024 };
      expect(suspendOverBudget(world.sendPorts, world.known(), far, world.nowMs - 1_000)).toBe(true);
    }));

  test('opens no epoch in a process that lost its fence', () =>
    inWorld(async (world) => {
      await world.pack(['1\ta']);
      world.isFenced = true;
      world.limits = { ...DEFAULT_SEND_LIMITS, laneBudgetBytes: 1 };
      expect(suspendOverBudget(world.sendPorts, world.known(), world.lane, 0)).toBe(false);
    }));
});

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

  /** A debt that is due, until its load was sent; the process dies at the point and another goes on. */
  async function paid(diesAt?: CrashPointName) {
    using world = new SendWorld();
    world.addLane();
    await world.pack(['1\ta']);
    world.database.lanesOut.owe(world.lane.lane, { code: 'NOT_ALLOWED', reason: '' }, world.nowMs);
    world.nowMs += 60_000;
    simulateCrashes((name) => {
      if (name === diesAt) throw new Error(`dead at ${name}`);
    });
    try {
      expect(payOwed(world.sendPorts, world.lane)).toBe(diesAt === undefined);
    } catch (error) {
      expect(error).toEqual(new Error(`dead at ${diesAt}`));
      world.reopen();
    } finally {
      simulateCrashes(undefined);
    }
    expect(world.lane.owes).toBeDefined();
    world.start();
    await world.sent(1);
    expect(world.answer(0)).toBe('recorded');
    await world.scan();
    world.service.wake();
    await world.sent(2);
    const places = world.bus.messages.map(({ header }) => [header.epoch?.ordinal, header.sequence, header.counts]);
    const { epoch, phase, owes } = world.lane;
    await world.stop();
    return { places, epoch, phase, owes, books: world.books };
  }

  test('are paid once by a process that begins after one that died when it had opened the epoch for it', async () => {
    const undisturbed = await paid();
    expect(undisturbed).toMatchObject({ epoch: 2n, phase: 'streaming', owes: undefined });
    expect(await paid('owed.epochOpened')).toEqual(undisturbed);
  });

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
    await world.pack(['1\ta']);
    service.wake();
    expect(service.states()[0]).toMatchObject({ condition: ServiceCondition.RETRYING, code: 'DESTINATION_REVOKED' });
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
    const lane = world.lane;
    const asker = createReceiptAsker(world.sendPorts);
    const wanted = () =>
      world.database.controlOut.next(10).map(({ number, message }) => {
        world.database.controlOut.sent(number);
        return ControlMessage.decode(message).body;
      });
    expect(asker.ask(lane)).toBe(world.nowMs + 30_000);
    expect(wanted()).toEqual([]);
    world.nowMs += 30_000;
    asker.ask(lane);
    expect(wanted()).toMatchObject([
      { $case: 'receiptsWanted', value: { known: [{ sequence: 1n, revision: 3 }], epoch: { ordinal: 1n } } },
    ]);
    expect(asker.ask(lane)).toBe(world.nowMs + 60_000);
    world.answer(1, { revision: 4 });
    expect(asker.ask(lane)).toBeUndefined();
    service.wake();
  }));

test('a token that the receiver has seen a newer one of is told to whoever asks the hub', () =>
  inWorld(async (world) => {
    world.start();
    await world.pack(['1\ta']);
    await world.sent(2);
    refuse(world, 1, RefusalFate.RESEND, { code: 'FENCED', fencingToken: 12n });
    expect(world.outbid).toBe(12n);
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
