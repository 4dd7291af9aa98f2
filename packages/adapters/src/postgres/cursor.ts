/**
 * Reading by a cursor's column (C1–C3 and C6 of adapter.ts): the clock, the highest value, rows from a value on. What is still open
 * belongs to horizon.ts.
 */
import type { CursorTable, SnapshotTable, TableRef } from '../adapter.ts';
import type { Session } from './session.ts';
import { identifier, qualified } from './sql.ts';

/** now() is when the snapshot's transaction began: the server's clock was past it when the snapshot was taken. */
const NOW = 'SELECT floor(extract(epoch FROM now()) * 1000)';

/**
 * The server's own number, which a copy from a dump does not have; the timeline, which a recovery to a point in time and a promoted standby
 * change; database and table, which are other ones when somebody made them anew.
 */
const IDENTITY = `
  SELECT pg_catalog.concat_ws('/', s.system_identifier, c.timeline_id, d.oid, pg_catalog.to_regclass($1)::oid)
    FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_database d
   WHERE d.datname = pg_catalog.current_database()`;

const MAY_BE_NULL = `
  SELECT NOT a.attnotnull FROM pg_catalog.pg_attribute a
   WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped`;

/** The oldest server whose numeric knows infinities. */
const INFINITE_NUMERIC = 140000;

export async function nowMs(session: Session): Promise<number> {
  const [row] = await session.rows(NOW);
  return Number(row?.[0]);
}

export async function readIdentity(session: Session, schema: string, ref: TableRef): Promise<string> {
  const [row] = await session.rows(IDENTITY, [qualified(ref.schema ?? schema, ref.name)]);
  return row?.[0] ?? '';
}

export async function highest(
  session: Session,
  schema: string,
  { ref, column, type }: CursorTable,
  atMost: string | undefined,
): Promise<string | undefined> {
  const name = identifier(column);
  const limits: string[] = [];
  const values: string[] = [];
  if (atMost !== undefined) limits.push(`${name} <= $${values.push(atMost)}`);
  if (type.type === 'decimal') {
    limits.push(`${name} < '${session.versionNumber >= INFINITE_NUMERIC ? 'Infinity' : 'NaN'}'`);
  }
  const where = limits.length === 0 ? '' : ` WHERE ${limits.join(' AND ')}`;
  const from = qualified(ref.schema ?? schema, ref.name);
  const [row] = await session.rows(`SELECT max(${name}) FROM ${from}${where}`, values);
  const found = row?.[0] ?? undefined;
  return found === undefined || /^-?inf/i.test(found) ? undefined : found;
}

/** Rows that no value of the cursor's column could ever bring again. */
export async function countNulls(session: Session, schema: string, { ref, cursor }: SnapshotTable): Promise<number> {
  if (cursor === undefined) return 0;
  const from = qualified(ref.schema ?? schema, ref.name);
  // Without an index the count reads the whole table: not for a column that says NOT NULL.
  const [nullable] = await session.rows(MAY_BE_NULL, [from, cursor.column]);
  if (nullable?.[0] === 'f') return 0;
  const [row] = await session.rows(`SELECT count(*) FROM ${from} WHERE ${identifier(cursor.column)} IS NULL`);
  return Number(row?.[0] ?? 0);
}

/** The conditions under which a row belongs to the reading. `literal` quotes a value, for COPY takes no parameters. */
export function cursorConditions({ cursor }: SnapshotTable, literal: (text: string) => string): string[] {
  if (cursor === undefined) return [];
  const name = identifier(cursor.column);
  // A literal of unknown type is read as the column's own: values are compared, and an index serves.
  return [cursor.since === undefined ? `${name} IS NOT NULL` : `${name} >= ${literal(cursor.since)}`];
}
