/**
 * Pulls one durable consumer's messages, over reconnects, lost pulls and consumers that the hub makes anew. Memory is bounded: a pull
 * asks for bytes, one pull is out at a time, and the next goes out when half of what may be held has been taken.
 *
 * Two things are told apart: the *consumer is proven* (CONSUMER.INFO answered) and a *pull is out*. Silence past two heartbeats unproves it.
 * The subscription stays, because on a slow line the silence may be a large message on its way.
 *
 * What was on its way when a line broke is called for again over the next one: see `lost.ts`.
 */
import { QiaoError } from '@qiao/exchange';
import { createBackoff, createWakeup, type Log } from '@qiao/runtime';
import { createInbox, type Msg, type NatsError, type Subscription } from 'nats';
import type { BusMessage, ConsumeOptions } from './bus.ts';
import { type ApiError, busError, deniedError } from './busErrors.ts';
import type { Connection, Session } from './connection.ts';
import { type ConsumerState, lostMessages } from './lost.ts';
import { ACK_PREFIX, streamApi } from './names.ts';
import { withinMs } from './within.ts';

const MAX_MESSAGES = 256;
const MAX_BYTES = 24 * 1024 * 1024;
/** Subject, reply subject and headers count towards a pull's bytes; without this room the largest message would never fit. */
const MESSAGE_ROOM_BYTES = 64 * 1024;
const PULL_EXPIRES_MS = 30_000;
const HEARTBEAT_MS = 5_000;
const SILENCE_MS = 12_000;
const LOOK_AGAIN_MS = 3_000;
/**
 * The first pull after a proof ends soon, by an answer. A consumer that the hub makes anew between the proof and the pull takes the pull
 * with it, and across the border of accounts nobody says so: this silence is short.
 */
const FIRST_EXPIRES_MS = 1_000;
const FIRST_SILENCE_MS = 2_000;
const PROOF_TIMEOUT_MS = 5_000;
const DRAIN_LIMIT_MS = 1_000;
const SWEEP_MS = 20;
const NANOS_PER_MS = 1_000_000;

/** See `Bus.consume`. */
export async function* consumeStream(
  connection: Connection,
  log: Log,
  stream: string,
  consumer: string,
  options: ConsumeOptions,
): AsyncGenerator<BusMessage, void, undefined> {
  const { signal } = options;
  const held = new HeldMessages();
  const pauses = createBackoff({ firstMs: 100, mostMs: 3_000 });
  try {
    for (;;) {
      const session = await connection.ready(signal);
      if (session === undefined) return;
      const pull = new Pull(session, log, stream, consumer, held, options);
      try {
        while (!signal.aborted && !session.isOver) {
          const message = held.take();
          if (message !== undefined) {
            pull.askWhenLow();
            const pulled = new PulledMessage(connection, message);
            let isLeft = true;
            try {
              yield pulled;
              isLeft = false;
            } finally {
              // Its reader failed or stopped before it could say anything: the message goes back with the others.
              if (isLeft && !pulled.isAnswered) held.giveBack(message);
            }
          } else if (pull.isProven || (await pull.prove())) {
            pauses.reset();
            pull.askWhenLow();
            await held.arrival.wait(pull.lookAgainMs, signal);
            pull.checkSilence();
          } else if (!session.isOver) {
            log.debug({ stream, consumer, reason: pull.reason }, 'the consumer is not there, looking again');
            await held.arrival.wait(pauses.next(), signal);
          }
        }
      } finally {
        await pull.stop();
      }
      if (signal.aborted) return;
    }
  } finally {
    // What was fetched and not taken goes back at once, so that the next reader need not wait for the ack wait.
    for (let message = held.take(); message !== undefined; message = held.take()) {
      new PulledMessage(connection, message).retryLater(0);
    }
  }
}

/** Messages that arrived and were not taken yet; they outlive a session, because their acknowledgement is still wanted. */
class HeldMessages {
  readonly arrival = createWakeup();
  readonly #messages: Msg[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#messages.length;
  }

  add(message: Msg): void {
    this.#messages.push(message);
    this.#bytes += message.data.length;
    this.arrival.wake();
  }

  /** Their sequences in the stream. */
  sequences(): Set<bigint> {
    return new Set(this.#messages.map(({ reply }) => placeOf(reply ?? '').sequence));
  }

  giveBack(message: Msg): void {
    this.#messages.unshift(message);
    this.#bytes += message.data.length;
  }

  take(): Msg | undefined {
    const message = this.#messages.shift();
    if (message !== undefined) this.#bytes -= message.data.length;
    return message;
  }
}

