/**
 * This node's books: entries numbered from 1 without holes, written in the transaction of the event that they record,
 * kept until the monitor holds them on disk.
 */
import { BookEntry } from '@qiao/contract/control';
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './database.ts';

export type BookEntryBody = NonNullable<BookEntry['entry']>;

export interface StoredBookEntry {
  readonly number: bigint;
  /** Encoded BookEntry. */
  readonly entry: Uint8Array;
}

export interface BookCursor {
  /** Highest number given out; 0n for none. */
  readonly last: bigint;
  /** Highest number that was handed to the bus. */
  readonly published: bigint;
  /** Highest number on the monitor's disk. */
  readonly through: bigint;
}

const NEXT_NUMBER = 'UPDATE book_cursor SET last = last + 1 WHERE id = 1 RETURNING last';
const ADD = 'INSERT INTO book (number, entry, at_ms) VALUES (?, ?, ?)';
export const BOOKS_AFTER = 'SELECT number, entry FROM book WHERE number > ? ORDER BY number LIMIT ?';
const CURSOR = 'SELECT last, published, through FROM book_cursor WHERE id = 1';
const PUBLISHED = 'UPDATE book_cursor SET published = ? WHERE id = 1';
const THROUGH = 'UPDATE book_cursor SET through = max(through, min(?, last)) WHERE id = 1';
export const REMOVE_BOOKS =
  'DELETE FROM book WHERE number <= (SELECT through FROM book_cursor WHERE id = 1) AND number <= ?';

export class BookStore {
  readonly #sqlite: Sqlite;
  readonly #databaseId: Uint8Array;
  readonly #nextNumber: Statement<[], number>;
  readonly #add: Statement;
  readonly #after: Statement<[bigint, number], { number: number; entry: Buffer }>;
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
    this.#cursor = sqlite.prepare(CURSOR);
    this.#published = sqlite.prepare(PUBLISHED);
    this.#through = sqlite.prepare(THROUGH);
    this.#removeThrough = sqlite.prepare(REMOVE_BOOKS);
  }

  /** Appends an entry and returns its number. Throws outside a transaction: an entry stands or falls with its event. */
  append(entry: BookEntryBody, atMs: number): bigint {
    if (!this.#sqlite.inTransaction) throw new Error('a book entry is written only in the transaction of its event');
    const number = BigInt(this.#nextNumber.get() as number);
    const bytes = BookEntry.encode({ number, exchangeDatabaseId: this.#databaseId, entry }).finish();
    this.#add.run(number, bytes, atMs);
    return number;
  }

  /** Entries after `number`, oldest first, at most `limit`. */
  after(number: bigint, limit: number): StoredBookEntry[] {
    return this.#after.all(number, limit).map((row) => ({ number: BigInt(row.number), entry: row.entry }));
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
