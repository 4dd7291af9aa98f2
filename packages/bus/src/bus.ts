/**
 * The port behind which NATS JetStream is hidden. Agent, hub and monitor hold a `Bus`; nobody else sees a NATS type.
 * Acknowledgements of the bus are a convenience: only signed receipts close a delivery.
 */

/** One connection to the bus, kept for ever: while it is away, everything that needs it fails at once as `transient`. */
export interface Bus {
  /**
   * Publishes into a stream and waits for its acknowledgement (`timeoutMs`, default 20,000). Call it many times at once; order is kept.
   * Throws BUS_UNREACHABLE, STREAM_FULL, NODE_SHARE_FULL, STREAM_MISSING (transient), PUBLISH_TIMED_OUT, PUBLISH_INTERRUPTED
   * (ambiguous: publish again under the same `messageId`), BUS_DENIED, MESSAGE_TOO_LARGE, BUS_CLOSED (permanent).
   * A node whose stream is missing sees PUBLISH_TIMED_OUT; only the hub sees STREAM_MISSING.
   */
  publish(subject: string, bytes: Uint8Array, options?: PublishOptions): Promise<void>;
  /**
   * Messages of an existing durable pull consumer, until `signal` aborts. Reconnects, missing heartbeats and a consumer that is gone
   * for a while are waited out. Throws BUS_CLOSED when the bus is closed, BUS_DENIED when the credentials do not reach that consumer.
   */
  consume(stream: string, consumer: string, options: ConsumeOptions): AsyncIterable<BusMessage>;
  /**
   * Asks and waits for one answer. Throws BUS_UNREACHABLE, NO_RESPONDER (transient), REQUEST_TIMED_OUT, REQUEST_INTERRUPTED (ambiguous),
   * BUS_DENIED (permanent), or the QiaoError that the responder's handler threw. Between hub and node nobody's being there looks like
   * REQUEST_TIMED_OUT: NATS does not carry "no responders" from account to account.
   */
  request(subject: string, bytes: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  /** Answers requests until `signal` aborts; replicas with the same `queue` share them. An error of the handler travels to the asker. */
  respond(subject: string, handler: RequestHandler, options: RespondOptions): Promise<void>;
  /** Publishes without waiting and without a stream's promise. Throws BUS_UNREACHABLE while away. */
  broadcast(subject: string, bytes: Uint8Array): void;
  readonly isConnected: boolean;
  /** Calls `listener` at every change; the function returned takes it away again. */
  onStatus(listener: (status: BusStatus) => void): () => void;
  /** Sends what is queued and closes; running `consume` calls throw BUS_CLOSED. */
  close(): Promise<void>;
  /** Version of the server last spoken to, for example "2.9.10"; empty before the first connection. */
  readonly serverVersion: string;
}

export interface PublishOptions {
  /** `Nats-Msg-Id`: the stream drops a second message with it for two minutes. Random per attempt; the same only for the retry of an ambiguous one. */
  readonly messageId?: string;
  readonly timeoutMs?: number;
}

export interface ConsumeOptions {
  readonly signal: AbortSignal;
  /** Messages held here that the caller has not taken: 1 to 10,000, default 256. */
  readonly maxMessages?: number;
  /**
   * Nobody else reads this consumer. What it delivered over a line that broke is called for again at the first words over the next one,
   * not after the ack wait; what another reader had in hand would come twice.
   */
  readonly isOnlyReader?: boolean;
  /** Bytes held here or asked for: default 24 MiB; raised to twice the server's largest message when smaller. */
  readonly maxBytes?: number;
}

export type RequestHandler = (bytes: Uint8Array, subject: string) => Promise<Uint8Array>;

export interface RespondOptions {
  readonly signal: AbortSignal;
  readonly queue?: string;
}

/** One message of a stream. Exactly one of `ack` and `retryLater` ends it; without either it comes again after the consumer's ack wait. */
export interface BusMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  /** Place in the stream. */
  readonly sequence: bigint;
  /** It was handed out before, here or to another replica. */
  readonly redelivered: boolean;
  ack(): void;
  retryLater(delayMs: number): void;
  /** Starts the ack wait anew: call it while the work takes long. */
  working(): void;
}

/** How the connection is. `code` is a QiaoError code that says why it is away. */
export type BusStatus =
  | { readonly kind: 'connected'; readonly serverVersion: string }
  | { readonly kind: 'away'; readonly code: 'BUS_UNREACHABLE' | 'BUS_DENIED'; readonly message: string }
  | { readonly kind: 'closed' };

/** How to reach and trust the bus. */
export interface BusAddress {
  /** `tls://host:port`, tried in turn. */
  readonly urls: readonly string[];
  readonly tls: BusTls;
}

/** The authority that the server's certificate is checked against (PEM), and a client certificate where the server wants one. */
export interface BusTls {
  readonly authorityPem: string;
  readonly certPem?: string;
  readonly keyPem?: string;
}

/** A NATS user: its JWT and the seed ("SU…") that signs the server's challenge. The seed never leaves the process. */
export interface BusCredentials {
  readonly jwt: string;
  readonly seed: string;
}
