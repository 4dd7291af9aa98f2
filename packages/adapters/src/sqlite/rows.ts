/**
 * Applies the sections of one delivery inside an open transaction: in order, counting every row once, isolating those that are refused (R2, R3).
 *
 * SQLite runs in this process, so a prepared statement per row costs what a staging table would, and a refused statement undoes exactly its
 * own row: isolation needs no bisection. A row that fails for its neighbours' sake (a unique value still taken, a parent not yet there, a
 * child not yet gone) waits with everything later of its own key, is tried again after the others in alternating direction, then with foreign
 * keys deferred, and only then given up.
 */
import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Kind, Matrix, type Outcome, QiaoError, type Section, unescapeField } from '@qiao/exchange';
import type { QuarantinedRow, TargetTable } from '../adapter.ts';
import { landCircle } from '../circle.ts';
import { MOST_ISOLATED } from '../mark.ts';
import { schemaError, TargetColumns } from './columns.ts';
import type { Journal } from './journalPlan.ts';
import type { LoadNotes } from './load.ts';
import { rowPlan } from './plan.ts';
import type { RowPlan, RowRefusal } from './rowPlan.ts';
import { type Connection, sqliteCode } from './session.ts';
import type { StoredValue } from './values.ts';

/** Work between two turns of the event loop. */
const TURN_MS = 10;

const WINDOW_BYTES = 256 * 1024;

interface Row {
  readonly section: number;
  readonly index: number;
  readonly kind: Kind;
  readonly table: string;
  readonly keyColumns: number;
  readonly wholeRow: boolean;
  readonly line: string;
  readonly plan: RowPlan;
  readonly values: StoredValue[];
}

/** Said of a row whose key has an open row before it. */
const BEHIND: RowRefusal = { code: 'HELD', reason: 'an earlier change of the same key is open', mayPass: false };

/** What a row of a circle is counted as on the way. */
const WRITTEN: ReadonlySet<unknown> = new Set([
  'updated',
  'updatedInsteadOfInsert',
  'inserted',
  'insertedInsteadOfUpdate',
]);

interface Waiting {
  readonly rows: Row[];
  refusal: RowRefusal;
}

export class RowApplier {
  readonly matrix = new Matrix();
  readonly isolated: QuarantinedRow[] = [];
  readonly #db: Connection;
  readonly #tables: ReadonlyMap<string, TargetTable>;
  readonly #journal: Journal;
  readonly #notes: LoadNotes | undefined;
  readonly #columns = new Map<string, TargetColumns>();
  readonly #waiting = new Map<string, Waiting>();
  /** Keys of rows given up as quarantined: what comes later of them must not overtake them. */
  readonly #openKeys = new Set<string>();
  readonly #mostIsolated: number;
  #turnedAt = performance.now();

  constructor(
    db: Connection,
    tables: ReadonlyMap<string, TargetTable>,
    journal: Journal,
    { notes, mostIsolated = MOST_ISOLATED }: { notes?: LoadNotes | undefined; mostIsolated?: number | undefined } = {},
  ) {
    this.#db = db;
    this.#tables = tables;
    this.#journal = journal;
    this.#notes = notes;
    this.#mostIsolated = mostIsolated;
  }

  /** Applies every section. Throws QUARANTINE_LIMIT, TARGET_SCHEMA, DELIVERY_INVALID and what SQLite throws for more than one row. */
  async apply(sections: readonly Section[]): Promise<void> {
    for (const [number, section] of sections.entries()) await this.#applySection(number, section);
    await this.#settleWaiting();
  }

  /** Rows that are not written now: the end of a load must leave what the target has of them alone. */
  keep(sections: readonly Section[]): void {
    for (const { table, columns, keyColumns, rows } of sections) {
      const forget = this.#notes?.forgetter(table, columns.slice(0, keyColumns));
      if (forget === undefined) continue;
      for (const lines of windows(rows)) for (const line of lines) forget(fieldsOf(line));
    }
  }

