/**
 * Streams and consumers: the hub's alone. Everything here is idempotent, because a bus that lost its disks is made anew by the same
 * calls that made it first. It speaks JetStream's JSON API over the bus port, so it needs no connection of its own.
 */
import { QiaoError } from '@qiao/exchange';
import type { Log } from '@qiao/runtime';
import type { Bus } from './bus.ts';
import type { ApiError } from './busErrors.ts';
import { ackPlace } from './lost.ts';
import { type BusLine, consumers, streams, subjects } from './names.ts';
import { downLines } from './permissions.ts';

export interface BusAdministrationOptions {
  /** A bus connected with a hub user. */
  readonly bus: Bus;
  readonly platform: string;
  readonly log: Log;
  /** 1 for a single server, 3 in a cluster. Default 1. */
  readonly replicas?: number;
  readonly sizes?: Partial<BusSizes>;
}

/** Upper limits of the streams in bytes. The server reserves their sum, so its `maxStoreBytes` must hold them all. */
export interface BusSizes {
  /** Default 4 GiB. */
  readonly upDataBytes: number;
  /** Default 256 MiB. */
  readonly upControlBytes: number;
  /** Default 1 GiB. */
  readonly telemetryBytes: number;
  /** A node's share: what may wait for it on the bus. Default 256 MiB. */
  readonly nodeDataBytes: number;
  /** Default 64 MiB. */
  readonly nodeControlBytes: number;
}

export interface BusNode {
  readonly code: string;
  readonly role: 'agent' | 'monitor';
  /** Overrides `nodeDataBytes` for this node. */
  readonly dataBytes?: number;
}

/** How full a node's share is. */
export interface ShareUse {
  readonly messages: number;
  readonly bytes: number;
  readonly maxBytes: number;
}

const MIB = 1024 * 1024;
const DEFAULT_SIZES: BusSizes = {
  upDataBytes: 4096 * MIB,
  upControlBytes: 256 * MIB,
  telemetryBytes: 1024 * MIB,
  nodeDataBytes: 256 * MIB,
  nodeControlBytes: 64 * MIB,
};

const API_TIMEOUT_MS = 10_000;
const NANOS_PER_MS = 1_000_000;
const STREAM_NOT_FOUND = 10059;
const CONSUMER_NOT_FOUND = 10014;
const MESSAGE_NOT_FOUND = 10037;
/** Messages looked for in one round. */
const GONE_AT_ONCE = 256;
const NO_ROOM = new Set([10047, 10002, 10028]);

/**
 * How long a message may be worked on before it comes again. Long for a node's data, because megabytes travel a slow line inside it;
 * shorter for control, which is small. Who reads alone calls for what was lost with a line or a process at once (lost.ts).
 */
const ACK_WAIT_MS = { router: 30_000, nodeData: 60_000, control: 15_000 } as const;
const MAX_ACK_PENDING = 1_000;

/** One stream and its one consumer. */
interface QueueWish {
  readonly stream: string;
  readonly subject: string;
  readonly maxBytes: number;
  readonly consumer: string;
  readonly ackWaitMs: number;
}

interface StreamInfo {
  readonly config: Readonly<Record<string, unknown>>;
  readonly state: {
    readonly messages: number;
    readonly bytes: number;
    readonly first_seq: number;
    readonly last_seq: number;
  };
}

interface ConsumerInfo {
  readonly config: Record<string, unknown>;
  /** The highest sequence of the stream that was given out. */
  readonly delivered: { readonly stream_seq: number; readonly consumer_seq: number };
  /** Every message up to this sequence of the stream was acknowledged. */
  readonly ack_floor: { readonly stream_seq: number };
  readonly num_ack_pending: number;
}

export class BusAdministration {
  readonly #bus: Bus;
  readonly #platform: string;
  readonly #log: Log;
  readonly #replicas: number;
  readonly #sizes: BusSizes;

  constructor({ bus, platform, log, replicas = 1, sizes = {} }: BusAdministrationOptions) {
    this.#bus = bus;
    this.#platform = platform;
    this.#log = log;
    this.#replicas = replicas;
    this.#sizes = { ...DEFAULT_SIZES, ...sizes };
  }

  /** Bytes that the platform's own streams and `nodes` agents reserve at the server. */
  reservedBytes(nodes: number): number {
    const { upDataBytes, upControlBytes, telemetryBytes, nodeDataBytes, nodeControlBytes } = this.#sizes;
    return upDataBytes + upControlBytes + telemetryBytes + nodes * (nodeDataBytes + nodeControlBytes);
  }

