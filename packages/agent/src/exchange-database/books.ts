/**
 * This node's books: entries numbered from 1 without holes, written in the transaction of the event that they record,
 * kept until the monitor holds them on disk.
 */
import { randomBytes } from 'node:crypto';
import { BookEntry } from '@qiao/contract/control';
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

export type BookEntryBody = NonNullable<BookEntry['entry']>;

export interface StoredBookEntry {
  readonly number: bigint;
  /** Encoded BookEntry. */
  readonly entry: Uint8Array;
  /** When it was written, milliseconds since 1970 UTC. */
  readonly atMs: number;
}

export interface BookCursor {
  /** Highest number given out; 0n for none. */
  readonly last: bigint;
  /** Highest number that was handed to the bus. */
  readonly published: bigint;
  /** Highest number on the monitor's disk. */
  readonly through: bigint;
}

const MARK_BYTES = 8;
const RENUMBER_ROWS = 500;
const NEXT_NUMBER = 'UPDATE book_cursor SET last = last + 1 WHERE id = 1 RETURNING last';
const ADD = 'INSERT INTO book (number, entry, at_ms) VALUES (?, ?, ?)';
export const BOOKS_AFTER = 'SELECT number, entry, at_ms FROM book WHERE number > ? ORDER BY number LIMIT ?';
const CURSOR = 'SELECT last, published, through FROM book_cursor WHERE id = 1';
const PUBLISHED = 'UPDATE book_cursor SET published = ? WHERE id = 1';
const THROUGH = 'UPDATE book_cursor SET through = max(through, min(?, last)) WHERE id = 1';
const ENTRY = 'SELECT entry FROM book WHERE number = ?';
const RENUMBER = 'UPDATE book SET number = ?, entry = ? WHERE number = ?';
const BEGIN_ANEW = 'UPDATE book_cursor SET last = ?, published = 0, through = 0 WHERE id = 1';
export const REMOVE_BOOKS =
  'DELETE FROM book WHERE number <= (SELECT through FROM book_cursor WHERE id = 1) AND number <= ?';

export class BookStore {
  readonly #sqlite: Sqlite;
  #databaseId: Uint8Array;
  readonly #nextNumber: Statement<[], number>;
  readonly #add: Statement;
  readonly #after: Statement<[bigint, number], { number: number; entry: Buffer; at_ms: number }>;
  readonly #entry: Statement<[bigint], Buffer>;
  readonly #renumber: Statement;
  readonly #beginAnew: Statement;
  readonly #cursor: Statement<[], { last: number; published: number; through: number }>;
  readonly #published: Statement;
  readonly #through: Statement;
  readonly #removeThrough: Statement;

  constructor(sqlite: Sqlite, databaseId: Uint8Array) {
    this.#sqlite = sqlite;
    this.#databaseId = databaseId;
    this.#nextNumber = sqlite.prepare<[], number>(NEXT_NUMBER).pluck();
    this.#add = sqlite.prepare(ADD);
    this.#after = sqlite.prepare(BOOKS_AFTER);
    this.#entry = sqlite.prepare<[bigint], Buffer>(ENTRY).pluck();
    this.#renumber = sqlite.prepare(RENUMBER);
    this.#beginAnew = sqlite.prepare(BEGIN_ANEW);
    this.#cursor = sqlite.prepare(CURSOR);
    this.#published = sqlite.prepare(PUBLISHED);
    this.#through = sqlite.prepare(THROUGH);
    this.#removeThrough = sqlite.prepare(REMOVE_BOOKS);
  }

  /** Appends an entry and returns its number. Throws outside a transaction: an entry stands or falls with its event. */
  append(entry: BookEntryBody, atMs: number): bigint {
    if (!this.#sqlite.inTransaction) throw new Error('a book entry is written only in the transaction of its event');
    const number = BigInt(this.#nextNumber.get() as number);
    const bytes = BookEntry.encode({
      number,
      exchangeDatabaseId: this.#databaseId,
      entry,
      mark: randomBytes(MARK_BYTES),
    }).finish();
    this.#add.run(number, bytes, atMs);
    return number;
  }

  /** Entries after `number`, oldest first, at most `limit`. */
  after(number: bigint, limit: number): StoredBookEntry[] {
    return this.#after.all(number, limit).map((row) => ({
      number: BigInt(row.number),
      entry: row.entry,
      atMs: row.at_ms,
    }));
  }

  /** When the oldest entry was written that the monitor is not known to hold, milliseconds since 1970 UTC; undefined for none. */
  waitingSinceMs(): number | undefined {
    return this.#after.all(this.cursor().through, 1)[0]?.at_ms;
  }

  /** The mark of an entry that is kept; undefined for one that is not. */
  markOf(number: bigint): Uint8Array | undefined {
    const entry = this.#entry.get(number);
    return entry === undefined ? undefined : BookEntry.decode(entry).mark;
  }

  /**
   * Numbers everything that is kept from 1 again, under another identity. Throws outside a transaction. A monitor that holds some of it
   * already knows each by what it says, not by its number.
   */
  beginAnew(databaseId: Uint8Array): void {
    if (!this.#sqlite.inTransaction) throw new Error('books are numbered anew in one transaction');
    let last = 0n;
    for (let before = 0n; ; ) {
      const rows = this.after(before, RENUMBER_ROWS);
      if (rows.length === 0) break;
      for (const row of rows) {
        last += 1n;
        before = row.number;
        const entry = { ...BookEntry.decode(row.entry), number: last, exchangeDatabaseId: databaseId };
        // Never above the number it had, and those below are done: no two meet.
        this.#renumber.run(last, BookEntry.encode(entry).finish(), row.number);
      }
    }
    this.#beginAnew.run(last);
    this.#databaseId = databaseId;
  }

  cursor(): BookCursor {
    const row = this.#cursor.get() ?? { last: 0, published: 0, through: 0 };
    return { last: BigInt(row.last), published: BigInt(row.published), through: BigInt(row.through) };
  }

  /** Handed to the bus up to `number`; going backwards publishes again from there. */
  setPublished(number: bigint): void {
    this.#published.run(number);
  }

  /** The monitor holds everything up to `number`. Never moves backwards. */
  setThrough(number: bigint): void {
    this.#through.run(number);
  }

  /** Removes entries that the monitor holds, except those after `keepAfter`. Returns how many. */
  removeThrough(keepAfter: bigint): number {
    return this.#removeThrough.run(keepAfter).changes;
  }
}
