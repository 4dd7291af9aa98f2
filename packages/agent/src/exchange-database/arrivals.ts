/**
 * The last word of the node at the other end of a two-way pair, by key: the digest of the row that it sent, or that it has none. A change
 * found here that says the same is that word, landed, and need not go back. One per key: what was sent there since makes it void.
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
const PUT = `INSERT INTO arrival (table_id, key, digest) VALUES (?, ?, ?)
 ON CONFLICT (table_id, key) DO UPDATE SET digest = excluded.digest`;

export class ArrivalStore {
  readonly #get: Statement<[number, string], string>;
  readonly #any: Statement<[number], number>;
  readonly #put: Statement<[number, string, string]>;
  readonly #over: Statement<[number, string, string]>;

  constructor(sqlite: Sqlite) {
    this.#get = sqlite.prepare<[number, string], string>(ARRIVED).pluck();
    this.#any = sqlite.prepare<[number], number>(ANY_ARRIVED).pluck();
    this.#put = sqlite.prepare(PUT);
    this.#over = sqlite.prepare(ARRIVAL_OVER);
  }

  put(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#put.run(tableId, key, digest);
  }

  /** Those of these keys that there are, by key. */
  getMany(tableId: number, keys: readonly string[]): Map<string, string> {
    const found = new Map<string, string>();
    if (this.#any.get(tableId) === undefined) return found;
    for (const key of keys) {
      const digest = this.#get.get(tableId, key);
      if (digest !== undefined) found.set(key, digest);
    }
    return found;
  }

  /** Forgets these; one that a later word has replaced stays. */
  forget(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#over.run(tableId, key, digest);
  }
}