  async #applySection(number: number, section: Section): Promise<void> {
    const plan = rowPlan(this.#columnsOf(section.table), section, this.#journal);
    const { table, kind, keyColumns, wholeRows } = section;
    const forget = this.#notes?.forgetter(table, section.columns.slice(0, keyColumns));
    const counts = new Map<Outcome, number>();
    let index = -1;
    for (const lines of windows(section.rows)) {
      for (const line of lines) {
        index++;
        const fields = fieldsOf(line);
        const values = plan.encode(fields);
        if (!Array.isArray(values)) {
          const row = { section: number, index, kind, table, keyColumns, wholeRow: wholeRows, line, plan, values: [] };
          this.#isolate(row, this.#isBehind(row) ? BEHIND : values);
          // The source has this key: the end of a load must leave its row alone.
          forget?.(fields);
          continue;
        }
        forget?.(fields);
        const waiting = this.#waiting.size === 0 ? undefined : this.#waiting.get(keyOf(table, line, keyColumns));
        if (waiting) {
          waiting.rows.push({
            section: number,
            index,
            kind,
            table,
            keyColumns,
            wholeRow: wholeRows,
            line,
            plan,
            values,
          });
          continue;
        }
        if (this.#openKeys.size > 0) {
          const later = { section: number, index, kind, table, keyColumns, wholeRow: wholeRows, line, plan, values };
          if (this.#isBehind(later)) {
            this.#isolate(later, BEHIND);
            continue;
          }
        }
        const outcome = this.#write({ plan, kind, values, wholeRow: wholeRows });
        if (typeof outcome === 'string') {
          counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
          continue;
        }
        const row = { section: number, index, kind, table, keyColumns, wholeRow: wholeRows, line, plan, values };
        if (outcome.mayPass) this.#waiting.set(keyOf(table, line, keyColumns), { rows: [row], refusal: outcome });
        else this.#isolate(row, outcome);
      }
      await this.#turn();
    }
    for (const [outcome, rows] of counts) this.matrix.add(table, kind, outcome, rows);
  }

  #columnsOf(table: string): TargetColumns {
    let columns = this.#columns.get(table);
    if (!columns) {
      const target = this.#tables.get(table);
      if (!target) throw schemaError(`the delivery has rows of ${table}, which lands nowhere at this destination`);
      columns = new TargetColumns(this.#db, target, this.#tables);
      this.#columns.set(table, columns);
    }
    return columns;
  }

