/**
 * The reading side: one repeatable-read, read-only transaction, rows streamed by COPY and never held. COPY's text is row
 * text already but for three escapes, which are rewritten only where they occur; no row becomes an object.
 */

import { MAX_ROW_BYTES, QiaoError, splitRow } from '@qiao/exchange';
import { to as copyTo } from 'pg-copy-streams';
import type { SnapshotCursor, SnapshotOptions, SnapshotTable, SourceChunk, SourceSnapshot } from '../adapter.ts';
import { linesOf, withoutBrokenText } from '../lines.ts';
import { keyBatches } from '../namedKeys.ts';
import { RefusedCounts } from '../refusedCounts.ts';
import { countNulls, cursorConditions, highest, nowMs, readIdentity } from './cursor.ts';
import { readHorizon } from './horizon.ts';
import { keyCondition } from './keys.ts';
import { readSeen } from './seen.ts';
import { defaultSchema, openSession, type PostgresConfig, type Session } from './session.ts';
import { identifiers, qualified } from './sql.ts';
import { classify } from './sqlstate.ts';

const LF = 0x0a;
const BACKSLASH = 0x5c;
/** A chunk is given out when it has this many bytes, so that a slow server does not cost a wake per row. */
const CHUNK_BYTES = 128 * 1024;

const BEGIN = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY';

/** Takes the snapshot now. Throws classified errors, or the signal's reason. */
export async function openSnapshot(config: PostgresConfig, options: SnapshotOptions): Promise<SourceSnapshot> {
  options.signal.throwIfAborted();
  // 0 would mean no limit to the server.
  const serverMs = Math.max(1000, Math.ceil(options.maxMs));
  const session = await openSession(config, {
    side: 'SOURCE',
    purpose: 'snapshot',
    // The server's own limit stops a statement that our cut connection would leave behind, for example in a long sort.
    limits: { statementMs: serverMs, lockMs: 10_000, idleInTransactionMs: serverMs },
  });
  try {
    if (options.stepRows === undefined) await session.run(BEGIN);
    // The snapshot is taken by the first statement, not by BEGIN.
    const [encoding] = await session.rows("SELECT current_setting('server_encoding')");
    return new PostgresSnapshot(session, defaultSchema(config), options, encoding?.[0] !== 'SQL_ASCII');
  } catch (error) {
    session.abandon();
    throw error;
  }
}

class PostgresSnapshot implements SourceSnapshot {
  readonly consistency: 'snapshot' | 'chunks';
  readonly cursor: SnapshotCursor;
  readonly #session: Session;
  readonly #schema: string;
  readonly #signal: AbortSignal;
  readonly #maxMs: number;
  readonly #stepRows: number | undefined;
  readonly #isUtf8Sure: boolean;
  readonly #timer: NodeJS.Timeout;
  readonly #endsAt: number;
  readonly #stop = () => this.#session.abandon();
  #isTooLong = false;
  #isReading = false;

