/**
 * Reading by a cursor's column (C1–C6 of adapter.ts).
 *
 * A file has one writer at a time, so that nothing is ever committed late: a transaction takes the write lock before SQLite evaluates its
 * CURRENT_TIMESTAMP or gives it a rowid, and keeps it until it has committed. Whoever waits for the lock takes its value afterwards. The horizon
 * is therefore empty, and always past. The bridge's lag is for values that a program computed before it had the lock.
 *
 * A column of any declared type may hold values of any storage class, and SQLite orders classes before values: numbers, then texts, then blobs.
 * Only values of the column's own class take part; nulls and, in columns of times, numbers are counted as refused.
 */
import { statSync } from 'node:fs';
import { type ColumnType, cursorKind, type Problem } from '@qiao/exchange';
import type { CursorTable, RefusedRows, SnapshotTable } from '../adapter.ts';
import { cursorProblems, notIndexed } from '../cursorProblems.ts';
import { cellReader, Refusal } from './cells.ts';
import { readTable, type SqliteColumn, type SqliteTable } from './describe.ts';
import { type Connection, quote } from './session.ts';
import { affinityOf } from './types.ts';
import type { StoredValue } from './values.ts';

/** What every snapshot gives out: nobody who writes can be open behind it. */
export const NOBODY_OPEN = 'one writer';

/** A window of more rows is read as the whole table, in order of key: cheaper than to find its rows again for each chunk. */
const MOST_WINDOW_ROWS = 20_000;
/** Values that cannot be read, passed over before the column is taken for one without a highest value. */
const MOST_UNREADABLE = 100;

/** Another file under the same name is another inode. */
export function identityOf(file: string): string {
  return String(statSync(file, { bigint: true }).ino);
}

export function highest(
  db: Connection,
  { ref, column, type }: CursorTable,
  atMost: string | undefined,
): string | undefined {
  const table = readTable(db, ref);
  const found = table?.columns.find(({ name }) => name === column);
  if (table === undefined || found === undefined) return undefined;
  const reader = cellReader(column, type, found.declared);
  const name = quote(column);
  // Numbers are below '', so that texts and blobs in a column of numbers stay aside. A time with a T instead of a blank is above the
  // others of its day, and then perhaps not found: what is found is a value of the column all the same, only not the highest.
  const limits = cursorKind(type) === 'time' ? [`${name} >= ''`] : [`${name} < ''`];
  if (atMost !== undefined) limits.push(`${name} <= ?`);
  const values = db
    .prepare(
      `SELECT ${reader.select(true)} FROM ${quote(table.name)} WHERE ${limits.join(' AND ')} ORDER BY ${name} DESC LIMIT ${MOST_UNREADABLE}`,
    )
    .pluck()
    .all(...(atMost === undefined ? [] : [atMost]));
  for (const value of values) {
    const text = reader.text(value);
    if (!(text instanceof Refusal)) return text;
  }
  return undefined;
}

/** How the rows of a reading are told from the others. */
export interface CursorWindow {
  /** SQL conditions, and the values that they bind. */
  readonly conditions: readonly string[];
  readonly values: readonly StoredValue[];
  /** The conditions find few rows by the column's index: the order of keys must not tempt SQLite to walk the whole table. */
  readonly isNarrow: boolean;
}

export const WHOLE: CursorWindow = { conditions: [], values: [], isNarrow: false };

export function cursorWindow(db: Connection, { ref, cursor }: SnapshotTable): CursorWindow {
  if (cursor === undefined) return WHOLE;
  const name = quote(cursor.column);
  const isTime = cursorKind(cursor.type) === 'time';
  if (cursor.since !== undefined) {
    // The cast is for columns of views, which lend no affinity to what they are compared with.
    const conditions = [isTime ? `${name} >= ?` : `${name} >= CAST(? AS NUMERIC)`];
    const values = [cursor.since];
    if (isTime) {
      // The day is written alike however the time behind it is; down to the minute it is after the T is made a blank.
      values[0] = cursor.since.slice(0, 10);
      if (cursor.type.type !== 'date') {
        conditions.push(`replace(substr(${name}, 1, 16), 'T', ' ') >= ?`);
        values.push(cursor.since.slice(0, 16));
      }
    }
    const some = `SELECT 1 FROM ${quote(ref.name)} WHERE ${conditions.join(' AND ')} LIMIT ${MOST_WINDOW_ROWS + 1}`;
    const rows = db
      .prepare(`SELECT count(*) FROM (${some})`)
      .pluck()
      .get(...values) as number;
    if (rows <= MOST_WINDOW_ROWS) return { conditions, values, isNarrow: true };
  }
  // With the plus the column's index does not count: the rows come in order of key, from one end to the other.
  return { conditions: [isTime ? `+${name} >= ''` : `+${name} IS NOT NULL`], values: [], isNarrow: false };
}

/** Rows that no value of the column could ever bring again. */
export function refusedByCursor(db: Connection, { ref, cursor }: SnapshotTable): RefusedRows[] {
  if (cursor === undefined) return [];
  const name = quote(cursor.column);
  const count = (condition: string) =>
    db
      .prepare(`SELECT count(*) FROM ${quote(ref.name)} WHERE ${condition}`)
      .pluck()
      .get() as number;
  const refused: RefusedRows[] = [{ code: 'CURSOR_NULL', column: cursor.column, count: count(`${name} IS NULL`) }];
  if (cursorKind(cursor.type) === 'time') {
    refused.push({ code: 'STORAGE_CLASS', column: cursor.column, count: count(`${name} < ''`) });
  }
  return refused.filter((each) => each.count > 0);
}

const INDEXES = 'SELECT name FROM pragma_index_list(?) WHERE partial = 0';
const FIRST_COLUMN = 'SELECT name FROM pragma_index_info(?) WHERE seqno = 0';

/** What speaks against reading `table` by `column`. */
export function cursorTableProblems(
  db: Connection,
  label: string,
  table: SqliteTable,
  column: SqliteColumn,
): Problem[] {
  if (isTextDecimal(column)) {
    return [
      {
        code: 'CURSOR_TYPE',
        path: `${label}.${column.name}`,
        message: `column ${column.name} keeps its decimals as texts, which SQLite orders letter by letter`,
        hint: 'Name a column of times or integers, or write capture: compare.',
      },
    ];
  }
  const problems = cursorProblems(label, column);
  if (problems.some(({ warning }) => warning !== true) || table.kind !== 'table') return problems;
  const isIndexed =
    (table.primaryKey[0] === column.name && (table.withoutRowid || affinityOf(column.declared) === 'INTEGER')) ||
    (db.prepare(INDEXES).pluck().all(table.name) as string[]).some(
      (index) => db.prepare(FIRST_COLUMN).pluck().get(index) === column.name,
    );
  if (isIndexed) return problems;
  const index = quote(`${table.name}_${column.name}`);
  return [
    ...problems,
    notIndexed(label, column.name, `CREATE INDEX ${index} ON ${quote(table.name)} (${quote(column.name)});`),
  ];
}

function isTextDecimal({
  type,
  declared,
}: {
  readonly type: SqliteColumn['type'];
  readonly declared: string;
}): boolean {
  return (type as ColumnType).type === 'decimal' && affinityOf(declared) === 'TEXT';
}
