/**
 * Reads tables for capture: row by row into row text, a bounded number at a time. How long the file is locked meanwhile is `readLock.ts`'s, and
 * what a value is, `cells.ts`'s.
 */

import { isUtf8 } from 'node:buffer';
import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { escapeField, MAX_ROW_BYTES, QiaoError } from '@qiao/exchange';
import type { SnapshotCursor, SnapshotOptions, SnapshotTable, SourceChunk, SourceSnapshot } from '../adapter.ts';
import { keyBatches } from '../namedKeys.ts';
import { RefusedCounts } from '../refusedCounts.ts';
import { type CellReader, cellReader, LARGE_MARKER, Refusal, SUSPECT_TEXT } from './cells.ts';
import { type CursorWindow, cursorWindow, highest, identityOf, NOBODY_OPEN, refusedByCursor } from './cursor.ts';
import { readTable } from './describe.ts';
import { keyWindow } from './keys.ts';
import { ReadLock } from './readLock.ts';
import { type Connection, failure, openReader, quote } from './session.ts';

const CHUNK_BYTES = 512 * 1024;
const MOST_ROWS = 2000;
const FIRST_ROWS = 64;
/** Rows in sequence whose key cannot be compared, before the table is given up. */
const MOST_UNREADABLE_KEYS = 64_000;

const NEEDS_ESCAPE = /[\\\t\n\r]/;

/** Takes a snapshot of a file. Throws SOURCE_BUSY, SOURCE_UNAVAILABLE, FILE_MISSING. */
export async function takeSnapshot(
  file: string,
  options: SnapshotOptions,
  onClose: () => void = () => undefined,
): Promise<SourceSnapshot> {
  const db = openReader(file);
  try {
    const lock = new ReadLock(db, file, options.signal);
    // The file's writers go by this machine's clock, too.
    const takenAtMs = Date.now();
    await lock.take();
    return new SqliteSnapshot(db, file, lock, options, takenAtMs, onClose);
  } catch (error) {
    db.close();
    throw failure(error, 'SOURCE_UNAVAILABLE', file);
  }
}

class SqliteSnapshot implements SourceSnapshot {
  readonly #db: Connection;
  readonly #file: string;
  readonly #lock: ReadLock;
  readonly #signal: AbortSignal;
  readonly #deadline: number;
  readonly #maxMs: number;
  readonly #stepRows: number | undefined;
  readonly #onClose: () => void;
  readonly cursor: SnapshotCursor;

  constructor(
    db: Connection,
    file: string,
    lock: ReadLock,
    options: SnapshotOptions,
    takenAtMs: number,
    onClose: () => void,
  ) {
    this.#db = db;
    this.#file = file;
    this.#lock = lock;
    this.#signal = options.signal;
    this.#deadline = performance.now() + options.maxMs;
    this.#maxMs = options.maxMs;
    this.#stepRows = options.stepRows;
    this.#onClose = onClose;
    this.cursor = {
      nowMs: async () => takenAtMs,
      highest: (table, atMost) => this.#locked(() => highest(db, table, atMost)),
      horizon: async () => NOBODY_OPEN,
      identity: async () => identityOf(file),
    };
  }

  get consistency(): 'snapshot' | 'chunks' {
    return this.#lock.isTorn || this.#stepRows !== undefined ? 'chunks' : 'snapshot';
  }

