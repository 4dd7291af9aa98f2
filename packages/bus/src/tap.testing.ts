/**
 * A drill's hand on the bus: hears what passes, and loses, repeats and reorders what waits in the streams, as a broken broker, a restored
 * snapshot of one, or an attacker with its credentials would. Never part of shipped code.
 */
import {
  connect,
  ErrorCode,
  type JetStreamManager,
  jwtAuthenticator,
  type NatsConnection,
  NatsError,
  type Subscription,
} from 'nats';
import type { BusAddress, BusCredentials } from './bus.ts';

/** Messages remembered for repeating; the oldest goes first. */
const REMEMBERED = 2_000;
const REMEMBERED_BYTES = 64 * 1024 * 1024;
/** What goes into streams. Not questions: a listener is interest, and who asks while nobody answers would wait instead of being told. */
const HEARD = ['qiao.up.*.*.data', 'qiao.up.*.*.control', 'qiao.down.>', 'qiao.telemetry.>'];

export interface HeardMessage {
  readonly subject: string;
  readonly data: Uint8Array;
}

export interface StreamUse {
  readonly name: string;
  readonly messages: number;
  readonly bytes: number;
}

export class BusTap {
  readonly #nats: NatsConnection;
  readonly #heard: HeardMessage[] = [];
  #heardBytes = 0;
  #subscriptions: Subscription[] = [];

  private constructor(nats: NatsConnection) {
    this.#nats = nats;
    this.listen();
  }

  /** Connects with a hub's credentials, and again whenever the server was away. */
  static async open(address: BusAddress, credentials: BusCredentials): Promise<BusTap> {
    const nats = await connect({
      servers: [...address.urls],
      inboxPrefix: '_INBOX_hub',
      authenticator: jwtAuthenticator(credentials.jwt, new TextEncoder().encode(credentials.seed)),
      tls: { ca: address.tls.authorityPem, ...({ checkServerIdentity: () => undefined } as object) },
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
      noAsyncTraces: true,
    });
    return new BusTap(nats);
  }

  /** Hears what passes from now on. */
  listen(): void {
    if (this.#subscriptions.length > 0) return;
    this.#subscriptions = HEARD.map((subject) =>
      this.#nats.subscribe(subject, { callback: (_error, message) => this.#hear(message.subject, message.data) }),
    );
  }

  /** Stops hearing. A listener is interest: while a stream is missing, a publisher would wait for an answer instead of being told. */
  deafen(): void {
    for (const subscription of this.#subscriptions.splice(0)) subscription.unsubscribe();
  }

  /** Messages of subjects that end so, oldest first, as far as they are remembered. */
  heard(subjectEnd: string): readonly HeardMessage[] {
    return this.#heard.filter(({ subject }) => subject.endsWith(subjectEnd));
  }

  /** Puts bytes on a subject again, as a new message. */
  publish({ subject, data }: HeardMessage): void {
    this.#nats.publish(subject, data);
  }

  /** Every stream with what waits in it. */
  async streams(): Promise<StreamUse[]> {
    const found: StreamUse[] = [];
    for await (const { config, state } of (await this.#manager()).streams.list()) {
      found.push({ name: config.name, messages: state.messages, bytes: state.bytes });
    }
    return found;
  }

  /** Stream sequences of what waits, oldest first. */
  async waiting(stream: string): Promise<number[]> {
    const { state } = await (await this.#manager()).streams.info(stream, { deleted_details: true });
    const deleted = new Set(state.deleted ?? []);
    const found: number[] = [];
    for (let sequence = state.first_seq; state.messages > 0 && sequence <= state.last_seq; sequence += 1) {
      if (!deleted.has(sequence)) found.push(sequence);
    }
    return found;
  }

  /** Takes one message out of a stream and gives it back; undefined when it was consumed meanwhile. */
  async take(stream: string, sequence: number): Promise<HeardMessage | undefined> {
    const manager = await this.#manager();
    try {
      const { subject, data } = await manager.streams.getMessage(stream, { seq: sequence });
      await manager.streams.deleteMessage(stream, sequence);
      return { subject, data };
    } catch (error) {
      if (error instanceof NatsError && error.code === ErrorCode.JetStream404NoMessages) return undefined;
      if (error instanceof NatsError && error.api_error !== undefined) return undefined;
      throw error;
    }
  }

  /** Throws away all that waits in a stream. */
  async purge(stream: string): Promise<void> {
    await (await this.#manager()).streams.purge(stream);
  }

  async close(): Promise<void> {
    await this.#nats.close();
  }

  #manager(): Promise<JetStreamManager> {
    return this.#nats.jetstreamManager({ checkAPI: false, timeout: 5_000 });
  }

  #hear(subject: string, data: Uint8Array): void {
    this.#heard.push({ subject, data });
    this.#heardBytes += data.length;
    while (this.#heard.length > REMEMBERED || this.#heardBytes > REMEMBERED_BYTES) {
      this.#heardBytes -= this.#heard.shift()?.data.length ?? 0;
    }
  }
}
