/**
 * The stream of one slot: a replication session, its messages decoded as they come, and the news of what may be forgotten. What is
 * decoded and not taken is bounded: beyond it the socket is left alone, and the server waits.
 */
import { QiaoError } from '@qiao/exchange';
import type { Submittable } from 'pg';
import type { LogPiece, LogReading } from '../adapter.ts';
import { LogFlow } from '../log/flow.ts';
import { unreadable } from '../log/lost.ts';
import { Lineage, placeOf } from './lineage.ts';
import { whenFree } from './logObjects.ts';
import { type LoggedTable, PgOutputDecoder } from './pgoutput.ts';
import { openSession, type PostgresConfig, type Session } from './session.ts';
import { identifier } from './sql.ts';
import { classify } from './sqlstate.ts';

/** Well below wal_sender_timeout (60 s), whether we read or not. */
const STATUS_EVERY_MS = 10_000;

const XLOG_DATA = 0x77;
const KEEPALIVE = 0x6b;
const XLOG_DATA_HEAD = 25;

/** The parts of pg's connection that a stream needs. */
interface Connection {
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  readonly stream: { pause(): void; resume(): void };
}

export interface StreamOptions {
  readonly slot: string;
  readonly publication: string;
  readonly from: string;
  /** The position that the slot keeps everything from. Asked once, when nobody else reads the slot. */
  readonly keptFrom: () => Promise<string>;
  readonly tables: readonly LoggedTable[];
  readonly signal: AbortSignal;
}

/** Opens the stream. Throws LOG_LOST when this log is not the one that the position is of, and classified errors; SOURCE_BUSY while another session reads the slot. */
export async function openLogReading(config: PostgresConfig, options: StreamOptions): Promise<LogReading> {
  return await whenFree(() => openOnce(config, options), options.signal);
}

async function openOnce(config: PostgresConfig, options: StreamOptions): Promise<LogReading> {
  options.signal.throwIfAborted();
  const session = await openSession(config, {
    side: 'SOURCE',
    purpose: 'log',
    limits: { statementMs: 0, lockMs: 10_000, idleInTransactionMs: 0 },
    replication: true,
  });
  if (options.signal.aborted) {
    session.abandon();
    throw options.signal.reason;
  }
  const reading = new PostgresLogReading(session, options);
  try {
    await reading.started;
    reading.isKeptFrom(await options.keptFrom());
  } catch (error) {
    await reading[Symbol.asyncDispose]();
    throw error;
  }
  return reading;
}

class PostgresLogReading implements LogReading, Submittable {
  readonly started: Promise<void>;
  readonly #session: Session;
  readonly #options: StreamOptions;
  readonly #lineage: Lineage;
  readonly #decoder: PgOutputDecoder;
  readonly #timer: NodeJS.Timeout;
  readonly #abort = () => this.#end(this.#options.signal.reason);
  readonly #ended = () => this.#end(classify(new Error('connection ended'), 'SOURCE'));
  #connection: Connection | undefined;
  readonly #flow: LogFlow;
  /** Wakes whoever waits for the start. */
  #start = () => {};
  #received: bigint;
  /** 0: unknown. Where this reading begins says nothing about what other readers of the slot still need. */
  #confirmed = 0n;

  constructor(session: Session, options: StreamOptions) {
    this.#session = session;
    this.#options = options;
    this.#lineage = new Lineage(options.from);
    this.#decoder = new PgOutputDecoder(options.tables, this.#lineage);
    this.#flow = new LogFlow(this.#decoder, () => this.#connection?.stream);
    this.#received = placeOf(options.from);
    this.started = new Promise((resolve, reject) => {
      this.#start = () => (this.#flow.isOver ? reject(this.#flow.failure) : resolve());
    });
    session.client.once('end', this.#ended);
    options.signal.addEventListener('abort', this.#abort, { once: true });
    this.#timer = setInterval(() => this.#tell(), STATUS_EVERY_MS);
    this.#timer.unref();
    session.client.query(this);
  }

  /** Throws LOG_LOST when the slot still has what must come first, and something else came. */
  isKeptFrom(position: string): void {
    this.#lineage.keptFrom(placeOf(position));
  }

  [Symbol.asyncIterator](): AsyncGenerator<readonly LogPiece[]> {
    return this.#flow.pieces();
  }

  nudge(): void {
    this.#flow.nudge();
  }

  confirm(position: string): void {
    const lsn = placeOf(position);
    if (lsn <= this.#confirmed) return;
    this.#confirmed = lsn;
    this.#tell();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What was confirmed last shall arrive: the server goes on from there for whoever asks with an older position.
    this.#tell();
    this.#end(new QiaoError('LOG_CLOSED', 'the log is read no more', { fate: 'transient' }));
  }

  // ------------------------------------------------------------------------------------- what pg calls while the statement runs

  submit(connection: unknown): void {
    this.#connection = connection as Connection;
    const { slot, publication } = this.#options;
    this.#connection.query(
      `START_REPLICATION SLOT ${identifier(slot)} LOGICAL ${this.#lineage.begin} (proto_version '1', publication_names '${identifier(publication)}')`,
    );
    (connection as NodeJS.EventEmitter).once('replicationStart', () => {
      this.#start();
      this.#tell();
    });
  }

  handleCopyData({ chunk }: { chunk: Buffer }): void {
    if (this.#flow.isOver) return;
    try {
      this.#take(chunk);
    } catch (error) {
      this.#end(error);
    }
  }

  handleError(error: unknown): void {
    const { code, routine } = error as { code?: string; routine?: string };
    // What the server says beside its function may quote a row.
    const isInternal = code?.startsWith('XX') === true;
    this.#end(isInternal ? unreadable(`SQLSTATE ${code}, ${routine ?? 'no function'}`) : classify(error, 'SOURCE'));
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.#ended();
  }

  #take(chunk: Buffer): void {
    if (chunk[0] === XLOG_DATA) {
      const end = chunk.readBigUInt64BE(9);
      if (end > this.#received) this.#received = end;
      this.#decoder.message(chunk, XLOG_DATA_HEAD);
      this.#flow.arrived();
    } else if (chunk[0] === KEEPALIVE) {
      const end = chunk.readBigUInt64BE(1);
      if (end > this.#received) {
        this.#received = end;
        // Everything before the end was sent; it is as good as a commit, for whoever took all that came.
        if (!this.#decoder.isInside) this.#decoder.idle(end);
        this.#flow.arrived();
      }
      if (chunk[17] === 1) this.#tell();
    }
  }

  /** "Standby status update": where we are, and what may be forgotten. */
  #tell(): void {
    if (this.#flow.isOver || this.#connection === undefined) return;
    const status = Buffer.alloc(34);
    status[0] = 0x72;
    const received = this.#received > this.#confirmed ? this.#received : this.#confirmed;
    status.writeBigUInt64BE(received, 1);
    status.writeBigUInt64BE(this.#confirmed, 9);
    status.writeBigUInt64BE(this.#confirmed, 17);
    this.#connection.sendCopyFromChunk(status);
  }

  #end(failure: unknown): void {
    if (!this.#flow.end(failure)) return;
    clearInterval(this.#timer);
    this.#options.signal.removeEventListener('abort', this.#abort);
    this.#session.client.removeListener('end', this.#ended);
    this.#session.abandon();
    this.#start();
  }
}
