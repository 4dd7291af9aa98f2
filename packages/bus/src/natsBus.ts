/**
 * The `Bus` over one kept NATS connection: publish, request, respond, broadcast. Pulling from streams lives in `consume.ts`,
 * keeping the connection in `connection.ts`.
 */
import { QiaoError } from '@qiao/exchange';
import { describeError, type Log } from '@qiao/runtime';
import { headers as createHeaders, type Msg, type MsgHdrs } from 'nats';
import type {
  Bus,
  BusMessage,
  BusStatus,
  ConsumeOptions,
  PublishOptions,
  RequestHandler,
  RespondOptions,
} from './bus.ts';
import {
  type ApiError,
  type Asking,
  answeredError,
  busError,
  deniedError,
  interrupted,
  storeError,
  tooLarge,
} from './busErrors.ts';
import type { Connection, Session } from './connection.ts';
import { consumeStream } from './consume.ts';
import { withinMs } from './within.ts';

const PUBLISH_TIMEOUT_MS = 20_000;
/**
 * A cluster that lost a server swallows what is published until the stream has a new leader (4 to 9 s). Without an answer a
 * message goes out again after this, and after the time it takes over a slow line: a large one is not sent twice by impatience.
 */
const PUBLISH_AGAIN_MS = 3_000;
const SLOW_LINE_BYTES_PER_MS = 64;
/** Room for subject and headers below the server's `max_payload`. */
const HEADER_ROOM_BYTES = 4_096;
/** Requests that one `respond` works on at once, and that may wait beyond them before askers are told to come back. */
const HANDLERS_AT_ONCE = 16;
const REQUESTS_WAITING = 256;
const STOP_LIMIT_MS = 5_000;

const ERROR_HEADERS = {
  code: 'Qiao-Error-Code',
  message: 'Qiao-Error-Message',
  hint: 'Qiao-Error-Hint',
  fate: 'Qiao-Error-Fate',
};

export class NatsBus implements Bus {
  readonly #connection: Connection;
  readonly #log: Log;

  constructor(connection: Connection, log: Log) {
    this.#connection = connection;
    this.#log = log;
  }

  get isConnected(): boolean {
    return this.#connection.session !== undefined;
  }

  get serverVersion(): string {
    return this.#connection.serverVersion;
  }

  onStatus(listener: (status: BusStatus) => void): () => void {
    return this.#connection.onStatus(listener);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  async publish(subject: string, bytes: Uint8Array, options: PublishOptions = {}): Promise<void> {
    const headers = createHeaders();
    if (options.messageId !== undefined) headers.set('Nats-Msg-Id', options.messageId);
    const endsAtMs = performance.now() + (options.timeoutMs ?? PUBLISH_TIMEOUT_MS);
    const againMs = PUBLISH_AGAIN_MS + bytes.length / SLOW_LINE_BYTES_PER_MS;
    for (;;) {
      const leftMs = endsAtMs - performance.now();
      const isLast = leftMs < 2 * againMs;
      try {
        const reply = await this.#ask('publish', subject, bytes, isLast ? leftMs : againMs, headers);
        const answer = parseAnswer(subject, reply);
        if (answer.error !== undefined) throw storeError(subject, answer.error);
        return;
      } catch (error) {
        // What was said to a leader that died is said again to the next one: under the same id where there is one, and a
        // receiver drops the second anyway.
        if (isLast || !(error instanceof QiaoError) || error.code !== 'PUBLISH_TIMED_OUT') throw error;
      }
    }
  }

  async request(subject: string, bytes: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const reply = await this.#ask('request', subject, bytes, timeoutMs);
    const code = reply.headers?.get(ERROR_HEADERS.code);
    if (code === undefined || code === '') return reply.data;
    throw answeredError({
      code,
      message: reply.headers?.get(ERROR_HEADERS.message) ?? '',
      hint: reply.headers?.get(ERROR_HEADERS.hint) ?? '',
      fate: reply.headers?.get(ERROR_HEADERS.fate) ?? '',
    });
  }

  broadcast(subject: string, bytes: Uint8Array): void {
    const session = this.#present();
    refuseTooLarge(session, subject, bytes);
    try {
      session.nats.publish(subject, bytes);
    } catch (error) {
      throw busError(error, 'request', subject);
    }
  }

  consume(stream: string, consumer: string, options: ConsumeOptions): AsyncIterable<BusMessage> {
    return consumeStream(this.#connection, this.#log, stream, consumer, options);
  }

  async respond(subject: string, handler: RequestHandler, { signal, queue }: RespondOptions): Promise<void> {
    for (;;) {
      const session = await this.#connection.ready(signal);
      if (session === undefined) return;
      await this.#respondDuring(session, subject, handler, signal, queue);
    }
  }

  #present(): Session {
    const session = this.#connection.session;
    if (session === undefined) throw this.#connection.awayError();
    return session;
  }

