/**
 * What the last finished scan refused at each table: counts by code and column, and the keys of some of the rows, so that the
 * department finds them. Replaced when a scan of the whole table finishes; between two of them what a cursor, a trigger or the log finds
 * is added, and what is found to be mended goes. Its size is bounded whatever a table holds.
 */
import { createHmac } from 'node:crypto';
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

/** Rows that are remembered by their keys, per table; the rest is counted. */
export const REFUSED_KEPT = 1_000;

/** A row that a cursor cannot find again, for it has no value. */
export const VALUELESS = 'CURSOR_NULL';

export interface RefusalCount {
  readonly code: string;
  readonly column: string;
  /** Rows. */
  readonly count: number;
}

export interface RefusedKey {
  readonly code: string;
  readonly column: string;
  /** As in the digests. */
  readonly key: string;
}

export interface KeptRefusal extends RefusedKey {
  /** 20 hexadecimal digits: opaque, the same for the same key of the same table. */
  readonly ref: string;
}

export const COUNTS =
  'SELECT code, column_name AS "column", rows AS count FROM refusal_count WHERE table_id = ? ORDER BY code, column_name';
export const KEPT =
  'SELECT ref, code, column_name AS "column", key FROM refused_row WHERE table_id = ? ORDER BY number LIMIT ?';
export const OF_BRIDGE = `SELECT coalesce(sum(c.rows), 0) FROM capture_table t JOIN refusal_count c ON c.table_id = t.id
 WHERE t.bridge = ?`;
const ADD_COUNT = 'INSERT INTO refusal_count (table_id, code, column_name, rows) VALUES (?, ?, ?, ?)';
const ADD_TO_COUNT = `INSERT INTO refusal_count (table_id, code, column_name, rows) VALUES (?, ?, ?, ?)
 ON CONFLICT (table_id, code, column_name) DO UPDATE SET rows = rows + excluded.rows`;
const SET_COUNT = `INSERT INTO refusal_count (table_id, code, column_name, rows) VALUES (?, ?, ?, ?)
 ON CONFLICT (table_id, code, column_name) DO UPDATE SET rows = excluded.rows`;
const TAKE = 'DELETE FROM refused_row WHERE table_id = ? AND key = ? RETURNING code, column_name AS "column"';
const UNCOUNT_ONE = 'UPDATE refusal_count SET rows = rows - 1 WHERE table_id = ? AND code = ? AND column_name = ?';
const DROP_EMPTY = 'DELETE FROM refusal_count WHERE table_id = ? AND rows <= 0';
const NEXT_NUMBER = 'SELECT coalesce(max(number) + 1, 0) FROM refused_row WHERE table_id = ?';
const ADD_ROW = 'INSERT INTO refused_row (table_id, number, ref, code, column_name, key) VALUES (?, ?, ?, ?, ?, ?)';

export class RefusalStore {
  readonly #sqlite: Sqlite;
  readonly #secret: Uint8Array;
  readonly #counts: Statement<[number], RefusalCount>;
  readonly #kept: Statement<[number, number], KeptRefusal>;
  readonly #ofBridge: Statement<[Uint8Array], number>;
  readonly #addCount: Statement<[number, string, string, number]>;
  readonly #addToCount: Statement<[number, string, string, number]>;
  readonly #setCount: Statement<[number, string, string, number]>;
  readonly #addRow: Statement<[number, number, string, string, string, string]>;
  readonly #nextNumber: Statement<[number], number>;
  readonly #take: Statement<[number, string], Pick<RefusedKey, 'code' | 'column'>>;
  readonly #uncountOne: Statement<[number, string, string]>;
  readonly #dropEmpty: Statement<[number]>;

