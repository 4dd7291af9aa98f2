/**
 * Runs: lines that came one behind the other from a source, as bytes. While the digests of a run's keys are as they were, the
 * same bytes again are the same rows, and a scan need not look at one of them.
 *
 * A run covers the stored keys behind `after` up to `through`: every digest in between is of a line of the run, and is its
 * line's. Whoever writes or removes a digest drops the run around it. Runs are kept in a temporary table: another process, or an
 * older copy of the file, begins without any, and the first scan makes them anew.
 *
 * The runs of a scan that is under way are held in memory until their digests are durable. They are true of what the scan read:
 * whoever else writes a digest of the table meanwhile drops all of them. A transaction that is undone brings back the kept runs with
 * their digests; held ones stay dropped, and the next scan makes them.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

export interface DigestRun {
  /** The last key before the run; '' at the beginning. */
  readonly after: string;
  /** The run's last key. */
  readonly through: string;
  readonly rows: number;
  /** Length of its lines. */
  readonly bytes: number;
  /** As a row's, over all of its lines. */
  readonly digest: string;
}

const RUN_TABLE = `CREATE TEMP TABLE IF NOT EXISTS digest_run (table_id INTEGER NOT NULL, after TEXT NOT NULL, through TEXT NOT NULL,
 rows INTEGER NOT NULL, bytes INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (table_id, after)) STRICT, WITHOUT ROWID`;
export const NEXT_RUN = `SELECT after, through, rows, bytes, digest FROM temp.digest_run
 WHERE table_id = ? AND after >= ? ORDER BY after LIMIT 1`;
export const LAST_RUN = 'SELECT through FROM temp.digest_run WHERE table_id = ? ORDER BY after DESC LIMIT 1';
/** Runs do not overlap: of all that begin before a key, only the last can reach it. */
export const DROP_AROUND = `DELETE FROM temp.digest_run WHERE table_id = @tableId AND through >= @key AND after =
 (SELECT max(after) FROM temp.digest_run WHERE table_id = @tableId AND after < @key)`;
export const DROP_BETWEEN = 'DELETE FROM temp.digest_run WHERE table_id = ? AND after >= ? AND after < ?';

export class DigestRunStore {
  readonly #next: Statement<[number, string], DigestRun>;
  readonly #last: Statement<[number], string>;
  readonly #around: Statement<[{ tableId: number; key: string }]>;
  readonly #between: Statement<[number, string, string]>;
  readonly #add: Statement<[object]>;
  readonly #clear: Statement<[number]>;
  readonly #held = new Map<number, DigestRun[]>();

  constructor(sqlite: Sqlite) {
    sqlite.exec(RUN_TABLE);
    this.#next = sqlite.prepare(NEXT_RUN);
    this.#last = sqlite.prepare<[number], string>(LAST_RUN).pluck();
    this.#around = sqlite.prepare(DROP_AROUND);
    this.#between = sqlite.prepare(DROP_BETWEEN);
    this.#add = sqlite.prepare(
      'INSERT INTO temp.digest_run VALUES (@tableId, @after, @through, @rows, @bytes, @digest)',
    );
    this.#clear = sqlite.prepare('DELETE FROM temp.digest_run WHERE table_id = ?');
  }

  /** The first run that begins at this key or behind it. */
  next(tableId: number, from: string): DigestRun | undefined {
    return this.#next.get(tableId, from);
  }

  /** A list for the runs of a scan until its next flush; it takes the place of the one before. */
  hold(tableId: number): DigestRun[] {
    const runs: DigestRun[] = [];
    this.#held.set(tableId, runs);
    return runs;
  }

  /** Ends the hold, for the scan's own digests come now; returns those runs of the list that may be added behind them. */
  release(tableId: number, runs: readonly DigestRun[]): readonly DigestRun[] {
    if (this.#held.get(tableId) !== runs) return [];
    this.#held.delete(tableId);
    return runs;
  }

  /** Call in the transaction that makes the digests of its lines durable, after them. */
  add(tableId: number, run: DigestRun): void {
    // The first key behind `after` is not known; the run around it would reach past `after`.
    this.#around.run({ tableId, key: `${run.after}\0` });
    this.#between.run(tableId, run.after, run.through);
    this.#add.run({ tableId, ...run });
  }

  /** Digests of these keys are written or removed: what was known of their runs holds no more. */
  touch(tableId: number, keys: readonly string[]): void {
    this.#held.get(tableId)?.splice(0);
    const last = this.#last.get(tableId);
    if (last === undefined) return;
    for (const key of keys) if (key <= last) this.#around.run({ tableId, key });
  }

  clear(tableId: number): void {
    this.#held.get(tableId)?.splice(0);
    this.#clear.run(tableId);
  }
}