  async #ask(asking: Asking, subject: string, bytes: Uint8Array, timeoutMs: number, headers?: MsgHdrs): Promise<Msg> {
    const session = this.#present();
    refuseTooLarge(session, subject, bytes);
    let forget = () => {};
    const lost = new Promise<never>((_resolve, reject) => {
      forget = session.onEnd(() => reject(interrupted(asking, subject)));
    });
    try {
      const answered = session.nats.request(subject, bytes, {
        timeout: timeoutMs,
        ...(headers === undefined ? {} : { headers }),
      });
      return await Promise.race([answered, lost]);
    } catch (error) {
      // A client that closes cancels its requests as if their time were up, before anybody is told of the end.
      throw session.nats.isClosed() ? interrupted(asking, subject) : busError(error, asking, subject);
    } finally {
      forget();
    }
  }

  /** One session's worth of answering. Returns when the session ends or `signal` aborts. */
  async #respondDuring(
    session: Session,
    subject: string,
    handler: RequestHandler,
    signal: AbortSignal,
    queue?: string,
  ) {
    const waiting: Msg[] = [];
    const working = new Set<Promise<void>>();
    const startMore = () => {
      while (working.size < HANDLERS_AT_ONCE) {
        const message = waiting.shift();
        if (message === undefined) return;
        const work = this.#answer(message, handler).finally(() => {
          working.delete(work);
          startMore();
        });
        working.add(work);
      }
    };
    const over = Promise.withResolvers<void>();
    const subscription = session.nats.subscribe(subject, {
      ...(queue === undefined ? {} : { queue }),
      callback: (error, message) => {
        if (error !== null) {
          over.reject(deniedError(subject, error));
        } else if (waiting.length >= REQUESTS_WAITING) {
          answerError(
            message,
            new QiaoError('RESPONDER_BUSY', `too many requests wait on ${subject}`, { fate: 'transient' }),
          );
        } else {
          waiting.push(message);
          startMore();
        }
      },
    });
    const stop = () => over.resolve();
    signal.addEventListener('abort', stop, { once: true });
    const forget = session.onEnd(stop);
    if (signal.aborted) stop();
    try {
      await over.promise;
    } finally {
      signal.removeEventListener('abort', stop);
      forget();
      if (session.isOver) {
        if (!session.nats.isClosed()) subscription.unsubscribe();
      } else if (!subscription.isClosed()) {
        // What the server handed us before it heard that we stop is answered still.
        await withinMs(subscription.drain(), STOP_LIMIT_MS);
        while (working.size > 0 && !session.isOver) {
          const before = working.size;
          await withinMs(Promise.all(working), STOP_LIMIT_MS);
          if (working.size >= before) break;
        }
      }
    }
  }

  async #answer(message: Msg, handler: RequestHandler): Promise<void> {
    try {
      const answer = await handler(message.data, message.subject);
      message.respond(answer);
    } catch (error) {
      this.#log.warn({ subject: message.subject, err: describeError(error) }, 'a request failed');
      const known =
        error instanceof QiaoError
          ? error
          : new QiaoError('REQUEST_FAILED', 'the other side failed unexpectedly; its log says why', {
              fate: 'transient',
            });
      try {
        answerError(message, known);
      } catch {
        // The line is gone: the asker learns it from its own session's end.
      }
    }
  }
}

interface Answer {
  readonly error?: ApiError;
}

function parseAnswer(subject: string, reply: Msg): Answer {
  try {
    return reply.json<Answer>();
  } catch (cause) {
    throw new QiaoError('STREAM_REFUSED', `the answer for ${subject} is no acknowledgement`, {
      fate: 'ambiguous',
      cause,
    });
  }
}

function refuseTooLarge(session: Session, subject: string, bytes: Uint8Array): void {
  const allowed = session.maxPayloadBytes - HEADER_ROOM_BYTES;
  if (bytes.length > allowed) throw tooLarge(subject, { found: bytes.length, allowed });
}

/** Header values must be one line of ASCII, so the texts are percent-encoded and cut. */
function answerError(message: Msg, error: QiaoError): void {
  const headers = createHeaders();
  headers.set(ERROR_HEADERS.code, error.code);
  headers.set(ERROR_HEADERS.message, encodeURIComponent(error.message.slice(0, 500).toWellFormed()));
  headers.set(ERROR_HEADERS.hint, encodeURIComponent(error.hint.slice(0, 200).toWellFormed()));
  headers.set(ERROR_HEADERS.fate, error.fate);
  message.respond(new Uint8Array(), { headers });
}
