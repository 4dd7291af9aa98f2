/** Reading by a cursor's column (C1–C3 of adapter.ts). What is still open belongs to each adapter's `horizon.ts`. */
import type { SnapshotTable } from '../adapter.ts';
import {
  type Bind,
  Binder,
  type ReadColumn,
  type Reader,
  type ReadTable,
  Refused,
  type SourceDatabase,
} from './reader.ts';

/** The server's clock, in milliseconds since 1970, of the second that has begun. */
export async function nowMs<Session extends Reader>(
  database: SourceDatabase<Session>,
  session: Session,
): Promise<number> {
  const [row] = await session.rows({ sql: database.clock, values: [] });
  return Date.parse(`${(row?.[0] ?? '').replace(' ', 'T')}Z`);
}

export async function highest<Session extends Reader>(
  database: SourceDatabase<Session>,
  session: Session,
  table: ReadTable,
  column: ReadColumn,
  atMost: string | undefined,
): Promise<string | undefined> {
  const { travel } = column;
  if (travel?.compared === undefined) return undefined;
  const at = database.identifier(column.name);
  const binder = new Binder(database.placeholder);
  const limits = atMost === undefined ? [] : [`${at} <= ${travel.compared(atMost, binder.bind)}`];
  if (travel.refused !== undefined) limits.push(`CASE WHEN ${travel.refused(at)} THEN 1 ELSE 0 END = 0`);
  const where = limits.length === 0 ? '' : ` WHERE ${limits.join(' AND ')}`;
  const sql = `SELECT ${travel.select(`MAX(${at})`)} FROM ${quoted(database, table)}${where}`;
  const [row] = await session.rows({ sql, values: binder.values });
  const found = row?.[0] ?? undefined;
  const text = found === undefined ? undefined : travel.text(found);
  return text instanceof Refused ? undefined : text;
}

/** Rows that no value of the cursor's column could ever bring again. */
export async function countNulls<Session extends Reader>(
  database: SourceDatabase<Session>,
  session: Session,
  table: ReadTable,
  { cursor }: SnapshotTable,
): Promise<number> {
  const column = table.columns.find(({ name }) => name === cursor?.column);
  // Without an index the count reads the whole table: not for a column that says NOT NULL.
  if (column?.nullable !== true) return 0;
  const at = database.identifier(column.name);
  const sql = `SELECT COUNT(*) FROM ${quoted(database, table)} WHERE ${at} IS NULL`;
  const [row] = await session.rows({ sql, values: [] });
  return Number(row?.[0] ?? 0);
}

/** The conditions under which a row belongs to the reading. */
export function cursorConditions<Session extends Reader>(
  database: Pick<SourceDatabase<Session>, 'identifier'>,
  table: ReadTable,
  { cursor }: SnapshotTable,
  bind: Bind,
): string[] {
  const column = table.columns.find(({ name }) => name === cursor?.column);
  if (cursor === undefined || column?.travel?.compared === undefined) return [];
  const at = database.identifier(column.name);
  return [cursor.since === undefined ? `${at} IS NOT NULL` : `${at} >= ${column.travel.compared(cursor.since, bind)}`];
}

/** `"schema"."name"`, in the database's own quotes. */
export function quoted<Session extends Reader>(
  database: Pick<SourceDatabase<Session>, 'identifier'>,
  { schema, name }: Pick<ReadTable, 'schema' | 'name'>,
): string {
  return `${database.identifier(schema)}.${database.identifier(name)}`;
}