  async *rows(table: SnapshotTable): AsyncGenerator<SourceChunk, void, undefined> {
    try {
      if (table.keys !== undefined) {
        yield* this.#rowsOfKeys(table);
        return;
      }
      await this.#lock.take();
      const refused = refusedByCursor(this.#db, table);
      if (refused.length > 0) yield { rows: Buffer.alloc(0), rowCount: 0, refused };
      await this.#lock.take();
      yield* this.#scan(new TableScan(this.#db, table, cursorWindow(this.#db, table)));
    } catch (error) {
      throw failure(error, 'SOURCE_UNAVAILABLE', this.#file);
    }
  }

  async *#rowsOfKeys(table: SnapshotTable): AsyncGenerator<SourceChunk, void, undefined> {
    for (const batch of keyBatches(table)) {
      await this.#lock.take();
      const scan = new TableScan(this.#db, table, keyWindow(this.#db, table, batch.keys));
      for await (const chunk of this.#scan(scan)) yield batch.only(chunk);
    }
  }

  async *#scan(scan: TableScan): AsyncGenerator<SourceChunk, void, undefined> {
    let sinceRelease = 0;
    while (!scan.isDone) {
      this.#signal.throwIfAborted();
      if (performance.now() > this.#deadline) {
        throw new QiaoError('SNAPSHOT_TOO_LONG', `the snapshot was read for more than ${this.#maxMs} ms`, {
          fate: 'transient',
          hint: 'Bridge fewer tables, or raise the time a snapshot may take in agent.yaml.',
        });
      }
      await this.#lock.take();
      yield* scan.next();
      sinceRelease += 1;
      if (this.#stepRows !== undefined && sinceRelease * MOST_ROWS >= this.#stepRows) {
        // A WAL file grows as long as a reader looks at its past.
        this.#lock.release();
        sinceRelease = 0;
      }
      await nextTurn();
    }
  }

  async #locked<T>(read: () => T): Promise<T> {
    try {
      await this.#lock.take();
      return read();
    } catch (error) {
      throw failure(error, 'SOURCE_UNAVAILABLE', this.#file);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#db.open) return;
    try {
      this.#lock.release();
    } finally {
      this.#db.close();
      this.#onClose();
    }
  }
}

/** One table from its first key to its last, a bounded number of rows at a time. */
class TableScan {
  readonly #db: Connection;
  readonly #readers: readonly CellReader[];
  readonly #keyColumns: number;
  readonly #table: string;
  readonly #keys: readonly string[];
  readonly #select: string;
  readonly #window: CursorWindow;
  #last: unknown[] | undefined;
  #limit = FIRST_ROWS;
  isDone = false;

  constructor(db: Connection, table: SnapshotTable, window: CursorWindow) {
    const found = readTable(db, table.ref);
    if (!found) throw schemaError(`table ${table.ref.name} does not exist`);
    this.#readers = table.columns.map(({ name, type }) => {
      const column = found.columns.find((each) => each.name === name);
      if (!column) throw schemaError(`column ${table.ref.name}.${name} does not exist`);
      return cellReader(name, type, column.declared);
    });
    this.#db = db;
    this.#keyColumns = table.keyColumns;
    this.#table = quote(found.name);
    this.#keys = table.columns.slice(0, table.keyColumns).map(({ name }) => quote(name));
    this.#select = this.#readers.map((reader) => reader.select()).join(', ');
    this.#window = window;
  }

  /** The rows after the last ones, as one chunk or, when large values are among them, several. */
  *next(): Generator<SourceChunk, void, undefined> {
    let rows = this.#read();
    this.isDone = rows.length < this.#limit;
    let end = rows.length;
    if (!this.isDone) {
      while (end > 0 && !this.#keyOf(rows[end - 1])) end--;
      if (end === 0) return this.#widen();
      this.#last = this.#keyOf(rows[end - 1]);
    }
    if (end < rows.length) rows = rows.slice(0, end);
    yield* this.#chunks(rows);
  }

  #read(): unknown[][] {
    const { conditions, values, isNarrow } = this.#window;
    const behind = `(${this.#keys.join(', ')}) > (${this.#keys.map(() => '?').join(', ')})`;
    // A plus would take the keys' affinity from a comparison; a truth value only takes the index of the keys out of the choice.
    const after = this.#last ? [isNarrow ? `(${behind}) IS TRUE` : behind] : [];
    const order = this.#keys.map((key) => (isNarrow ? `+${key}` : key)).join(', ');
    const where = [...conditions, ...after].map((each, i) => `${i === 0 ? 'WHERE' : 'AND'} ${each}`).join(' ');
    // ORDER BY and the comparison use the same collation, the column's own, whatever it is.
    const sql = `SELECT ${this.#select} FROM ${this.#table} ${where} ORDER BY ${order} LIMIT ${this.#limit}`;
    return this.#db
      .prepare(sql)
      .raw()
      .all(...values, ...(this.#last ?? [])) as unknown[][];
  }

  /** Every key of the chunk is one that cannot be compared: look further, up to a bound. */
  #widen(): void {
    if (this.#limit >= MOST_UNREADABLE_KEYS) {
      throw new QiaoError(
        'SOURCE_KEY_INVALID',
        `more than ${MOST_UNREADABLE_KEYS} rows of ${this.#table} have a key of another storage class than its type`,
        {
          hint: 'Repair the key column, or name another key in the bridge.',
        },
      );
    }
    this.#limit = Math.min(this.#limit * 8, MOST_UNREADABLE_KEYS);
  }

  /** The key as it can be bound to go on after this row; undefined when it is not of its column's class. */
  #keyOf(row: unknown[] | undefined): unknown[] | undefined {
    const key = row?.slice(0, this.#keyColumns);
    for (let i = 0; i < this.#keyColumns; i++) {
      const value = key?.[i];
      const reader = this.#readers[i];
      if (value === null || value === undefined || !reader) return undefined;
      const text = reader.text(value);
      if (text instanceof Refusal && text.code !== 'VALUE_INVALID') return undefined;
      if (key && reader.isBoolean) key[i] = value === 't' ? 1 : 0;
    }
    return key;
  }

  *#chunks(rows: unknown[][]): Generator<SourceChunk, void, undefined> {
    const refused = new RefusedCounts();
    let text = '';
    let count = 0;
    let bytes = 0;
    for (const row of rows) {
      const line = this.#line(row);
      if (typeof line === 'string') {
        text += line;
        count++;
        if (text.length >= CHUNK_BYTES) {
          const chunk = Buffer.from(text);
          bytes += chunk.length;
          yield { rows: chunk, rowCount: count };
          text = '';
          count = 0;
        }
      } else if (line) refused.add(line);
    }
    const chunk = Buffer.from(text);
    bytes += chunk.length;
    if (count > 0 || !refused.isEmpty) yield { rows: chunk, rowCount: count, refused: refused.list() };
    const mean = rows.length === 0 ? 1 : Math.max(bytes / rows.length, 1);
    this.#limit = Math.max(
      1,
      Math.min(Math.floor(CHUNK_BYTES / mean), Math.min(this.#limit, MOST_ROWS) * 4, MOST_ROWS),
    );
  }

  /** The row as a line with its LF, or why not; undefined when a large row vanished before it was fetched. */
  #line(row: unknown[]): string | { code: string; column: string } | undefined {
    let line = '';
    for (let i = 0; i < this.#readers.length; i++) {
      const reader = this.#readers[i] as CellReader;
      const value = row[i];
      if (i > 0) line += '\t';
      if (value === null) {
        if (i < this.#keyColumns) return { code: 'VALUE_INVALID', column: reader.name };
        line += '\\N';
        continue;
      }
      if (reader.mayBeLarge && value === LARGE_MARKER) return this.#largeRow(row);
      const text = reader.text(value);
      if (text instanceof Refusal) {
        return text === SUSPECT_TEXT ? this.#largeRow(row) : { code: text.code, column: reader.name };
      }
      line += reader.mayNeedEscape && NEEDS_ESCAPE.test(text) ? escapeField(text) : text;
    }
    return `${line}\n`;
  }

  /** A row with large or suspect values: its size first, then its values one by one, texts as the bytes that are stored. */
  #largeRow(row: unknown[]): string | { code: string; column: string } | undefined {
    const key = this.#keyOf(row);
    if (!key) {
      // A key that is itself broken or large cannot be fetched by.
      const broken = this.#readers.slice(0, this.#keyColumns).find((reader, i) => reader.text(row[i]) === SUSPECT_TEXT);
      if (broken) return { code: SUSPECT_TEXT.code, column: broken.name };
      return { code: 'ROW_TOO_LARGE', column: this.#readers[0]?.name ?? '' };
    }
    const where = `FROM ${this.#table} WHERE (${this.#keys.join(', ')}) = (${this.#keys.map(() => '?').join(', ')})`;
    const sizes = this.#readers.map((reader) => `coalesce(octet_length(${quote(reader.name)}), 0)`);
    const size = this.#db
      .prepare(`SELECT ${sizes.join(' + ')} ${where}`)
      .pluck()
      .get(...key);
    if (size === undefined) return undefined;
    if ((size as number) > MAX_ROW_BYTES) {
      const largest = this.#readers.findIndex((reader) => reader.mayBeLarge);
      return { code: 'ROW_TOO_LARGE', column: this.#readers[largest]?.name ?? '' };
    }
    const fields: string[] = [];
    for (const [i, reader] of this.#readers.entries()) {
      const column = quote(reader.name);
      const isText = reader.mayBeLarge;
      const select = isText ? `typeof(${column}) AS class, CAST(${column} AS BLOB) AS bytes, ` : '';
      const found = this.#db.prepare(`SELECT ${select}${reader.select(true)} AS value ${where}`).get(...key) as
        | { class?: string; bytes?: Buffer | null; value: unknown }
        | undefined;
      if (!found) return undefined;
      if (found.value === null) {
        if (i < this.#keyColumns) return { code: 'VALUE_INVALID', column: reader.name };
        fields.push('\\N');
        continue;
      }
      let text = reader.text(found.value);
      if (text === SUSPECT_TEXT && found.class === 'text' && found.bytes && isUtf8(found.bytes)) {
        // The character U+FFFD really stands in the text.
        text = String(found.value);
      }
      if (text instanceof Refusal) return { code: text.code, column: reader.name };
      fields.push(escapeField(text));
    }
    const line = `${fields.join('\t')}\n`;
    return Buffer.byteLength(line) > MAX_ROW_BYTES
      ? { code: 'ROW_TOO_LARGE', column: this.#readers.find((reader) => reader.mayBeLarge)?.name ?? '' }
      : line;
  }
}

function schemaError(message: string): QiaoError {
  return new QiaoError('SOURCE_SCHEMA', message, {
    hint: 'Compare the tables with the bridge: qiao bridge check -f FILE',
  });
}