  #write({ plan, kind, values, wholeRow }: Pick<Row, 'plan' | 'kind' | 'values' | 'wholeRow'>): Outcome | RowRefusal {
    return this.#attempt(() => plan.write(kind, values, wholeRow));
  }

  #attempt<T>(act: () => T): T | RowRefusal {
    try {
      return act();
    } catch (error) {
      const refusal = refusalOf(error);
      if (!refusal) throw error;
      if (!this.#db.inTransaction) {
        throw schemaError(
          'a trigger or constraint of the target table rolls back the whole transaction when a row fails',
        );
      }
      return refusal;
    }
  }

  /** Tries waiting rows until nothing moves any more; then isolates the first of each key and goes on with those behind it. */
  async #settleWaiting(): Promise<void> {
    for (let isForward = true; this.#waiting.size > 0; isForward = !isForward) {
      const keys = [...this.#waiting.keys()];
      let hasMoved = false;
      for (const key of isForward ? keys : keys.toReversed()) {
        if (this.#tryWaiting(key)) hasMoved = true;
        await this.#turn();
      }
      if (hasMoved || this.#waiting.size === 0) continue;
      if (this.#tryDeferred() || (await this.#tryCircles())) continue;
      for (const [key, waiting] of this.#waiting) {
        const first = waiting.rows.shift();
        if (first) this.#isolate(first, waiting.refusal);
        while (waiting.rows[0] && this.#isBehind(waiting.rows[0])) this.#isolate(waiting.rows.shift() as Row, BEHIND);
        if (waiting.rows.length === 0) this.#waiting.delete(key);
      }
    }
  }

  /** True when at least the first row of the key is done with. */
  #tryWaiting(key: string): boolean {
    const waiting = this.#waiting.get(key);
    if (!waiting) return false;
    let hasMoved = false;
    for (let row = waiting.rows[0]; row; row = waiting.rows[0]) {
      if (this.#isBehind(row)) {
        this.#isolate(waiting.rows.shift() as Row, BEHIND);
        hasMoved = true;
        continue;
      }
      const outcome = this.#write(row);
      if (typeof outcome !== 'string' && outcome.mayPass) {
        waiting.refusal = outcome;
        return hasMoved;
      }
      waiting.rows.shift();
      hasMoved = true;
      if (typeof outcome === 'string') this.matrix.add(row.table, row.kind, outcome, 1);
      else this.#isolate(row, outcome);
    }
    this.#waiting.delete(key);
    return true;
  }

  /**
   * Rows that refer to each other in a circle: writes the first row of every key that lacks a parent with foreign keys deferred, and keeps
   * those whose parents are all there in the end. True when any was kept.
   */
  #tryDeferred(): boolean {
    let candidates = [...this.#waiting].filter(
      ([, { refusal, rows }]) => refusal.code === 'FOREIGN_KEY' && rows[0]?.kind !== 'delete',
    );
    while (candidates.length > 1) {
      this.#db.exec('SAVEPOINT qiao_deferred');
      this.#db.pragma('defer_foreign_keys = ON');
      const outcomes = candidates.map(([, { rows }]) => this.#write(rows[0] as Row));
      const good = candidates.filter(([, { rows }], i) => {
        const row = rows[0] as Row;
        return typeof outcomes[i] === 'string' && !row.plan.isOrphan(row.values);
      });
      if (good.length === candidates.length) {
        this.#db.exec('RELEASE qiao_deferred');
        this.#db.pragma('defer_foreign_keys = OFF');
        for (const [i, [key, waiting]] of candidates.entries()) {
          const row = waiting.rows.shift() as Row;
          this.matrix.add(row.table, row.kind, outcomes[i] as Outcome, 1);
          if (waiting.rows.length === 0) this.#waiting.delete(key);
        }
        return true;
      }
      this.#db.exec('ROLLBACK TO qiao_deferred');
      this.#db.exec('RELEASE qiao_deferred');
      this.#db.pragma('defer_foreign_keys = OFF');
      candidates = good;
    }
    return false;
  }

  /** Rows that hold each other's unique values give them up together and are written again, or taken out and put in. True when any landed. */
  async #tryCircles(): Promise<boolean> {
    const stuck = [...this.#waiting].flatMap(([key, { refusal, rows }]) => {
      const [row] = rows;
      return refusal.code === 'UNIQUE' && row !== undefined && row.kind !== 'delete' ? [{ key, row }] : [];
    });
    let hasMoved = false;
    for (const rows of Map.groupBy(stuck, ({ row }) => row.table).values()) {
      const landed = await this.#landCircle(rows, ({ plan, values }) => plan.giveUpValues(values));
      const rest = rows.filter((each) => !landed.includes(each));
      const whole = rest.filter(({ row }) => row.plan.mayReplace && (row.kind === 'insert' || row.wholeRow));
      const replaced = await this.#landCircle(
        whole,
        ({ plan, values }) => plan.write('delete', values, true) === 'deleted',
      );
      for (const { key, row } of [...landed, ...replaced]) {
        this.matrix.add(row.table, row.kind, row.kind === 'insert' ? 'updatedInsteadOfInsert' : 'updated', 1);
        const waiting = this.#waiting.get(key);
        waiting?.rows.shift();
        if (waiting?.rows.length === 0) this.#waiting.delete(key);
        hasMoved = true;
      }
    }
    return hasMoved;
  }

  #landCircle<R extends { readonly row: Row }>(
    rows: readonly R[],
    giveUp: (row: Row) => boolean,
  ): Promise<readonly R[]> {
    const run = (sql: string) => Promise.resolve(this.#db.exec(sql));
    const refusedBy = (step: (row: Row) => boolean) => (all: readonly R[]) =>
      Promise.resolve(all.filter(({ row }) => this.#attempt(() => step(row)) !== true));
    return landCircle(rows, {
      begin: () => run('SAVEPOINT qiao_circle'),
      undo: () => run('ROLLBACK TO qiao_circle; RELEASE qiao_circle'),
      keep: () => run('RELEASE qiao_circle'),
      giveUp: refusedBy(giveUp),
      write: refusedBy(({ plan, kind, values, wholeRow }) => WRITTEN.has(plan.write(kind, values, wholeRow))),
    });
  }

  #isBehind({ table, line, keyColumns }: Row): boolean {
    return this.#openKeys.size > 0 && keyColumns > 0 && this.#openKeys.has(keyOf(table, line, keyColumns));
  }

  #isolate(row: Row, refusal: RowRefusal): void {
    const outcome = refusal.code === 'MISSING_BASE' || refusal === BEHIND ? 'held' : 'quarantined';
    if (outcome === 'quarantined' && row.keyColumns > 0) this.#openKeys.add(keyOf(row.table, row.line, row.keyColumns));
    this.matrix.add(row.table, row.kind, outcome, 1);
    this.isolated.push({
      table: row.table,
      kind: row.kind,
      section: row.section,
      index: row.index,
      line: Buffer.from(`${row.line}\n`),
      outcome,
      code: refusal.code,
      reason: refusal.reason,
    });
    if (this.isolated.length > this.#mostIsolated) {
      throw new QiaoError(
        'QUARANTINE_LIMIT',
        `more than ${this.#mostIsolated} rows of one delivery were refused; the last by ${refusal.code}: ${refusal.reason}`,
        { hint: 'The failure is hardly the rows own: compare the tables with the bridge: qiao bridge check -f FILE' },
      );
    }
  }

  async #turn(): Promise<void> {
    if (performance.now() - this.#turnedAt < TURN_MS) return;
    await nextTurn();
    this.#turnedAt = performance.now();
  }
}

