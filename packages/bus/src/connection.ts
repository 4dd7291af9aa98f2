/**
 * Keeps one NATS connection for ever and says whether it is there. A *session* is one uninterrupted stretch of it: whoever waits
 * for an answer is told at once when the session ends, instead of sitting out a timeout. What is said over the connection is
 * left to `natsBus.ts`.
 */
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { QiaoError } from '@qiao/exchange';
import { type Log, systemClock } from '@qiao/runtime';
import { connect, jwtAuthenticator, type NatsConnection, NatsError } from 'nats';
import './ed25519.ts';
import type { BusAddress, BusCredentials, BusStatus } from './bus.ts';
import { closedError, unreachable } from './busErrors.ts';
import { withinMs } from './within.ts';

export interface ConnectionOptions extends BusAddress {
  readonly name: string;
  readonly credentials: BusCredentials | (() => BusCredentials);
  readonly inboxPrefix: string;
  readonly log: Log;
}

/** One uninterrupted stretch of the connection. */
export interface Session {
  readonly nats: NatsConnection;
  readonly inboxPrefix: string;
  readonly maxPayloadBytes: number;
  readonly isOver: boolean;
  /** Calls back once when the session ends, at once when it has ended; the function returned forgets the callback. */
  onEnd(callback: () => void): () => void;
}

