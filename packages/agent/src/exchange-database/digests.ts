/**
 * Row digests: what the destinations were last sent, one per source row, and the working list of keys a running scan has
 * not met yet.
 *
 * An unchanged row is only read here, never written: a scan of a table at rest leaves no page dirty. (Stamping every row
 * with the scan's number would rewrite the whole table in each scan.) The list of unmet keys is a temporary table: it
 * needs no durability, because an interrupted scan proves nothing and starts again.
 */
import type { Statement } from 'better-sqlite3';
import { GONE } from './arrivals.ts';
import type { Sqlite } from './connection.ts';
import { type DigestRun, DigestRunStore } from './digestRuns.ts';

/** key, digest (32 hexadecimal digits), sent (1 or 0). A tuple, because millions of them pass by. */
export type DigestRow = [key: string, digest: string, sent: number];

export interface DigestChange {
  readonly key: string;
  readonly digest: string;
  readonly sent: boolean;
}

/** Rows of one multi-row statement: fewer calls, and still far below SQLite's limit of bound values. */
const ROWS_PER_STATEMENT = 64;

export const RANGE = `SELECT key, digest, sent FROM row_digest
 WHERE table_id = ? AND key > ? AND key <= ? ORDER BY key LIMIT ?`;
export const AFTER = `SELECT key, digest, sent FROM row_digest WHERE table_id = ? AND key > ? ORDER BY key LIMIT ?`;
export const GET = 'SELECT key, digest, sent FROM row_digest WHERE table_id = ? AND key = ?';
export const GET_MANY = `SELECT key, digest, sent FROM row_digest WHERE table_id = ? AND key IN (${'?,'.repeat(ROWS_PER_STATEMENT).slice(0, -1)})`;
export const REMOVE = 'DELETE FROM row_digest WHERE table_id = ? AND key = ?';
export const REMOVE_SOME = `DELETE FROM row_digest WHERE table_id = @tableId AND key IN
 (SELECT key FROM row_digest WHERE table_id = @tableId LIMIT @limit)`;
export const FORGET_SOME = `UPDATE row_digest SET digest = '' WHERE table_id = @tableId AND key IN
 (SELECT key FROM row_digest WHERE table_id = @tableId AND digest <> '' LIMIT @limit)`;
const UNSEEN_TABLE = `CREATE TEMP TABLE IF NOT EXISTS unseen
 (table_id INTEGER NOT NULL, key TEXT NOT NULL, sent INTEGER NOT NULL, PRIMARY KEY (table_id, key)) STRICT, WITHOUT ROWID`;
export const UNSEEN_AFTER = 'SELECT key, sent FROM temp.unseen WHERE table_id = ? AND key > ? ORDER BY key LIMIT ?';

/** But for those that another node said it deleted. */
const UNSEEN_OWN = `SELECT count(*) FROM temp.unseen AS u WHERE table_id = ? AND sent = 1 AND NOT EXISTS
 (SELECT 1 FROM arrival AS a WHERE a.table_id = u.table_id AND a.key = u.key AND a.digest = '${GONE}')`;

function upsertSql(rows: number): string {
  return `INSERT INTO row_digest (table_id, key, digest, sent) VALUES ${'(?,?,?,?),'.repeat(rows).slice(0, -1)}
 ON CONFLICT (table_id, key) DO UPDATE SET digest = excluded.digest, sent = excluded.sent`;
}

function unseenSql(rows: number): string {
  return `INSERT OR REPLACE INTO temp.unseen (table_id, key, sent) VALUES ${'(?,?,?),'.repeat(rows).slice(0, -1)}`;
}

export class DigestStore {
  /** Runs of untouched digests: every change here drops those around it. */
  readonly runs: DigestRunStore;
  readonly #range: Statement<[number, string, string, number], DigestRow>;
  readonly #after: Statement<[number, string, number], DigestRow>;
  readonly #get: Statement<[number, string], DigestRow>;
  readonly #getMany: Statement<unknown[], DigestRow>;
  readonly #upsertOne: Statement;
  readonly #upsertMany: Statement;
  readonly #remove: Statement<[number, string]>;
  readonly #removeSome: Statement<[{ tableId: number; limit: number }]>;
  readonly #forgetSome: Statement<[{ tableId: number; limit: number }]>;
  readonly #unseenOne: Statement;
  readonly #unseenMany: Statement;
  readonly #unseenAfter: Statement<[number, string, number], [string, number]>;
  readonly #unseenRemove: Statement<[number, string]>;
  readonly #unseenClear: Statement<[number]>;
  readonly #unseenCount: Statement<[number], number>;
  readonly #unseenOwn: Statement<[number], number>;

  constructor(sqlite: Sqlite) {
    sqlite.exec(UNSEEN_TABLE);
    this.runs = new DigestRunStore(sqlite);
    this.#range = sqlite.prepare<[number, string, string, number], DigestRow>(RANGE).raw();
    this.#after = sqlite.prepare<[number, string, number], DigestRow>(AFTER).raw();
    this.#get = sqlite.prepare<[number, string], DigestRow>(GET).raw();
    this.#getMany = sqlite.prepare<unknown[], DigestRow>(GET_MANY).raw();
    this.#upsertOne = sqlite.prepare(upsertSql(1));
    this.#upsertMany = sqlite.prepare(upsertSql(ROWS_PER_STATEMENT));
    this.#remove = sqlite.prepare(REMOVE);
    this.#removeSome = sqlite.prepare(REMOVE_SOME);
    this.#forgetSome = sqlite.prepare(FORGET_SOME);
    this.#unseenOne = sqlite.prepare(unseenSql(1));
    this.#unseenMany = sqlite.prepare(unseenSql(ROWS_PER_STATEMENT));
    this.#unseenAfter = sqlite.prepare<[number, string, number], [string, number]>(UNSEEN_AFTER).raw();
    this.#unseenRemove = sqlite.prepare('DELETE FROM temp.unseen WHERE table_id = ? AND key = ?');
    this.#unseenClear = sqlite.prepare('DELETE FROM temp.unseen WHERE table_id = ?');
    this.#unseenCount = sqlite
      .prepare<[number], number>('SELECT count(*) FROM temp.unseen WHERE table_id = ? AND sent = 1')
      .pluck();
    this.#unseenOwn = sqlite.prepare<[number], number>(UNSEEN_OWN).pluck();
  }