/** Asking one consumer for messages during one session. */
class Pull {
  readonly #session: Session;
  readonly #log: Log;
  readonly #stream: string;
  readonly #consumer: string;
  readonly #held: HeldMessages;
  /** Whether messages may have been lost with the line before this one. */
  #mayMiss: boolean;
  readonly #batch: number;
  readonly #bytes: number;
  readonly #subscription: Subscription;
  readonly #forget: () => void;
  #isProven = false;
  /** Nothing was heard since the proof. */
  #isFirst = true;
  #isOut = false;
  #left = 0;
  #heardAtMs = 0;
  #denied: QiaoError | undefined;
  reason = '';

  constructor(
    session: Session,
    log: Log,
    stream: string,
    consumer: string,
    held: HeldMessages,
    options: ConsumeOptions,
  ) {
    this.#session = session;
    this.#log = log;
    this.#mayMiss = options.isOnlyReader === true;
    this.#stream = stream;
    this.#consumer = consumer;
    this.#held = held;
    const maxMessages = Math.min(Math.max(options.maxMessages ?? MAX_MESSAGES, 1), 10_000);
    this.#batch = Math.ceil(maxMessages / 2);
    this.#bytes = Math.max(
      Math.floor((options.maxBytes ?? MAX_BYTES) / 2),
      session.maxPayloadBytes + MESSAGE_ROOM_BYTES,
    );
    this.#subscription = session.nats.subscribe(createInbox(session.inboxPrefix), {
      callback: (error, message) => this.#hear(error, message),
    });
    this.#forget = session.onEnd(() => held.arrival.wake());
  }

  get isProven(): boolean {
    return this.#isProven;
  }

  get lookAgainMs(): number {
    // A little later than the silence: a timer may be early by a part of a millisecond.
    return this.#isFirst ? FIRST_SILENCE_MS + 50 : LOOK_AGAIN_MS;
  }

  /** Asks whether the consumer exists. False, with `reason`, when it does not now; throws BUS_DENIED when we may not know. */
  async prove(): Promise<boolean> {
    if (this.#denied !== undefined) throw this.#denied;
    const subject = `${streamApi(this.#session.inboxPrefix)}CONSUMER.INFO.${this.#stream}.${this.#consumer}`;
    let forget = () => {};
    try {
      const lost = new Promise<undefined>((resolve) => {
        forget = this.#session.onEnd(() => resolve(undefined));
      });
      const reply = await Promise.race([
        this.#session.nats.request(subject, new Uint8Array(), { timeout: PROOF_TIMEOUT_MS }),
        lost,
      ]);
      const answer = reply?.json<ConsumerState & { error?: ApiError }>();
      if (answer === undefined) return false;
      this.reason = answer.error?.description ?? '';
      if (answer.error === undefined && this.#mayMiss) await this.#callForLost(answer);
      this.#isProven = answer.error === undefined;
      this.#isFirst = true;
    } catch (error) {
      const known = busError(error, 'request', subject);
      if (known.fate === 'permanent') throw known;
      this.reason = known.code;
    } finally {
      forget();
    }
    return this.#isProven;
  }

  /** Before the first pull of a line: nothing can be on its way over it yet. */
  async #callForLost(state: ConsumerState): Promise<void> {
    this.#mayMiss = false;
    const lost = lostMessages(this.#stream, this.#consumer, state, this.#held.sequences());
    if (lost.length === 0) return;
    // The pull of the line that broke would swallow what is handed back.
    await this.#sweep();
    if (this.#session.isOver || this.#session.nats.isClosed()) return;
    for (const reply of lost) this.#session.nats.publish(reply, new TextEncoder().encode('-NAK'));
    const [messages, stream] = [state.num_ack_pending, this.#stream];
    this.#log.info({ stream, messages }, 'what was on its way when the line broke is called for again');
  }

  /** Sends the next pull when none is out and at least half of the room is free. */
  askWhenLow(): void {
    if (!this.#isProven || this.#isOut || this.#session.isOver || this.#session.nats.isClosed()) return;
    if (this.#held.count > this.#batch || this.#held.bytes > this.#bytes) return;
    this.#ask(this.#subscription.getSubject(), {
      batch: this.#batch,
      max_bytes: this.#bytes,
      ...(this.#isFirst
        ? { expires: FIRST_EXPIRES_MS * NANOS_PER_MS }
        : { expires: PULL_EXPIRES_MS * NANOS_PER_MS, idle_heartbeat: HEARTBEAT_MS * NANOS_PER_MS }),
    });
    this.#isOut = true;
    this.#left = this.#batch;
    this.#heardAtMs = performance.now();
  }

  /** A pull that went silent is given up for lost: the consumer must prove itself before the next. */
  checkSilence(): void {
    const silenceMs = this.#isFirst ? FIRST_SILENCE_MS : SILENCE_MS;
    if (!this.#isOut || performance.now() - this.#heardAtMs < silenceMs) return;
    this.#isOut = false;
    this.#isProven = false;
    this.reason = 'no heartbeat';
  }

  /** Ends the interest and waits shortly for what is on the line already, so that it can be handed back instead of timing out. */
  async stop(): Promise<void> {
    this.#forget();
    if (this.#session.nats.isClosed() || this.#subscription.isClosed()) return;
    if (this.#session.isOver) {
      this.#subscription.unsubscribe();
      return;
    }
    await withinMs(this.#subscription.drain(), DRAIN_LIMIT_MS);
    if (this.#held.count > 0) await this.#sweep();
  }

  /**
   * A pull that ends at once makes the server forget our abandoned one. Without it nats-server 2.9 takes the first message handed back
   * out of its redelivery queue, finds only the abandoned pull, and drops the message until the ack wait.
   */
  async #sweep(): Promise<void> {
    if (this.#session.isOver || this.#session.nats.isClosed()) return;
    const answered = Promise.withResolvers<void>();
    const subscription = this.#session.nats.subscribe(createInbox(this.#session.inboxPrefix), {
      callback: (error, message) => {
        if (error === null && message.reply?.startsWith(ACK_PREFIX) === true) this.#held.add(message);
        answered.resolve();
      },
    });
    this.#ask(subscription.getSubject(), { batch: 1, expires: SWEEP_MS * NANOS_PER_MS });
    await withinMs(answered.promise, DRAIN_LIMIT_MS);
    if (!this.#session.nats.isClosed()) subscription.unsubscribe();
  }

  #ask(reply: string, wish: Readonly<Record<string, number>>): void {
    this.#session.nats.publish(
      `${streamApi(this.#session.inboxPrefix)}CONSUMER.MSG.NEXT.${this.#stream}.${this.#consumer}`,
      new TextEncoder().encode(JSON.stringify(wish)),
      { reply },
    );
  }

  #hear(error: NatsError | null, message: Msg): void {
    this.#heardAtMs = performance.now();
    if (error !== null) {
      // The only error a subscription hears of is a permission refused.
      this.#denied = deniedError(`consumer ${this.#consumer} of ${this.#stream}`, error);
      this.#isProven = false;
      this.#held.arrival.wake();
      return;
    }
    this.#isFirst = false;
    if (message.reply?.startsWith(ACK_PREFIX) === true) {
      this.#left -= 1;
      if (this.#left <= 0) this.#isOut = false;
      this.#held.add(message);
      return;
    }
    const status = message.headers?.code ?? 0;
    if (status === 100) return;
    // 404 and 408 end a pull in the ordinary way; so does 409 when the bytes or the batch are used up. Anything else that is
    // said (consumer deleted, leader changed, server going) puts the consumer itself in doubt.
    const description = message.headers?.description ?? '';
    this.#isOut = false;
    if (status !== 404 && status !== 408 && !(status === 409 && /batch completed|exceed/i.test(description))) {
      this.#isProven = false;
      this.reason = description;
    }
    this.#held.arrival.wake();
  }
}

class PulledMessage implements BusMessage {
  readonly #connection: Connection;
  readonly #reply: string;
  readonly subject: string;
  readonly data: Uint8Array;
  readonly sequence: bigint;
  readonly redelivered: boolean;
  #isAnswered = false;

  constructor(connection: Connection, message: Msg) {
    this.#connection = connection;
    this.#reply = message.reply ?? '';
    this.subject = message.subject;
    this.data = message.data;
    const place = placeOf(this.#reply);
    this.sequence = place.sequence;
    this.redelivered = place.deliveries > 1n;
  }

  /** It was acknowledged or given back. */
  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  ack(): void {
    this.#isAnswered = true;
    this.#say('+ACK');
  }

  retryLater(delayMs: number): void {
    this.#isAnswered = true;
    this.#say(delayMs <= 0 ? '-NAK' : `-NAK {"delay": ${Math.round(delayMs) * NANOS_PER_MS}}`);
  }

  working(): void {
    this.#say('+WPI');
  }

  /** An answer that finds the line broken is dropped: the message comes again, and the receiver knows it already. */
  #say(word: string): void {
    const session = this.#connection.session;
    if (session === undefined || session.nats.isClosed()) return;
    session.nats.publish(this.#reply, new TextEncoder().encode(word));
  }
}

/**
 * Delivery count and stream sequence from the reply subject:
 * `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>`, or the longer form with domain
 * and account before the stream (nats-server ADR-15).
 */
export function placeOf(reply: string): { deliveries: bigint; sequence: bigint } {
  const tokens = reply.split('.');
  const first = tokens.length >= 11 ? 6 : 4;
  const deliveries = tokens[first];
  const sequence = tokens[first + 1];
  if (deliveries === undefined || sequence === undefined || !/^\d+$/.test(deliveries) || !/^\d+$/.test(sequence)) {
    throw new QiaoError(
      'BUS_MESSAGE_INVALID',
      `found reply subject ${reply}, expected ${ACK_PREFIX}<stream>.<consumer>.…`,
    );
  }
  return { deliveries: BigInt(deliveries), sequence: BigInt(sequence) };
}