/** What SQLite says about one row; undefined when the failure is not one row's. */
export function refusalOf(error: unknown): RowRefusal | undefined {
  const sqlite = sqliteCode(error);
  const said = (error as Error).message;
  switch (sqlite) {
    case 'SQLITE_CONSTRAINT_NOTNULL':
      return { code: 'NOT_NULL', reason: said, mayPass: false };
    case 'SQLITE_CONSTRAINT_UNIQUE':
    case 'SQLITE_CONSTRAINT_PRIMARYKEY':
    case 'SQLITE_CONSTRAINT_ROWID':
      return { code: 'UNIQUE', reason: said, mayPass: true };
    case 'SQLITE_CONSTRAINT_FOREIGNKEY':
      return { code: 'FOREIGN_KEY', reason: said, mayPass: true };
    case 'SQLITE_CONSTRAINT_CHECK':
      return { code: 'CHECK', reason: said, mayPass: false };
    case 'SQLITE_CONSTRAINT_TRIGGER':
      // The trigger writes its own message, and may put values into it.
      return { code: 'TRIGGER_REFUSED', reason: 'a trigger of the table refused the row', mayPass: true };
    case 'SQLITE_CONSTRAINT_DATATYPE':
    case 'SQLITE_MISMATCH':
      return { code: 'VALUE_INVALID', reason: 'a STRICT table refused the storage class of a value', mayPass: false };
    case 'SQLITE_TOOBIG':
      return { code: 'VALUE_INVALID', reason: 'the row is larger than SQLite allows', mayPass: false };
    default:
      return undefined;
  }
}

/** Lines without LF, some hundred KiB of them at a time. */
function* windows(rows: Uint8Array): Generator<string[], void, undefined> {
  const bytes = Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength);
  for (let start = 0; start < bytes.length; ) {
    let end = bytes.length;
    if (end - start > WINDOW_BYTES) {
      const last = bytes.lastIndexOf(10, start + WINDOW_BYTES);
      end = last >= start ? last + 1 : bytes.indexOf(10, start) + 1 || bytes.length;
    }
    const text = bytes.toString('utf8', start, end);
    yield (text.endsWith('\n') ? text.slice(0, -1) : text).split('\n');
    start = end;
  }
}

/** The fields of a line; decoding has checked its escapes already. */
function fieldsOf(line: string): (string | null)[] {
  const fields: (string | null)[] = line.split('\t');
  if (!line.includes('\\')) return fields;
  for (let i = 0; i < fields.length; i++) {
    const field = fields[i] as string;
    if (field === '\\N') fields[i] = null;
    else if (field.includes('\\')) fields[i] = unescapeField(field);
  }
  return fields;
}

/** Names a key inside this delivery: the table and the key's fields as they stand in the line. */
function keyOf(table: string, line: string, keyColumns: number): string {
  let end = -1;
  for (let i = 0; i < keyColumns; i++) {
    end = line.indexOf('\t', end + 1);
    if (end < 0) {
      end = line.length;
      break;
    }
  }
  return `${table}\n${line.slice(0, end)}`;
}