  /** Makes or mends the platform's streams and consumers. Throws BUS_STORE_TOO_SMALL, STREAM_CONFLICT, and what `Bus.request` throws. */
  async ensureStreams(): Promise<void> {
    const p = this.#platform;
    const sizes = this.#sizes;
    await this.#ensureQueue({
      stream: streams.upData(p),
      subject: subjects.everyUp(p, 'data'),
      maxBytes: sizes.upDataBytes,
      consumer: consumers.routerData,
      ackWaitMs: ACK_WAIT_MS.router,
    });
    await this.#ensureQueue({
      stream: streams.upControl(p),
      subject: subjects.everyUp(p, 'control'),
      maxBytes: sizes.upControlBytes,
      consumer: consumers.routerControl,
      ackWaitMs: ACK_WAIT_MS.control,
    });
    await this.#ensureQueue({
      stream: streams.telemetry(p),
      subject: subjects.everyTelemetry(p),
      maxBytes: sizes.telemetryBytes,
      consumer: consumers.monitor,
      ackWaitMs: ACK_WAIT_MS.router,
    });
  }

  /** Makes or mends a node's down streams and its consumer on each. */
  async ensureNode(node: BusNode): Promise<void> {
    for (const line of downLines(node.role)) {
      const stream = downStream(node.code, line);
      const maxBytes = line === 'data' ? (node.dataBytes ?? this.#sizes.nodeDataBytes) : this.#sizes.nodeControlBytes;
      const subject = subjects.down(this.#platform, node.code, line);
      const ackWaitMs = line === 'data' ? ACK_WAIT_MS.nodeData : ACK_WAIT_MS.control;
      await this.#ensureQueue({ stream, subject, maxBytes, consumer: consumers.node(node.code), ackWaitMs });
    }
  }

  /** Removes a node's down streams with everything that waited there; the senders' outboxes still hold it. */
  async removeNode(code: string): Promise<void> {
    for (const line of ['data', 'control'] as const) {
      const name = downStream(code, line);
      const answer = await this.#call(`STREAM.DELETE.${name}`, undefined);
      if (answer.error !== undefined && answer.error.err_code !== STREAM_NOT_FOUND) throw refused(name, answer.error);
    }
  }

  /** How full a node's share is; undefined when the node has no such stream. */
  async shareOf(code: string, line: BusLine): Promise<ShareUse | undefined> {
    const info = await this.#streamInfo(downStream(code, line));
    if (info === undefined) return undefined;
    return { messages: info.state.messages, bytes: info.state.bytes, maxBytes: Number(info.config['max_bytes']) };
  }

  /** Makes or mends a stream and its consumer, and puts in order what a kill of the server left of them. */
  async #ensureQueue(wish: QueueWish): Promise<void> {
    const state = await this.#ensureStream(wish);
    const consumer = await this.#ensureConsumer(wish);
    if (state === undefined || consumer === undefined) return;
    if (consumer.delivered.stream_seq > state.last_seq && (await this.#hasForgotten(wish, consumer))) {
      await this.#makeConsumerAnew(wish);
      return;
    }
    if (consumer.num_ack_pending > 0) await this.#acknowledgeGone(wish, consumer);
    if (state.messages > 0 && state.first_seq <= consumer.ack_floor.stream_seq) {
      await this.#dropAcknowledged(wish.stream, consumer);
    }
  }

  /** What the stream held before; undefined when it was made. */
  async #ensureStream({ stream: name, subject, maxBytes }: QueueWish): Promise<StreamInfo['state'] | undefined> {
    const wished: Record<string, unknown> = {
      name,
      subjects: [subject],
      retention: 'workqueue',
      storage: 'file',
      discard: 'new',
      max_bytes: maxBytes,
      max_age: 0,
      max_msgs: -1,
      max_msg_size: -1,
      max_consumers: -1,
      num_replicas: this.#replicas,
      // Only the retry of one ambiguous publish relies on it; correctness never does.
      duplicate_window: 120_000 * NANOS_PER_MS,
    };
    const info = await this.#streamInfo(name);
    if (info !== undefined && Object.entries(wished).every(([key, value]) => isSame(info.config[key], value)))
      return info.state;
    const verb = info === undefined ? 'CREATE' : 'UPDATE';
    // An update starts from what is there: a newer server's own fields are not ours to change.
    const answer = await this.#call(`STREAM.${verb}.${name}`, { ...info?.config, ...wished });
    if (answer.error !== undefined) throw refused(name, answer.error);
    this.#log.info({ stream: name, maxBytes }, info === undefined ? 'stream made' : 'stream mended');
    return info?.state;
  }

  /** How far the consumer was before; undefined when it was made. */
  async #ensureConsumer({ stream, consumer: name, ackWaitMs }: QueueWish): Promise<ConsumerInfo | undefined> {
    const wished: Record<string, unknown> = {
      durable_name: name,
      deliver_policy: 'all',
      ack_policy: 'explicit',
      ack_wait: ackWaitMs * NANOS_PER_MS,
      max_deliver: -1,
      max_ack_pending: MAX_ACK_PENDING,
      replay_policy: 'instant',
      max_waiting: 512,
    };
    const found = await this.#call<ConsumerInfo>(`CONSUMER.INFO.${stream}.${name}`, undefined);
    if (found.error !== undefined && found.error.err_code !== CONSUMER_NOT_FOUND) throw refused(stream, found.error);
    const before = found.error === undefined ? found : undefined;
    const config = before?.config;
    if (config !== undefined && Object.entries(wished).every(([key, value]) => isSame(config[key], value)))
      return before;
    const answer = await this.#call(`CONSUMER.DURABLE.CREATE.${stream}.${name}`, {
      stream_name: stream,
      config: { ...config, ...wished },
    });
    if (answer.error !== undefined) throw refused(stream, answer.error);
    this.#log.info({ stream, consumer: name }, config === undefined ? 'consumer made' : 'consumer mended');
    return before;
  }

  /** The stream was asked before its consumer: what came and was given out meanwhile is no sign. */
  async #hasForgotten({ stream }: QueueWish, { delivered }: ConsumerInfo): Promise<boolean> {
    const info = await this.#streamInfo(stream);
    return info !== undefined && info.state.last_seq < delivered.stream_seq;
  }

  /**
   * A nats-server that was killed may forget the newest messages and their sequences, and not that its consumer was given them: it gives
   * the same sequences to new messages, and those to nobody. A consumer made anew gives out all that waits, some of it once more.
   */
  async #makeConsumerAnew(wish: QueueWish): Promise<void> {
    const { stream, consumer } = wish;
    const removed = await this.#call(`CONSUMER.DELETE.${stream}.${consumer}`, undefined);
    if (removed.error !== undefined && removed.error.err_code !== CONSUMER_NOT_FOUND) {
      throw refused(stream, removed.error);
    }
    this.#log.warn(
      { stream, consumer },
      'a killed server forgot messages that it had given out: their consumer is made anew',
    );
    await this.#ensureConsumer(wish);
  }

  /**
   * A nats-server that was killed forgets that it removed messages, and not that they were acknowledged: it gives them to nobody, and
   * they would fill the stream for ever. What is up to the consumer's floor was acknowledged, or was published under a sequence that the
   * server had given before; its sender keeps that until the receipt, and sends it again. Then nats-server 2.9 forgets as well what is on its way, which would never come again. It waits for a moment without.
   */
  async #dropAcknowledged(stream: string, consumer: ConsumerInfo): Promise<void> {
    if (consumer.num_ack_pending > 0) return;
    const floor = consumer.ack_floor.stream_seq;
    const answer = await this.#call<{ purged: number }>(`STREAM.PURGE.${stream}`, { seq: floor + 1 });
    if (answer.error !== undefined) throw refused(stream, answer.error);
    if (answer.purged > 0) {
      this.#log.info({ stream, messages: answer.purged }, 'messages that a killed server had brought back are dropped');
    }
  }

  /**
   * A nats-server that was killed may remove a message and forget that it was acknowledged: the consumer then waits for it for ever. What
   * waits longest is looked for, and acknowledged once more where it is gone; of what is there nothing is said.
   */
  async #acknowledgeGone({ stream, consumer: name }: QueueWish, consumer: ConsumerInfo): Promise<void> {
    const first = consumer.ack_floor.stream_seq + 1;
    const last = Math.min(consumer.delivered.stream_seq, first + GONE_AT_ONCE - 1);
    for (let sequence = first; sequence <= last; sequence += 1) {
      const found = await this.#call(`STREAM.MSG.GET.${stream}`, { seq: sequence });
      if (found.error?.err_code !== MESSAGE_NOT_FOUND) return;
      const place = ackPlace(stream, name, sequence, consumer.delivered.consumer_seq);
      await this.#bus.request(place, new TextEncoder().encode('+ACK'), API_TIMEOUT_MS);
    }
  }

  async #streamInfo(name: string): Promise<StreamInfo | undefined> {
    const answer = await this.#call<StreamInfo>(`STREAM.INFO.${name}`, undefined);
    if (answer.error === undefined) return answer;
    if (answer.error.err_code === STREAM_NOT_FOUND) return undefined;
    throw refused(name, answer.error);
  }

  async #call<T>(verb: string, body: unknown): Promise<(T & { error?: undefined }) | { error: ApiError }> {
    const bytes = body === undefined ? new Uint8Array() : new TextEncoder().encode(JSON.stringify(body));
    const answer = await this.#bus.request(`$JS.API.${verb}`, bytes, API_TIMEOUT_MS);
    return JSON.parse(new TextDecoder().decode(answer)) as (T & { error?: undefined }) | { error: ApiError };
  }
}

function downStream(code: string, line: BusLine): string {
  return line === 'data' ? streams.downData(code) : streams.downControl(code);
}

function isSame(found: unknown, wished: unknown): boolean {
  return JSON.stringify(found) === JSON.stringify(wished);
}

function refused(name: string, error: ApiError): QiaoError {
  const description = error.description ?? `code ${error.code}`;
  if (NO_ROOM.has(error.err_code ?? 0)) {
    return new QiaoError('BUS_STORE_TOO_SMALL', `the bus has no room left to reserve for ${name}: ${description}`, {
      fate: 'transient',
      hint: 'raise the bus store in hub.yaml, or lower the node share',
    });
  }
  // 10008 and friends: JetStream is still starting or has no leader; everything else is a stream of another making under our name.
  const fate = error.code >= 500 ? 'transient' : 'permanent';
  return new QiaoError('STREAM_CONFLICT', `the bus refused ${name}: ${description}`, {
    fate,
    hint: 'nats stream info',
  });
}
