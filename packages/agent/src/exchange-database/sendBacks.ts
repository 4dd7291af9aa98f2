/**
 * Rows that stayed here against what another node sent, which does not know the newer one: they are sent back to it, once for each word of
 * it. The word itself is in arrivals.ts.
 */
import type { Statement } from 'better-sqlite3';
import type { Arrival } from './arrivals.ts';
import type { Sqlite } from './connection.ts';

export const DUE_BACK = 'SELECT key, word AS digest FROM kept_row WHERE table_id = ? AND is_due = 1 LIMIT ?';
const ANY_DUE_BACK = 'SELECT 1 FROM kept_row WHERE is_due = 1 LIMIT 1';
export const ANSWERED = 'DELETE FROM kept_row WHERE table_id = ? AND key = ? AND (word = ? OR is_due = 0)';
export const SENT_BACK = 'UPDATE kept_row SET is_due = 0 WHERE table_id = ? AND key = ? AND word = ?';
export const SETTLED = 'DELETE FROM kept_row WHERE table_id = ? AND key = ? AND word = ?';
const ANY_KEPT = 'SELECT 1 FROM kept_row WHERE table_id = ? LIMIT 1';
export const KEPT = 'SELECT word FROM kept_row WHERE table_id = ? AND key = ?';
const KEEP = `INSERT INTO kept_row (table_id, key, word) VALUES (?, ?, ?)
 ON CONFLICT (table_id, key) DO UPDATE SET word = excluded.word, is_due = 1 WHERE word <> excluded.word`;

export class SendBackStore {
  readonly #keep: Statement<[number, string, string]>;
  readonly #due: Statement<[number, number], Arrival>;
  readonly #anyDue: Statement<[], number>;
  readonly #answered: Statement<[number, string, string]>;
  readonly #sentBack: Statement<[number, string, string]>;
  readonly #settled: Statement<[number, string, string]>;
  readonly #anyKept: Statement<[number], number>;
  readonly #kept: Statement<[number, string], string>;

  constructor(sqlite: Sqlite) {
    this.#keep = sqlite.prepare(KEEP);
    this.#due = sqlite.prepare(DUE_BACK);
    this.#anyDue = sqlite.prepare<[], number>(ANY_DUE_BACK).pluck();
    this.#answered = sqlite.prepare(ANSWERED);
    this.#sentBack = sqlite.prepare(SENT_BACK);
    this.#settled = sqlite.prepare(SETTLED);
    this.#anyKept = sqlite.prepare<[number], number>(ANY_KEPT).pluck();
    this.#kept = sqlite.prepare<[number, string], string>(KEPT).pluck();
  }

  /** Rows here may have stayed against these. One that was sent back against the same word is not sent again. */
  keepAgainst(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#keep.run(tableId, key, digest);
  }

  /** Of any table. */
  get isAnyDue(): boolean {
    return this.#anyDue.get() !== undefined;
  }

  /** Rows that are to be sent back, unless they are what the other end has: key, and the word they stayed against; at most `limit`. */
  due(tableId: number, limit: number): Arrival[] {
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

  /** The rows here were sent back against these words. */
  sent(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#sentBack.run(tableId, key, digest);
  }

  /** Nothing is to be sent back against these words. */
  settle(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#settled.run(tableId, key, digest);
  }

  /** What happened to these rows since goes anyway; what was sent back under their keys is forgotten, too. */
  forget(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#answered.run(tableId, key, digest);
  }
}