/** Three pings unanswered in 20 s steps: a slow line may hold a pong behind megabytes of rows for a while. */
const PING_INTERVAL_MS = 20_000;
const MAX_PINGS_OUT = 3;
const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 3_000;

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #listeners = new Set<(status: BusStatus) => void>();
  readonly #changed = new Set<() => void>();
  readonly #stop = new AbortController();
  #nats: NatsConnection | undefined;
  #session: LiveSession | undefined;
  // The steady clock: a corrected wall clock must not stretch the pauses between attempts.
  #awaySinceMs = performance.now();
  #away: { code: 'BUS_UNREACHABLE' | 'BUS_DENIED'; message: string } = {
    code: 'BUS_UNREACHABLE',
    message: 'not connected yet',
  };
  #serverVersion = '';
  #running: Promise<void> = Promise.resolve();

  private constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** Resolves after the first attempt, whatever came of it. */
  static async open(options: ConnectionOptions): Promise<Connection> {
    readCredentials(options.credentials);
    const connection = new Connection(options);
    await new Promise<void>((resolve) => {
      connection.#running = connection.#keep(resolve);
    });
    return connection;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  get serverVersion(): string {
    return this.#serverVersion;
  }

  get isClosed(): boolean {
    return this.#stop.signal.aborted;
  }

  /** The error for whoever needs the bus now and cannot wait. */
  awayError(): QiaoError {
    return this.isClosed ? closedError() : unreachable(this.#away.message);
  }

  /** The present session, or the next one. Undefined when `signal` aborts first; throws BUS_CLOSED after `close`. */
  async ready(signal: AbortSignal): Promise<Session | undefined> {
    while (!signal.aborted) {
      if (this.isClosed) throw closedError();
      if (this.#session !== undefined) return this.#session;
      await new Promise<void>((resolve) => {
        const done = () => {
          this.#changed.delete(done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        this.#changed.add(done);
        signal.addEventListener('abort', done, { once: true });
      });
    }
    return undefined;
  }

  onStatus(listener: (status: BusStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.#stop.abort();
    const nats = this.#nats;
    if (nats !== undefined && !nats.isClosed()) {
      // Acknowledgements may still wait in the client; a dead line must not hold the process for them.
      const flushed = this.#session === undefined ? Promise.resolve() : nats.flush();
      await withinMs(flushed, CLOSE_TIMEOUT_MS);
      await withinMs(nats.close(), CLOSE_TIMEOUT_MS);
    }
    this.#endSession();
    await withinMs(this.#running, CLOSE_TIMEOUT_MS);
    this.#tell({ kind: 'closed' });
  }

  /**
   * Dials for ever; each session is a client of its own. nats.js could reconnect by itself, but a line that breaks between TLS and its
   * first PONG leaves it with two attempts at once: one waits out the connect timeout, and then closes what the other had reached.
   */
  async #keep(firstAttemptDone: () => void): Promise<void> {
    while (!this.isClosed) {
      try {
        const nats = await this.#dial();
        if (this.isClosed) {
          await nats.close();
          break;
        }
        this.#nats = nats;
        this.#beginSession(nats);
        firstAttemptDone();
        await this.#follow(nats);
      } catch (error) {
        this.#noteAway(error);
      }
      firstAttemptDone();
      this.#endSession();
      if (this.isClosed) break;
      await systemClock.sleep(this.#pauseMs(), this.#stop.signal);
    }
    firstAttemptDone();
  }

  #dial(): Promise<NatsConnection> {
    const { urls, tls, name, inboxPrefix, credentials } = this.#options;
    const encoder = new TextEncoder();
    return connect({
      servers: [...urls],
      name,
      inboxPrefix,
      authenticator: jwtAuthenticator(
        () => readCredentials(credentials).jwt,
        () => encoder.encode(readCredentials(credentials).seed),
      ),
      tls: {
        ca: tls.authorityPem,
        ...(tls.certPem === undefined ? {} : { cert: tls.certPem }),
        ...(tls.keyPem === undefined ? {} : { key: tls.keyPem }),
        // nats.js upgrades a bare socket and, for an address in digits, would check the name "localhost".
        ...({
          checkServerIdentity: (_host: string, certificate: PeerCertificate) => checkHosts(urls, certificate),
        } as object),
      },
      timeout: CONNECT_TIMEOUT_MS,
      reconnect: false,
      ignoreClusterUpdates: true,
      pingInterval: PING_INTERVAL_MS,
      maxPingOut: MAX_PINGS_OUT,
      noAsyncTraces: true,
    });
  }

  /** By the time away. A revoked or expired user keeps knocking too: a person may give the node new credentials. */
  #pauseMs(): number {
    const awayMs = performance.now() - this.#awaySinceMs;
    if (awayMs < 3_000) return 100;
    if (awayMs < 30_000) return 500;
    return awayMs < 300_000 ? 2_000 : 5_000;
  }

  async #follow(nats: NatsConnection): Promise<void> {
    void (async () => {
      for await (const status of nats.status()) {
        if (status.type === 'disconnect') {
          this.#noteAway(undefined);
          this.#endSession();
        } else if (status.type === 'error' && isAuthCode(status.data)) {
          this.#noteAway(new NatsError('refused', String(status.data)));
        }
      }
    })();
    const reason = await nats.closed();
    if (reason instanceof Error) this.#noteAway(reason);
  }

  #beginSession(nats: NatsConnection): void {
    this.#endSession();
    this.#serverVersion = nats.info?.version ?? '';
    this.#session = new LiveSession(nats, this.#options.inboxPrefix);
    this.#options.log.info({ serverVersion: this.#serverVersion }, 'bus connected');
    this.#tell({ kind: 'connected', serverVersion: this.#serverVersion });
  }

  #endSession(): void {
    const session = this.#session;
    if (session === undefined) return;
    this.#session = undefined;
    this.#awaySinceMs = performance.now();
    session.end();
    if (!this.isClosed) {
      this.#options.log.warn({ code: this.#away.code, reason: this.#away.message }, 'bus is away');
      this.#tell({ kind: 'away', ...this.#away });
    }
  }

  #noteAway(error: unknown): void {
    const before = this.#away;
    if (error instanceof NatsError && isAuthCode(error.code)) {
      this.#away = { code: 'BUS_DENIED', message: 'the server refuses these credentials' };
    } else {
      const reason = error instanceof Error ? error.message : 'the connection was lost';
      this.#away = { code: 'BUS_UNREACHABLE', message: reason };
    }
    // While away, a new reason is news; the same one is not.
    if (this.#session === undefined && before.message !== this.#away.message && !this.isClosed) {
      this.#options.log.warn({ code: this.#away.code, reason: this.#away.message }, 'bus is away');
      this.#tell({ kind: 'away', ...this.#away });
    }
  }

  #tell(status: BusStatus): void {
    for (const listener of [...this.#listeners]) listener(status);
    for (const wake of [...this.#changed]) wake();
  }
}

class LiveSession implements Session {
  readonly nats: NatsConnection;
  readonly inboxPrefix: string;
  readonly maxPayloadBytes: number;
  readonly #callbacks = new Set<() => void>();
  #isOver = false;

  constructor(nats: NatsConnection, inboxPrefix: string) {
    this.nats = nats;
    this.inboxPrefix = inboxPrefix;
    this.maxPayloadBytes = nats.info?.max_payload ?? 1024 * 1024;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  onEnd(callback: () => void): () => void {
    if (this.#isOver) {
      callback();
      return () => {};
    }
    this.#callbacks.add(callback);
    return () => void this.#callbacks.delete(callback);
  }

  end(): void {
    this.#isOver = true;
    for (const callback of [...this.#callbacks]) callback();
    this.#callbacks.clear();
  }
}

function readCredentials(credentials: BusCredentials | (() => BusCredentials)): BusCredentials {
  const read = typeof credentials === 'function' ? credentials() : credentials;
  if (!read.seed.startsWith('SU') || read.jwt.split('.').length !== 3) {
    throw new QiaoError('BUS_CREDENTIALS_BAD', 'the NATS user JWT or its seed is unreadable', {
      hint: 'qiao agent join --token TOKEN',
    });
  }
  return read;
}

/** The certificate must name one of the hosts we were told to call: never "whatever the authority signed". */
function checkHosts(urls: readonly string[], certificate: PeerCertificate): Error | undefined {
  let failure: Error | undefined;
  for (const url of urls) {
    failure = checkServerIdentity(new URL(url).hostname.replace(/^\[|\]$/g, ''), certificate);
    if (failure === undefined) return undefined;
  }
  return failure;
}

function isAuthCode(code: unknown): boolean {
  return /^(AUTHORIZATION_VIOLATION|AUTHENTICATION_EXPIRED|ACCOUNT_EXPIRED)$/.test(String(code));
}
