/**
 * The stream of the binary log from one place on: the server's replication protocol over the socket of a session, its events decoded as they come. What is
 * decoded and not taken is bounded: beyond it the socket is left alone, and the server waits.
 */
import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { QiaoError } from '@qiao/exchange';
import type { LogPiece, LogReading } from '../adapter.ts';
import { LogFlow } from '../log/flow.ts';
import { lost } from '../log/lost.ts';
import { BinlogDecoder, type BinlogPlan } from './binlog.ts';
import { EVENT, readHead, unreadable } from './binlogEvent.ts';
import { classify } from './errno.ts';
import { comparePlaces, type LogPlace, type LogPosition, parseGtids, parsePosition } from './logPosition.ts';
import { type MysqlConfig, openSession, type Session } from './session.ts';
import { literal } from './sql.ts';

/** The server says so often that it is there, and where it stands, while nothing happens. */
const HEARTBEAT_MS = 1_000;
/** A commit is in the log a moment before readers are sent it: so many may come in between. */
const HEARTBEATS_BEHIND = 3;
/** Nearer to each other than the server sends them: they have lain here unread, and say nothing of now. */
const HEARTBEAT_APART_MS = HEARTBEAT_MS / 2;
/** So many of them left out: the server is gone. */
const SILENCE_MS = 60_000;
/** The server waits so long for us to read before it cuts the connection; then it is opened again. */
const IDLE_MS = 60 * 60_000;

const BINLOG_DUMP = 0x12;
const OK = 0x00;
const END = 0xfe;
const ERROR = 0xff;
const MOST_PACKET_BYTES = 0xffffff;
const PACKET_HEAD_BYTES = 4;
/** Offsets that the protocol can name. */
const MOST_OFFSET = 2 ** 32 - 1;

/** The log cannot be read on from there: purged, cut off, or another one's. */
const CANNOT_READ_ON = 1236;

export interface ReadingOptions {
  /** Of the log's plan: whoever reads under one name takes the place of one that was cut off. */
  readonly name: string;
  readonly plan: BinlogPlan;
  readonly from: string;
  readonly signal: AbortSignal;
}

