/**
 * Loads (L1–L3 of adapter.ts): which rows a target had before, and what becomes of those that the load never named. The notes live in side
 * tables of the target database, so that they stand and fall with the deliveries' own transactions.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ApplyWork, ExtraRows, TargetTable } from '../adapter.ts';
import { guardStops, loadTableName, loadTablePrefix } from '../mark.ts';
import { TargetColumns } from './columns.ts';
import { refusalOf } from './rows.ts';
import { type Connection, quote } from './session.ts';
import { Unfit } from './values.ts';

/** Rows noted or removed between two turns of the event loop. */
const BATCH_ROWS = 5_000;

const NAMES = `SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, ?) = ?`;

export type LoadEnd =
  | { readonly kind: 'ended'; readonly extras: ExtraRows[] }
  | { readonly kind: 'guard'; readonly table: string; readonly rows: number; readonly of: number };

export class LoadNotes {
  readonly #db: Connection;
  readonly #laneId: string;
  readonly #tables: ReadonlyMap<string, TargetTable>;
  #names: ReadonlySet<string>;

  constructor(db: Connection, laneId: string, tables: ReadonlyMap<string, TargetTable>) {
    this.#db = db;
    this.#laneId = laneId;
    this.#tables = tables;
    this.#names = this.#stored();
  }

