// For tests: the sending side of a node over a real exchange database, a bus in memory and a clock that stands still.

import { BookEntry, RefusalFate } from '@qiao/contract/control';
import { DeliveryHeader, DeliveryMessage } from '@qiao/contract/delivery';
import { Receipt } from '@qiao/contract/receipt';
import { checkHeader, QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { CaptureWorld, RECEIVER_ID } from '../capture/captureWorld.testing.ts';
import type { DesiredBridge, DesiredLane, DesiredPeer } from '../control/desired.ts';
import { DEFAULT_SEND_LIMITS, type SendLimits, type SendPorts, type SendService } from './ports.ts';
import { createSendParts } from './send.ts';

export const text = { type: 'text' } as const;

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
export class SendWorld extends CaptureWorld {
  readonly bus = new MemoryBus();
  token: bigint | undefined = 7n;
  isFenced = false;
  outbid = 0n;
  sealingKey = new Uint8Array(65);
  readonly peerIds = [RECEIVER_ID];
  limits: SendLimits = DEFAULT_SEND_LIMITS;
  readonly #stop = new AbortController();
  #leaptMs = 0;
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

  /** Somebody sets the clock. */
  leap(ms: number): void {
    this.nowMs += ms;
    this.#leaptMs += ms;
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
      clock: {
        nowMs: () => this.nowMs,
        elapsedMs: () => this.nowMs - this.#leaptMs,
        sleep: async (_ms, signal) => this.#untilStopped(signal),
      },
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

export function signed() {
  return { payload: new Uint8Array(1), suite: 'test', keyId: new Uint8Array(32), signature: new Uint8Array(1) };
}

export function refuse(world: SendWorld, index: number, fate: RefusalFate, over: object = {}) {
  const { laneId, epoch, sequence, contentHash } = world.bus.header(index);
  const words = { code: 'SOME_CODE', message: 'why', hint: 'what next', highestEpoch: 0n, fencingToken: 0n };
  return world.service.handleRefusal({ laneId, epoch, sequence, contentHash, fate, ...words, ...over });
}

export async function inWorld(work: (world: SendWorld) => Promise<void>): Promise<void> {
  using world = new SendWorld();
  world.addLane();
  try {
    await work(world);
  } finally {
    await world.stop();
  }
}
