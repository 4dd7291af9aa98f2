/**
 * Reading by a cursor's column (C1–C3 and C6 of adapter.ts): the clock, the highest value, rows from a value on. What is still open
 * belongs to horizon.ts.
 */
import type { CursorTable, SnapshotTable, TableRef } from '../adapter.ts';
import type { MysqlTable } from './describe.ts';
import type { Session } from './session.ts';
import { identifier, qualified } from './sql.ts';
import { fieldSql, keyLiteral, type ReadColumn, refusalsOf } from './texts.ts';

/** The server's clock, in milliseconds since 1970. */
export async function nowMs(session: Session): Promise<number> {
  const [row] = await session.rows('SELECT FLOOR(UNIX_TIMESTAMP(NOW(6)) * 1000)');
  return Number(row?.[0]);
}

/**
 * The server's own name of itself, which MySQL makes anew for a copy of its files and others do not have; then database and table.
 * Nothing tells a table that was made anew from one that was altered: what lies behind the position tells that.
 */
export async function readIdentity(session: Session, ref: TableRef): Promise<string> {
  const [row] = session.server.product.name === 'MySQL' ? await session.rows('SELECT @@server_uuid') : [];
  return JSON.stringify([row?.[0] ?? '', ref.schema ?? session.database, ref.name]);
}

export async function highest(
  session: Session,
  table: MysqlTable,
  { column }: CursorTable,
  atMost: string | undefined,
): Promise<string | undefined> {
  const found = columnOf(table, column);
  if (found === undefined) return undefined;
  const at = identifier(column);
  // Zero dates and their like are no values. Backwards through an index, the first that passes ends the search.
  const limits = [`${at} IS NOT NULL`, ...refusalsOf(found.catalog, at).map(({ when }) => `(${when}) IS NOT TRUE`)];
  if (atMost !== undefined) limits.push(`${at} <= ${valueOf(found, atMost)}`);
  const [row] = await session.rows(
    `SELECT ${fieldSql(found.catalog, at)} FROM ${qualified(table.database, table.ref.name)}
      WHERE ${limits.join(' AND ')} ORDER BY ${at} DESC LIMIT 1`,
  );
  return row?.[0] ?? undefined;
}

/** Rows that no value of the cursor's column could ever bring again. */
export async function countNulls(session: Session, table: MysqlTable, { cursor }: SnapshotTable): Promise<number> {
  const column = cursor === undefined ? undefined : columnOf(table, cursor.column);
  // Without an index the count reads the whole table: not for a column that says NOT NULL.
  if (column?.nullable !== true) return 0;
  const from = qualified(table.database, table.ref.name);
  const [row] = await session.rows(`SELECT COUNT(*) FROM ${from} WHERE ${identifier(column.name)} IS NULL`);
  return Number(row?.[0] ?? 0);
}

/** The conditions under which a row belongs to the reading. */
export function cursorConditions(table: MysqlTable, { cursor }: SnapshotTable): string[] {
  const column = cursor === undefined ? undefined : columnOf(table, cursor.column);
  if (cursor === undefined || column === undefined) return [];
  const at = identifier(column.name);
  return [cursor.since === undefined ? `${at} IS NOT NULL` : `${at} >= ${valueOf(column, cursor.since)}`];
}

function columnOf(table: MysqlTable, name: string): ReadColumn | undefined {
  return table.columns.find((column) => column.name === name);
}

/** Numbers stay numbers: compared with a text, MySQL would take both for doubles. */
function valueOf({ catalog }: ReadColumn, text: string): string {
  return /^-?\d+(\.\d+)?$/.test(text) ? text : keyLiteral(catalog, text);
}