  constructor(session: Session, schema: string, options: SnapshotOptions, isUtf8Sure: boolean) {
    this.consistency = options.stepRows === undefined ? 'snapshot' : 'chunks';
    this.#stepRows = options.stepRows;
    this.#session = session;
    this.#schema = schema;
    this.#signal = options.signal;
    this.#maxMs = options.maxMs;
    this.#isUtf8Sure = isUtf8Sure;
    this.#endsAt = performance.now() + options.maxMs;
    this.#timer = setTimeout(() => {
      this.#isTooLong = true;
      this.#session.abandon();
    }, options.maxMs);
    this.#timer.unref();
    this.#signal.addEventListener('abort', this.#stop, { once: true });
    this.cursor = {
      nowMs: () => this.#asked(nowMs(session)),
      highest: (table, atMost) => this.#asked(highest(session, schema, table, atMost)),
      horizon: () => this.#asked(readHorizon(session)),
      identity: (ref) => this.#asked(readIdentity(session, schema, ref)),
    };
  }

  seen(): Promise<string> {
    return this.#asked(readSeen(this.#session));
  }

  async *rows(table: SnapshotTable): AsyncGenerator<SourceChunk> {
    if (table.keys !== undefined) {
      yield* this.#rowsOfKeys(table);
      return;
    }
    const nulls = await this.#asked(countNulls(this.#session, this.#schema, table));
    if (nulls > 0) {
      const refused = [{ code: 'CURSOR_NULL', column: table.cursor?.column ?? '', count: nulls }];
      yield { rows: Buffer.alloc(0), refused };
    }
    if (this.#stepRows === undefined) {
      yield* this.#copy(table, this.#statement(table));
      return;
    }
    // One short transaction after another, each beginning behind the last key: nothing is held open for the whole table.
    for (let after: readonly string[] | undefined; ; ) {
      let rows = 0;
      let lastLine: Buffer | undefined;
      try {
        await this.#session.run(BEGIN);
        for await (const chunk of this.#copy(table, this.#statement(table, { after, limit: this.#stepRows }))) {
          for (const { count } of chunk.refused ?? []) rows += count;
          rows += countLines(chunk.rows);
          if (chunk.rows.length > 0) lastLine = Buffer.from(lastLineOf(chunk.rows));
          yield chunk;
        }
        await this.#session.run('COMMIT');
      } catch (error) {
        throw this.#failure(error);
      }
      if (rows < this.#stepRows) return;
      if (lastLine === undefined) {
        throw new QiaoError('SOURCE_KEY_INVALID', `${this.#stepRows} rows in sequence cannot be read exactly`, {
          hint: 'leave the column that cannot travel out of the bridge (columns:)',
        });
      }
      after = splitRow(lastLine.toString('utf8')).slice(0, table.keyColumns) as string[];
    }
  }

  async *#rowsOfKeys(table: SnapshotTable): AsyncGenerator<SourceChunk> {
    for (const batch of keyBatches(table)) {
      const found = keyCondition(table, batch.keys, (text) => this.#session.client.escapeLiteral(text));
      for await (const chunk of this.#copy(table, this.#select(table, ` WHERE ${found}`))) yield batch.only(chunk);
    }
  }

  async *#copy(table: SnapshotTable, statement: string): AsyncGenerator<SourceChunk> {
    this.#check();
    if (this.#isReading) throw new QiaoError('SNAPSHOT_BUSY', 'a snapshot reads one table at a time');
    if (this.#session.isBroken) throw this.#failure(new Error('the snapshot was left in the middle of a table'));
    this.#isReading = true;
    const stream = this.#session.client.query(copyTo(statement, { highWaterMark: 4 * CHUNK_BYTES }));
    const ended = () => stream.destroy(new Error('connection ended'));
    this.#session.client.once('end', ended);
    const cutter = new RowCutter(
      table.columns.map((column) => column.name),
      this.#isUtf8Sure,
    );
    let isComplete = false;
    try {
      for await (const bytes of stream as AsyncIterable<Buffer>) {
        const chunk = cutter.push(bytes);
        if (chunk !== undefined) yield chunk;
        this.#check();
      }
      isComplete = true;
      const rest = cutter.finish();
      if (rest !== undefined) yield rest;
    } catch (error) {
      throw this.#failure(error);
    } finally {
      this.#isReading = false;
      this.#session.client.removeListener('end', ended);
      // A COPY that nobody reads to its end leaves the connection in the middle of a message.
      if (!isComplete) this.#session.abandon();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#signal.removeEventListener('abort', this.#stop);
    if (this.#isReading) this.#session.abandon();
    else await this.#session.close();
  }

  #statement(table: SnapshotTable, step?: { after: readonly string[] | undefined; limit: number }): string {
    const key = identifiers(table.columns.slice(0, table.keyColumns).map((column) => column.name));
    const order = key === '' ? '' : ` ORDER BY ${key}`;
    // COPY takes no parameters: keys come back as literals of unknown type, which the comparison reads as the columns' own.
    const literal = (text: string) => this.#session.client.escapeLiteral(text);
    const conditions = cursorConditions(table, literal);
    if (step?.after !== undefined) conditions.push(`(${key}) > (${step.after.map(literal).join(', ')})`);
    const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`;
    const limit = step === undefined ? '' : ` LIMIT ${step.limit}`;
    return this.#select(table, `${where}${order}${limit}`);
  }

  #select(table: SnapshotTable, rest: string): string {
    const names = identifiers(table.columns.map((column) => column.name));
    const from = qualified(table.ref.schema ?? this.#schema, table.ref.name);
    // Asked for UTF-8, a SQL_ASCII server would fail the whole COPY at the first broken text.
    const encoding = this.#isUtf8Sure ? '' : " (ENCODING 'SQL_ASCII')";
    return `COPY (SELECT ${names} FROM ${from}${rest}) TO STDOUT${encoding}`;
  }

  async #asked<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #check(): void {
    if (this.#isTooLong || performance.now() >= this.#endsAt) throw this.#tooLong();
    this.#signal.throwIfAborted();
  }

  #failure(error: unknown): unknown {
    if (this.#isTooLong) return this.#tooLong();
    if (this.#signal.aborted) return this.#signal.reason;
    if ((error as { code?: string }).code === '57014') return this.#tooLong();
    return classify(error, 'SOURCE');
  }

  #tooLong(): QiaoError {
    return new QiaoError('SNAPSHOT_TOO_LONG', `the source was read for longer than ${this.#maxMs} ms`, {
      fate: 'transient',
      hint: 'raise the limit of the agent, or share fewer rows by a `where` on an indexed column',
    });
  }
}

const TOO_LARGE = { code: 'ROW_TOO_LARGE', column: '' };

/** Cuts a byte stream of COPY lines at row ends; holds less than a chunk and one row. */
export class RowCutter {
  readonly #columns: readonly string[];
  readonly #isUtf8Sure: boolean;
  #pieces: Buffer[] = [];
  #bytes = 0;
  /** Bytes since the last row end that was seen. */
  #openBytes = 0;
  #isSkipping = false;
  #refused = new RefusedCounts();

  constructor(columns: readonly string[], isUtf8Sure: boolean) {
    this.#columns = columns;
    this.#isUtf8Sure = isUtf8Sure;
  }

  push(bytes: Buffer): SourceChunk | undefined {
    let piece = bytes;
    if (this.#isSkipping) {
      const end = piece.indexOf(LF);
      if (end === -1) return undefined;
      this.#isSkipping = false;
      piece = piece.subarray(end + 1);
    }
    if (piece.length === 0) return undefined;
    const cut = piece.lastIndexOf(LF);
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    this.#openBytes = cut === -1 ? this.#openBytes + piece.length : piece.length - cut - 1;
    if (this.#openBytes > MAX_ROW_BYTES) return this.#dropOpenRow();
    // Nothing but one long open row: wait for its end.
    if (this.#bytes < CHUNK_BYTES || this.#openBytes === this.#bytes) return undefined;
    const all = this.#pieces.length === 1 ? piece : Buffer.concat(this.#pieces, this.#bytes);
    const end = this.#bytes - this.#openBytes;
    this.#pieces = this.#openBytes === 0 ? [] : [Buffer.from(all.subarray(end))];
    this.#bytes = this.#openBytes;
    return this.#chunk(all.subarray(0, end));
  }

  /** What is left when the stream has ended, if anything. */
  finish(): SourceChunk | undefined {
    if (this.#bytes === 0 && this.#refused.isEmpty) return undefined;
    const all = Buffer.concat(this.#pieces, this.#bytes);
    this.#pieces = [];
    this.#bytes = 0;
    return this.#chunk(all);
  }

  #dropOpenRow(): SourceChunk | undefined {
    const all = Buffer.concat(this.#pieces, this.#bytes);
    const end = this.#bytes - this.#openBytes;
    this.#pieces = [];
    this.#bytes = 0;
    this.#openBytes = 0;
    this.#isSkipping = true;
    this.#refused.add(TOO_LARGE);
    return this.#chunk(all.subarray(0, end));
  }

  #chunk(lines: Buffer): SourceChunk {
    let rows = withoutLargeRows(toRowText(lines), () => this.#refused.add(TOO_LARGE));
    // A SQL_ASCII database stores whatever bytes it was given.
    if (!this.#isUtf8Sure) rows = withoutBrokenText(rows, this.#columns, this.#refused);
    const refused = this.#refused.list();
    this.#refused = new RefusedCounts();
    return refused.length === 0 ? { rows } : { rows, refused };
  }
}

/**
 * COPY's text as row text: `\b`, `\f` and `\v` become the bytes that they stand for (PostgreSQL manual, COPY, text
 * format). Gives back the same buffer when there are none, which is nearly always.
 */
export function toRowText(lines: Buffer): Buffer {
  if (!lines.includes('\\b') && !lines.includes('\\f') && !lines.includes('\\v')) return lines;
  const out = Buffer.allocUnsafe(lines.length);
  let length = 0;
  for (let index = 0; index < lines.length; index++) {
    const byte = lines[index] as number;
    if (byte !== BACKSLASH) {
      out[length++] = byte;
      continue;
    }
    const escaped = lines[++index] as number;
    const raw = escaped === 0x62 ? 0x08 : escaped === 0x66 ? 0x0c : escaped === 0x76 ? 0x0b : undefined;
    if (raw === undefined) {
      out[length++] = BACKSLASH;
      out[length++] = escaped;
    } else {
      out[length++] = raw;
    }
  }
  return out.subarray(0, length);
}

/** Rows over the limit can also arrive within one piece; only chunks that are larger than a row may be are looked at. */
function withoutLargeRows(lines: Buffer, onLarge: () => void): Buffer {
  if (lines.length <= MAX_ROW_BYTES) return lines;
  return Buffer.concat(
    [...linesOf(lines)].filter((line) => {
      if (line.length > MAX_ROW_BYTES) onLarge();
      return line.length <= MAX_ROW_BYTES;
    }),
  );
}

function countLines(lines: Buffer): number {
  let count = 0;
  for (let at = lines.indexOf(LF); at !== -1; at = lines.indexOf(LF, at + 1)) count += 1;
  return count;
}

/** The last line, without its LF. */
function lastLineOf(lines: Buffer): Buffer {
  return lines.subarray(lines.lastIndexOf(LF, lines.length - 2) + 1, lines.length - 1);
}