  /** Forgets every note of the lane. */
  drop(): void {
    for (const name of this.#names) this.#db.exec(`DROP TABLE ${quote(name)}`);
    this.#names = new Set();
  }

  /** Notes the keys of the rows that are there now; a table without any gets no side table. */
  async begin(): Promise<void> {
    this.drop();
    for (const target of this.#tables.values()) {
      if (target.landing === 'mirror') await this.#note(new TargetColumns(this.#db, target, this.#tables));
    }
    this.#names = this.#stored();
  }

  /** Takes the key of a row of the delivery out of the notes; undefined when the table has none. */
  forgetter(label: string, keyNames: readonly string[]): ((fields: readonly (string | null)[]) => void) | undefined {
    const name = loadTableName(this.#laneId, label);
    const target = this.#tables.get(label);
    if (!target || !this.#names.has(name)) return undefined;
    const columns = new TargetColumns(this.#db, target, this.#tables);
    const writers = keyNames.map((key) => columns.column(key).write);
    const where = keyNames.map((key) => `${quote(key)} = ?`).join(' AND ');
    const forget = this.#db.prepare(`DELETE FROM ${quote(name)} WHERE ${where}`);
    return (fields) => {
      const values: unknown[] = [];
      for (const [i, write] of writers.entries()) {
        const field = fields[i];
        const value = field === null || field === undefined ? null : write(field);
        // A key that the column cannot hold is the key of no row of the table.
        if (value === null || value instanceof Unfit) return;
        values.push(value);
      }
      forget.run(values);
    };
  }

  /** Removes or leaves what is still noted, children before parents, and drops the notes. */
  async end(work: Pick<ApplyWork, 'deleteGuard' | 'load'>): Promise<LoadEnd> {
    const removals: Removal[] = [];
    const extras: ExtraRows[] = [];
    for (const [label, target] of this.#tables) {
      const name = loadTableName(this.#laneId, label);
      if (!this.#names.has(name)) continue;
      const rows = this.#count(name);
      if (rows === 0) continue;
      if (target.ownership === 'none' || work.load.incomplete?.includes(label) === true) {
        extras.push({ table: label, deleted: 0, kept: rows });
        continue;
      }
      const columns = new TargetColumns(this.#db, target, this.#tables);
      const of = this.#count(columns.found.name);
      if (guardStops(rows, of, work)) return { kind: 'guard', table: label, rows, of };
      removals.push(new Removal(this.#db, label, name, columns));
    }
    // The bridge names parents first. Rows that other tables still refer to are left for another round, and kept when none helps.
    for (let hasMoved = true; hasMoved; ) {
      hasMoved = false;
      for (const removal of removals.toReversed()) if (await removal.run()) hasMoved = true;
    }
    for (const removal of removals)
      extras.push({ table: removal.label, deleted: removal.deleted, kept: this.#count(removal.notes) });
    this.drop();
    return { kind: 'ended', extras: extras.filter(({ deleted, kept }) => deleted + kept > 0) };
  }

  async #note(columns: TargetColumns): Promise<void> {
    const { target, table } = columns;
    const keys = target.key.map(quote);
    const marks = columns.marks();
    const owned = columns.ownedSql();
    const conditions = [...(marks ? [`${marks.column} IS NOT ${marks.set}`] : []), ...(owned ? [owned] : [])];
    const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
    if (this.#db.prepare(`SELECT 1 FROM ${table} ${where} LIMIT 1`).get() === undefined) return;
    const side = quote(loadTableName(this.#laneId, target.table));
    // The same declared types: the same affinities, so that a key compares here as it does there.
    const declared = target.key.map((key) => `${quote(key)} ${columns.column(key).column.declared} NOT NULL`);
    this.#db.exec(`CREATE TABLE ${side} (${declared.join(', ')}, PRIMARY KEY (${keys.join(', ')})) WITHOUT ROWID`);
    const list = keys.join(', ');
    const marksOf = keys.map(() => '?').join(', ');
    let after: unknown[] | undefined;
    for (;;) {
      const start = after ? `WHERE (${list}) > (${marksOf})` : '';
      const bound = this.#db
        .prepare(`SELECT ${list} FROM ${table} ${start} ORDER BY ${list} LIMIT 1 OFFSET ${BATCH_ROWS - 1}`)
        .raw()
        .safeIntegers()
        .get(...(after ?? [])) as unknown[] | undefined;
      const range = [
        ...(after ? [`(${list}) > (${marksOf})`] : []),
        ...(bound ? [`(${list}) <= (${marksOf})`] : []),
        ...conditions,
      ];
      this.#db
        .prepare(
          `INSERT INTO ${side} SELECT ${list} FROM ${table} ${range.length === 0 ? '' : `WHERE ${range.join(' AND ')}`}`,
        )
        .run(...(after ?? []), ...(bound ?? []));
      if (!bound) return;
      after = bound;
      await nextTurn();
    }
  }

  #stored(): ReadonlySet<string> {
    const prefix = loadTablePrefix(this.#laneId);
    return new Set(this.#db.prepare(NAMES).pluck().all(prefix.length, prefix) as string[]);
  }

  #count(table: string): number {
    return this.#db
      .prepare(`SELECT count(*) FROM ${quote(table)}`)
      .pluck()
      .get() as number;
  }
}

/** What one table loses at the end of a load. */
class Removal {
  readonly label: string;
  readonly notes: string;
  deleted = 0;
  readonly #db: Connection;
  readonly #page: string;
  readonly #nextPage: string;
  readonly #remove: ReturnType<Connection['prepare']>;
  readonly #forget: ReturnType<Connection['prepare']>;

  constructor(db: Connection, label: string, notes: string, columns: TargetColumns) {
    const keys = columns.target.key.map(quote);
    const list = keys.join(', ');
    const where = keys.map((key) => `${key} = ?`).join(' AND ');
    const marks = columns.marks();
    // Looked at again: the department may have given the row away since the load began.
    const owned = columns.ownedSql();
    const mine = `${where}${owned ? ` AND ${owned}` : ''}`;
    this.#db = db;
    this.label = label;
    this.notes = notes;
    this.#page = `SELECT ${list} FROM ${quote(notes)} ORDER BY ${list} LIMIT ${BATCH_ROWS}`;
    this.#nextPage = `SELECT ${list} FROM ${quote(notes)} WHERE (${list}) > (${keys.map(() => '?').join(', ')}) ORDER BY ${list} LIMIT ${BATCH_ROWS}`;
    this.#remove = db.prepare(
      marks
        ? `UPDATE OR ABORT ${columns.table} SET ${marks.column} = ${marks.set} WHERE ${mine}`
        : `DELETE FROM ${columns.table} WHERE ${mine}`,
    );
    this.#forget = db.prepare(`DELETE FROM ${quote(notes)} WHERE ${where}`);
  }

  /** Tries every row still noted once; true when any was removed. */
  async run(): Promise<boolean> {
    let hasMoved = false;
    let last: unknown[] | undefined;
    for (;;) {
      const page = this.#db
        .prepare(last ? this.#nextPage : this.#page)
        .raw()
        .safeIntegers()
        .all(...(last ?? [])) as unknown[][];
      for (const key of page) {
        if (!this.#try(key)) continue;
        hasMoved = true;
        this.#forget.run(key);
      }
      last = page.at(-1);
      if (page.length < BATCH_ROWS) return hasMoved;
      await nextTurn();
    }
  }

  #try(key: unknown[]): boolean {
    try {
      const { changes } = this.#remove.run(key);
      this.deleted += changes;
      return changes > 0;
    } catch (error) {
      if (refusalOf(error) && this.#db.inTransaction) return false;
      throw error;
    }
  }
}