  /** `secret` makes references opaque. */
  constructor(sqlite: Sqlite, secret: Uint8Array) {
    this.#sqlite = sqlite;
    this.#secret = secret;
    this.#counts = sqlite.prepare(COUNTS);
    this.#kept = sqlite.prepare(KEPT);
    this.#ofBridge = sqlite.prepare<[Uint8Array], number>(OF_BRIDGE).pluck();
    this.#addCount = sqlite.prepare(ADD_COUNT);
    this.#addToCount = sqlite.prepare(ADD_TO_COUNT);
    this.#setCount = sqlite.prepare(SET_COUNT);
    this.#addRow = sqlite.prepare(ADD_ROW);
    this.#nextNumber = sqlite.prepare<[number], number>(NEXT_NUMBER).pluck();
    this.#take = sqlite.prepare(TAKE);
    this.#uncountOne = sqlite.prepare(UNCOUNT_ONE);
    this.#dropEmpty = sqlite.prepare(DROP_EMPTY);
  }

  /** Puts a finished scan's findings in the place of the last one's; in the transaction that finishes it. */
  replace(tableId: number, counts: readonly RefusalCount[], rows: readonly RefusedKey[]): void {
    for (const table of ['refusal_count', 'refused_row']) {
      this.#sqlite.prepare(`DELETE FROM ${table} WHERE table_id = ?`).run(tableId);
    }
    for (const { code, column, count } of counts) this.#addCount.run(tableId, code, column, count);
    for (const [number, { code, column, key }] of rows.entries()) {
      this.#addRow.run(tableId, number, this.#refOf(tableId, key), code, column, key);
    }
  }

  /** Adds rows of a part of the table; what is known already, or has no room, changes nothing. */
  extend(tableId: number, rows: readonly RefusedKey[]): void {
    if (rows.length === 0) return;
    const known = this.keys(tableId);
    let number = this.#nextNumber.get(tableId) ?? 0;
    for (const { code, column, key } of rows) {
      if (known.has(key) || known.size >= REFUSED_KEPT) continue;
      this.#addRow.run(tableId, number++, this.#refOf(tableId, key), code, column, key);
      known.add(key);
      this.#addToCount.run(tableId, code, column, 1);
    }
  }

  /**
   * Rows that a part of the table showed, and that have no key: `more` of them are new, of the codes that were counted least till now. Rows
   * without a value for the cursor are counted whole each time, and taken as found.
   */
  count(tableId: number, found: readonly RefusalCount[], more: number): void {
    const known = this.counts(tableId);
    for (const { code, column } of known) if (code === VALUELESS) this.#setCount.run(tableId, code, column, 0);
    for (const { code, column, count } of found) {
      if (code === VALUELESS) this.#setCount.run(tableId, code, column, count);
    }
    const unknown = ({ code, column, count }: RefusalCount): number =>
      count - (known.find((one) => one.code === code && one.column === column)?.count ?? 0);
    let left = more;
    const rest = found.filter(({ code }) => code !== VALUELESS).sort((a, b) => unknown(b) - unknown(a));
    for (const { code, column, count } of rest) {
      const rows = Math.min(left, count);
      if (rows > 0) this.#addToCount.run(tableId, code, column, rows);
      left -= rows;
    }
    this.#dropEmpty.run(tableId);
  }

  /** Rows that travel now, or are gone; those that are not known change nothing. */
  forget(tableId: number, keys: Iterable<string>): void {
    for (const key of keys) {
      for (const { code, column } of this.#take.all(tableId, key)) this.#uncountOne.run(tableId, code, column);
    }
    this.#dropEmpty.run(tableId);
  }

  /** Keys of the rows that are remembered. */
  keys(tableId: number): Set<string> {
    return new Set(this.rows(tableId, REFUSED_KEPT).map(({ key }) => key));
  }

  counts(tableId: number): RefusalCount[] {
    return this.#counts.all(tableId);
  }

  /** Rows that do not travel, over all tables of a bridge. */
  ofBridge(bridge: Uint8Array): number {
    return this.#ofBridge.get(bridge) ?? 0;
  }

  /** The first of them, at most `limit`. */
  rows(tableId: number, limit: number): KeptRefusal[] {
    return this.#kept.all(tableId, limit);
  }

  #refOf(tableId: number, key: string): string {
    return createHmac('sha256', this.#secret).update(`refused/${tableId}/${key}`, 'utf8').digest('hex').slice(0, 20);
  }
}
