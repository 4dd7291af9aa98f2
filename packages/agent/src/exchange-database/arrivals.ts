/**
 * The last word of the node at the other end of a two-way pair, by key: the digest of the row that it sent, or that it has none. A change
 * found here that says the same is that word, landed, and need not go back. One per key: what was sent there since makes it void.
 *
 * Where a newer row stayed here against that word, the other end does not know it: it is sent back, once for each word.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

/** In place of a digest: the row was deleted. */
export const GONE = 'gone';

export interface Arrival {
  readonly key: string;
  /** As the digests have it, or GONE. */
  readonly digest: string;
}

export const ARRIVED = 'SELECT digest FROM arrival WHERE table_id = ? AND key = ?';
export const ANY_ARRIVED = 'SELECT 1 FROM arrival WHERE table_id = ? LIMIT 1';
export const ARRIVAL_OVER = 'DELETE FROM arrival WHERE table_id = ? AND key = ? AND digest = ?';
export const DUE = 'SELECT key, word AS digest FROM kept_row WHERE table_id = ? AND is_due = 1 LIMIT ?';
export const ANY_DUE = 'SELECT 1 FROM kept_row WHERE is_due = 1 LIMIT 1';
export const ANSWERED = 'DELETE FROM kept_row WHERE table_id = ? AND key = ? AND (word = ? OR is_due = 0)';
export const SENT_BACK = 'UPDATE kept_row SET is_due = 0 WHERE table_id = ? AND key = ? AND word = ?';
export const SETTLED = 'DELETE FROM kept_row WHERE table_id = ? AND key = ? AND word = ?';
export const ANY_KEPT = 'SELECT 1 FROM kept_row WHERE table_id = ? LIMIT 1';
export const KEPT = 'SELECT word FROM kept_row WHERE table_id = ? AND key = ?';
const KEEP = `INSERT INTO kept_row (table_id, key, word) VALUES (?, ?, ?)
 ON CONFLICT (table_id, key) DO UPDATE SET word = excluded.word, is_due = 1 WHERE word <> excluded.word`;
const PUT = `INSERT INTO arrival (table_id, key, digest) VALUES (?, ?, ?)
 ON CONFLICT (table_id, key) DO UPDATE SET digest = excluded.digest`;

export class ArrivalStore {
  readonly #get: Statement<[number, string], string>;
  readonly #any: Statement<[number], number>;
  readonly #put: Statement<[number, string, string]>;
  readonly #over: Statement<[number, string, string]>;
  readonly #keep: Statement<[number, string, string]>;
  readonly #due: Statement<[number, number], Arrival>;
  readonly #anyDue: Statement<[], number>;
  readonly #answered: Statement<[number, string, string]>;
  readonly #sentBack: Statement<[number, string, string]>;
  readonly #settled: Statement<[number, string, string]>;
  readonly #anyKept: Statement<[number], number>;
  readonly #kept: Statement<[number, string], string>;

  constructor(sqlite: Sqlite) {
    this.#get = sqlite.prepare<[number, string], string>(ARRIVED).pluck();
    this.#any = sqlite.prepare<[number], number>(ANY_ARRIVED).pluck();
    this.#put = sqlite.prepare(PUT);
    this.#over = sqlite.prepare(ARRIVAL_OVER);
    this.#keep = sqlite.prepare(KEEP);
    this.#due = sqlite.prepare(DUE);
    this.#anyKept = sqlite.prepare<[number], number>(ANY_KEPT).pluck();
    this.#kept = sqlite.prepare<[number, string], string>(KEPT).pluck();
    this.#anyDue = sqlite.prepare<[], number>(ANY_DUE).pluck();
    this.#answered = sqlite.prepare(ANSWERED);
    this.#sentBack = sqlite.prepare(SENT_BACK);
    this.#settled = sqlite.prepare(SETTLED);
  }

  put(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#put.run(tableId, key, digest);
  }

  /** Those of these keys that there are, by key. */
  getMany(tableId: number, keys: readonly string[]): Map<string, string> {
    if (this.#any.get(tableId) === undefined) return new Map();
    return this.#found(this.#get, tableId, keys);
  }

  /** Forgets these, and what stayed against them or was sent back under their keys; one that a later word has replaced stays. */
  forget(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) {
      this.#over.run(tableId, key, digest);
      this.#answered.run(tableId, key, digest);
    }
  }

  /** Rows here may have stayed against these. One that was sent back against the same word is not sent again. */
  keepAgainst(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#keep.run(tableId, key, digest);
  }

  /** Of any table. */
  get isAnyDueBack(): boolean {
    return this.#anyDue.get() !== undefined;
  }

  /** Rows that are to be sent back, unless they are what the other end has: key, and the word they stayed against; at most `limit`. */
  dueBack(tableId: number, limit: number): Arrival[] {
    return this.#due.all(tableId, limit);
  }

  /** Those of these keys under which a row stayed here, with the word it stayed against; sent back already or not. */
  keptOf(tableId: number, keys: readonly string[]): Map<string, string> {
    if (this.#anyKept.get(tableId) === undefined) return new Map();
    return this.#found(this.#kept, tableId, keys);
  }

  /** The rows here were sent back against these words, which are void. */
  sentBack(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) {
      this.#over.run(tableId, key, digest);
      this.#sentBack.run(tableId, key, digest);
    }
  }

  /** Nothing is to be sent back against these words. */
  settleBack(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#settled.run(tableId, key, digest);
  }

  #found(
    statement: Statement<[number, string], string>,
    tableId: number,
    keys: readonly string[],
  ): Map<string, string> {
    const found = new Map<string, string>();
    for (const key of keys) {
      const digest = statement.get(tableId, key);
      if (digest !== undefined) found.set(key, digest);
    }
    return found;
  }
}
