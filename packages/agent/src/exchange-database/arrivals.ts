/**
 * The last word of another node, by key: the digest of the row that it sent, or that it has none, and the tables that the change had passed. A
 * change found here that says the same is that word, landed: it goes on with its path, and never to a table that it passed. One per key: what
 * was sent from here since makes it void.
 *
 * Where a newer row stayed here against that word, the other end does not know it: it is sent back, once for each word.
 */
import type { Path } from '@qiao/exchange';
import type { Statement } from 'better-sqlite3';
import { ArrivalPaths } from './arrivalPaths.ts';
import type { Sqlite } from './connection.ts';

/** In place of a digest: the row was deleted. */
export const GONE = 'gone';

export interface Arrival {
  readonly key: string;
  /** As the digests have it, or GONE. */
  readonly digest: string;
}

/** What was said of one row. */
export interface Word {
  /** As the digests have it, or GONE. */
  readonly digest: string;
  readonly path: Path;
}

export const ARRIVED = `SELECT digest, format, path FROM arrival JOIN arrival_path ON id = path_id
 WHERE table_id = ? AND key = ?`;
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
const PUT = `INSERT INTO arrival (table_id, key, digest, path_id) VALUES (?, ?, ?, ?)
 ON CONFLICT (table_id, key) DO UPDATE SET digest = excluded.digest, path_id = excluded.path_id`;

export class ArrivalStore {
  readonly #get: Statement<[number, string], { digest: string; format: number; path: string }>;
  readonly #any: Statement<[number], number>;
  readonly #put: Statement<[number, string, string, number]>;
  readonly #paths: ArrivalPaths;
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
    this.#get = sqlite.prepare(ARRIVED);
    this.#paths = new ArrivalPaths(sqlite);
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

  /** All came by this path. */
  put(tableId: number, arrivals: readonly Arrival[], path: Path): void {
    if (arrivals.length === 0) return;
    const pathId = this.#paths.idOf(path);
    for (const { key, digest } of arrivals) this.#put.run(tableId, key, digest, pathId);
  }

  hasAny(tableId: number): boolean {
    return this.#any.get(tableId) !== undefined;
  }

  /** Those of these keys that there are, by key. */
  getMany(tableId: number, keys: readonly string[]): Map<string, Word> {
    const found = new Map<string, Word>();
    if (!this.hasAny(tableId)) return found;
    for (const key of keys) {
      const word = this.#get.get(tableId, key);
      if (word !== undefined) found.set(key, { digest: word.digest, path: this.#paths.read(word.format, word.path) });
    }
    return found;
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
    const found = new Map<string, string>();
    if (this.#anyKept.get(tableId) === undefined) return found;
    for (const key of keys) {
      const word = this.#kept.get(tableId, key);
      if (word !== undefined) found.set(key, word);
    }
    return found;
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
}