/** Opens the stream. Throws LOG_LOST when this log is not the one that the position is of, and classified errors. */
export async function openLogReading(config: MysqlConfig, options: ReadingOptions): Promise<MysqlLogReading> {
  const { signal, plan } = options;
  signal.throwIfAborted();
  const session = await openSession(config, {
    side: 'SOURCE',
    purpose: 'log',
    limits: { statementMs: 0, lockMs: 10_000, idleMs: IDLE_MS },
    signal,
  });
  const abort = () => session.abandon();
  signal.addEventListener('abort', abort, { once: true });
  try {
    signal.throwIfAborted();
    const from = parsePosition(options.from);
    await (session.server.isMariaDb ? prove(session, from) : proveMysql(session, from));
    const checksum = plan.hasChecksum ? "'CRC32'" : "'NONE'";
    const wishes = [
      '@mariadb_slave_capability = 4',
      // MySQL has taken to other names for the same.
      ...['master', 'source'].flatMap((who) => [
        `@${who}_heartbeat_period = ${HEARTBEAT_MS * 1_000_000}`,
        `@${who}_binlog_checksum = ${checksum}`,
      ]),
    ];
    await session.run(`SET ${wishes.join(', ')}`);
    signal.throwIfAborted();
    return new MysqlLogReading(session, options, from);
  } catch (error) {
    session.abandon();
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** The place holds what was there when it was taken: by a file of the name, and the last transaction of each domain. */
async function prove(session: Session, { file, offset, gtids }: LogPosition): Promise<void> {
  if (offset > MOST_OFFSET) throw lost(`the place ${file}:${offset} lies behind what a reader can ask for`);
  const [row] = await session.rows(`SELECT BINLOG_GTID_POS(${literal(file)}, ${offset})`);
  const found = row?.[0];
  if (found === null || found === undefined) throw lost(`the log has no place ${file}:${offset}`);
  const there = parseGtids(found);
  for (const [domain, gtid] of gtids) {
    if (there.get(domain) !== gtid)
      throw lost(`found ${there.get(domain) ?? 'nothing'} in the log at ${file}:${offset}; expected ${gtid}`);
  }
}

/** MySQL tells no transaction by its place: the server must have executed those before it, and the file must reach so far. */
async function proveMysql(session: Session, { file, offset, gtids }: LogPosition): Promise<void> {
  if (offset > MOST_OFFSET) throw lost(`the place ${file}:${offset} lies behind what a reader can ask for`);
  const before = [...gtids.values()].join(',');
  const [row] = await session.rows(`SELECT GTID_SUBSET(${literal(before)}, @@GLOBAL.gtid_executed)`);
  if (row?.[0] !== '1') throw lost(`the server has not executed ${before}, which was read from it`);
  const there = (await session.rows('SHOW BINARY LOGS')).find(([name]) => name === file);
  if (there === undefined || Number(there[1]) < offset) throw lost(`the log has no place ${file}:${offset}`);
}

export class MysqlLogReading implements LogReading {
  readonly #session: Session;
  readonly #options: ReadingOptions;
  readonly #decoder: BinlogDecoder;
  readonly #stream: Socket;
  readonly #timer: NodeJS.Timeout;
  readonly #abort = () => this.#end(this.#options.signal.reason);
  readonly #ended = () => this.#end(classify(new Error('connection ended'), 'SOURCE'));
  readonly #flow: LogFlow;
  #hasHeard = true;
  #expected: { readonly newest: LogPlace; heartbeats: number; heardAtMs: number } | undefined;
  /** Of a packet that has not come whole, in the parts that came; `#wanted` bytes of it are to come. */
  #parts: Buffer[] = [];
  #wanted = 0;
  /** Payloads of a message in several packets. */
  #message: Buffer[] = [];

  constructor(session: Session, options: ReadingOptions, from: LogPosition) {
    this.#session = session;
    this.#options = options;
    this.#decoder = new BinlogDecoder(options.plan, from);
    this.#flow = new LogFlow(this.#decoder, () => this.#stream);
    // From here on nobody else reads the socket: the driver would make an object of each packet.
    this.#stream = (session.connection as unknown as { stream: Socket }).stream;
    this.#stream.removeAllListeners('data');
    this.#stream.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#stream.once('close', this.#ended);
    options.signal.addEventListener('abort', this.#abort, { once: true });
    this.#timer = setInterval(() => this.#listen(), SILENCE_MS);
    this.#timer.unref();
    this.#stream.write(dumpCommand(from, options.name));
  }

  [Symbol.asyncIterator](): AsyncGenerator<readonly LogPiece[]> {
    return this.#flow.pieces();
  }

  nudge(): void {
    this.#flow.nudge();
  }

  /** Everything before it has come. */
  get place(): LogPlace {
    return this.#decoder.place;
  }

  /**
   * The log ended at `newest`, which was asked when the stream had come to `place`. A server whose log was begun anew goes on telling a reader of the
   * old one that nothing happens: whoever waits must have come as far.
   */
  expect(newest: LogPlace, place: LogPlace): void {
    if (comparePlaces(newest, place) < 0) this.#end(begunAnew());
    else if (!this.#flow.isPaused)
      this.#expected ??= { newest, heartbeats: HEARTBEATS_BEHIND, heardAtMs: performance.now() };
  }

  /** The server forgets by its own time. */
  confirm(): void {}

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end(new QiaoError('LOG_CLOSED', 'the log is read no more', { fate: 'transient' }));
  }

  #take(chunk: Buffer): void {
    if (this.#flow.isOver) return;
    this.#hasHeard = true;
    try {
      this.#packets(chunk);
    } catch (error) {
      this.#end(error);
      return;
    }
    // What comes after a pause was sent long before.
    if (this.#flow.arrived()) this.#expected = undefined;
  }

  /** Whole packets are read where they lie. */
  #packets(chunk: Buffer): void {
    let bytes = chunk;
    if (this.#parts.length > 0) {
      this.#parts.push(chunk);
      this.#wanted -= chunk.length;
      if (this.#wanted > 0) return;
      bytes = Buffer.concat(this.#parts);
      this.#parts = [];
    }
    let at = 0;
    for (; at + PACKET_HEAD_BYTES <= bytes.length; ) {
      const length = bytes.readUIntLE(at, 3);
      const end = at + PACKET_HEAD_BYTES + length;
      if (end > bytes.length) break;
      this.#packet(bytes, at + PACKET_HEAD_BYTES, end, length === MOST_PACKET_BYTES);
      at = end;
    }
    if (at === bytes.length) return;
    const rest = bytes.length - at;
    const needed = rest < PACKET_HEAD_BYTES ? PACKET_HEAD_BYTES : PACKET_HEAD_BYTES + bytes.readUIntLE(at, 3);
    this.#parts = [bytes.subarray(at)];
    this.#wanted = needed - rest;
  }

  #packet(bytes: Buffer, at: number, end: number, goesOn: boolean): void {
    if (!goesOn && this.#message.length === 0) return this.#received(bytes, at, end);
    this.#message.push(bytes.subarray(at, end));
    if (goesOn) return;
    const message = Buffer.concat(this.#message);
    this.#message = [];
    this.#received(message, 0, message.length);
  }

  #received(bytes: Buffer, at: number, end: number): void {
    switch (bytes[at]) {
      case OK:
        this.#decoder.event(bytes, at + 1, end);
        if (readHead(bytes, at + 1).type === EVENT.heartbeat) this.#waited();
        return;
      case ERROR: {
        const errno = bytes.readUInt16LE(at + 1);
        // Behind a mark and five characters of state; it names files, places and servers, never a value.
        const said = bytes.toString('utf8', at + 9, end);
        if (errno !== CANNOT_READ_ON) throw classify({ errno, sqlMessage: said }, 'SOURCE');
        if (/same server/i.test(said))
          throw new QiaoError('SOURCE_BUSY', 'another reader has taken over the log of this node', {
            fate: 'transient',
          });
        throw lost(`the server cannot go on with its log: ${said}`);
      }
      case END:
        return this.#ended();
      default:
        throw unreadable('a message that is no event');
    }
  }

  /** Nothing has happened for a while, as far as the stream can tell. */
  #waited(): void {
    if (this.#expected === undefined) return;
    const isNew = performance.now() - this.#expected.heardAtMs >= HEARTBEAT_APART_MS;
    this.#expected.heardAtMs = performance.now();
    if (isNew) this.#expected.heartbeats -= 1;
    if (comparePlaces(this.place, this.#expected.newest) >= 0) this.#expected = undefined;
    else if (this.#expected.heartbeats === 0) throw begunAnew();
  }

  /** A connection that died without a word is found out by the heartbeats that do not come; not while we do not read. */
  #listen(): void {
    if (!this.#hasHeard && !this.#flow.isPaused) this.#ended();
    this.#hasHeard = false;
  }

  #end(failure: unknown): void {
    if (!this.#flow.end(failure)) return;
    clearInterval(this.#timer);
    this.#options.signal.removeEventListener('abort', this.#abort);
    this.#stream.removeListener('close', this.#ended);
    this.#session.abandon();
  }
}

function begunAnew(): QiaoError {
  return lost('the server has begun its log anew');
}

/** A server id of our own, the same for one name: the server ends what it still sends to a connection of the same. Real servers have small ones. */
function dumpCommand({ file, offset }: LogPosition, name: string): Buffer {
  const serverId = (createHash('sha256').update(name).digest().readUInt32LE(0) | 0x80000000) >>> 0;
  const fileName = Buffer.from(file);
  const packet = Buffer.alloc(PACKET_HEAD_BYTES + 11 + fileName.length);
  packet.writeUIntLE(packet.length - PACKET_HEAD_BYTES, 0, 3);
  packet[4] = BINLOG_DUMP;
  packet.writeUInt32LE(offset, 5);
  packet.writeUInt32LE(serverId, 11);
  fileName.copy(packet, 15);
  return packet;
}