  /** Digests with `after < key <= through` in ascending order of key, at most `limit`. */
  range(tableId: number, after: string, through: string, limit: number): DigestRow[] {
    return this.#range.all(tableId, after, through, limit);
  }

  /** Digests with `key > after` in ascending order of key, at most `limit`. */
  after(tableId: number, after: string, limit: number): DigestRow[] {
    return this.#after.all(tableId, after, limit);
  }

  get(tableId: number, key: string): DigestRow | undefined {
    return this.#get.get(tableId, key);
  }

  /** Those of these keys that there are, by key. Ascending keys are found without reading a page twice. */
  getMany(tableId: number, keys: readonly string[]): Map<string, DigestRow> {
    const found = new Map<string, DigestRow>();
    for (let at = 0; at < keys.length; at += ROWS_PER_STATEMENT) {
      const some: (string | null)[] = keys.slice(at, at + ROWS_PER_STATEMENT);
      while (some.length < ROWS_PER_STATEMENT) some.push(null);
      for (const row of this.#getMany.all(tableId, ...some)) found.set(row[0], row);
    }
    return found;
  }

  put(tableId: number, changes: readonly DigestChange[]): void {
    this.runs.touch(
      tableId,
      changes.map(({ key }) => key),
    );
    let at = 0;
    const many: unknown[] = [];
    for (; at + ROWS_PER_STATEMENT <= changes.length; at += ROWS_PER_STATEMENT) {
      for (let i = 0, p = 0; i < ROWS_PER_STATEMENT; i++) {
        const change = changes[at + i] as DigestChange;
        many[p++] = tableId;
        many[p++] = change.key;
        many[p++] = change.digest;
        many[p++] = change.sent ? 1 : 0;
      }
      this.#upsertMany.run(...many);
    }
    for (; at < changes.length; at++) {
      const change = changes[at] as DigestChange;
      this.#upsertOne.run(tableId, change.key, change.digest, change.sent ? 1 : 0);
    }
  }

  remove(tableId: number, keys: readonly string[]): void {
    this.runs.touch(tableId, keys);
    for (const key of keys) this.#remove.run(tableId, key);
  }

  /** What a scan found until a flush, in the flush's transaction. `runs` is the list that it holds. */
  settle(
    tableId: number,
    found: { readonly put: readonly DigestChange[]; readonly removed: readonly string[]; readonly runs: DigestRun[] },
  ): void {
    const runs = this.runs.release(tableId, found.runs);
    this.put(tableId, found.put);
    this.remove(tableId, found.removed);
    for (const run of runs) this.runs.add(tableId, run);
  }

  /** Removes up to `limit` digests of a table; returns how many. Call until 0 to drop a table in bounded transactions. */
  removeSome(tableId: number, limit: number): number {
    this.runs.clear(tableId);
    return this.#removeSome.run({ tableId, limit }).changes;
  }

  /**
   * Makes up to `limit` rows of the table differ from their digests; returns how many. Called until 0, the next scan sends
   * every row.
   */
  forgetSome(tableId: number, limit: number): number {
    this.runs.clear(tableId);
    return this.#forgetSome.run({ tableId, limit }).changes;
  }

  /** Notes stored keys that the scan passed without meeting them. */
  noteUnseen(tableId: number, rows: readonly DigestRow[]): void {
    let at = 0;
    const many: unknown[] = [];
    for (; at + ROWS_PER_STATEMENT <= rows.length; at += ROWS_PER_STATEMENT) {
      for (let i = 0, p = 0; i < ROWS_PER_STATEMENT; i++) {
        const row = rows[at + i] as DigestRow;
        many[p++] = tableId;
        many[p++] = row[0];
        many[p++] = row[2];
      }
      this.#unseenMany.run(...many);
    }
    for (; at < rows.length; at++) {
      const row = rows[at] as DigestRow;
      this.#unseenOne.run(tableId, row[0], row[2]);
    }
  }

  /** A key turned up after all (the source sorts otherwise). False when it was not on the list. */
  meetUnseen(tableId: number, key: string): boolean {
    return this.#unseenRemove.run(tableId, key).changes === 1;
  }

  unseenAfter(tableId: number, after: string, limit: number): [key: string, sent: number][] {
    return this.#unseenAfter.all(tableId, after, limit);
  }

  /** Unseen keys of rows that the destinations hold. */
  countUnseenSent(tableId: number): number {
    return this.#unseenCount.get(tableId) ?? 0;
  }

  /** The same without those that another node said it deleted: people of this end took the rest away. */
  countUnseenOwn(tableId: number): number {
    return this.#unseenOwn.get(tableId) ?? 0;
  }

  clearUnseen(tableId: number): void {
    this.#unseenClear.run(tableId);
  }
}
