/**
 * Foreign keys of other tables that act by themselves when rows of a table go. The catalog shows an account only keys of tables that it has
 * rights on, and reads every table of a database for it; the engine shows all of them from one table of its own, to whom may see
 * processes.
 */
import { type Problem, QiaoError } from '@qiao/exchange';
import type { Referrer } from '../cascades.ts';
import { currentUser } from './describe.ts';
import type { Session } from './session.ts';
import { bytesOf, literal } from './sql.ts';

export interface Referrers {
  readonly referrers: readonly Referrer[];
  /** Every key was seen. */
  readonly areAll: boolean;
}

/** The keys that refer to a table, as far as this account may see them; those that only refuse are left out. */
export async function readReferrers(session: Session, database: string, name: string): Promise<Referrers> {
  const found = await ofEngine(session, database, name);
  if (found !== undefined) return { referrers: found, areAll: true };
  return { referrers: await ofCatalog(session, database, name), areAll: false };
}

/** What an account that may not see every key is told, once. */
export async function unseenKeys(session: Session, label: string): Promise<Problem> {
  return {
    code: 'FOREIGN_KEYS_UNSEEN',
    path: label,
    message:
      'keys with ON DELETE CASCADE of tables that this account has no rights on cannot be seen: deletes that land might take rows of them',
    hint: session.server.product.isKin
      ? 'ask the DBA whether there are any (information_schema.REFERENTIAL_CONSTRAINTS), or land without deletes (onDelete: mark)'
      : `GRANT PROCESS ON *.* TO ${await currentUser(session)}; or ask the DBA whether there are any`,
    warning: true,
  };
}

/** In the engine's own numbers: what TYPE says of deletes and of updates. */
const ON_DELETE = "CASE WHEN f.TYPE & 1 THEN 'CASCADE' WHEN f.TYPE & 2 THEN 'SET NULL' ELSE 'RESTRICT' END";
const ON_UPDATE = "CASE WHEN f.TYPE & 4 THEN 'CASCADE' WHEN f.TYPE & 8 THEN 'SET NULL' ELSE 'RESTRICT' END";

/** Undefined where the engine tells this account nothing. */
async function ofEngine(session: Session, database: string, name: string): Promise<Referrer[] | undefined> {
  const { tables, text, stored } = session.server.isMariaDb ? MARIADB : MYSQL;
  const named = (each: string) => stored(literal(session.server.tellsCase ? each : each.toLowerCase()));
  try {
    const rows = await session.rows(
      `SELECT ${text("SUBSTRING_INDEX(f.FOR_NAME, '/', 1)")}, ${text("SUBSTRING(f.FOR_NAME, LOCATE('/', f.FOR_NAME) + 1)")},
              SUBSTRING(f.ID, LOCATE('/', f.ID) + 1), c.REF_COL_NAME, ${ON_DELETE}, ${ON_UPDATE}
         FROM information_schema.${tables} f JOIN information_schema.${tables}_COLS c ON c.ID = f.ID
        WHERE f.TYPE & 15 AND ${bytesOf('f.REF_NAME')} = CONCAT(${named(database)}, '/', ${named(name)}) ORDER BY f.ID, c.POS`,
    );
    return keysOf(rows);
  } catch (error) {
    if (error instanceof QiaoError && error.fate !== 'transient') return undefined;
    throw error;
  }
}

/** Of the engine: its tables, a name out of them as a text, and a text as it is stored there. */
const MARIADB = {
  tables: 'INNODB_SYS_FOREIGN',
  // As names of files.
  text: (sql: string) => `CONVERT(CONVERT(${bytesOf(sql)} USING filename) USING utf8mb4)`,
  stored: (sql: string) => bytesOf(`CONVERT(${sql} USING filename)`),
};
const MYSQL = { tables: 'INNODB_FOREIGN', text: (sql: string) => sql, stored: bytesOf };

async function ofCatalog(session: Session, database: string, name: string): Promise<Referrer[]> {
  const rules = await session.rows(
    `SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, DELETE_RULE, UPDATE_RULE
       FROM information_schema.REFERENTIAL_CONSTRAINTS
      WHERE CONSTRAINT_SCHEMA = ${literal(database)} AND UNIQUE_CONSTRAINT_SCHEMA = ${literal(database)}
        AND REFERENCED_TABLE_NAME = ${literal(name)} AND CONCAT(DELETE_RULE, UPDATE_RULE) REGEXP 'CASCADE|SET'`,
  );
  if (rules.length === 0) return [];
  const columns = await session.rows(
    `SELECT TABLE_NAME, CONSTRAINT_NAME, REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE
      WHERE TABLE_SCHEMA = ${literal(database)} AND REFERENCED_TABLE_NAME = ${literal(name)} ORDER BY ORDINAL_POSITION`,
  );
  return keysOf(
    rules.flatMap(([schema, table, key, onDelete, onUpdate]) =>
      columns
        .filter(([ofTable, ofKey]) => ofTable === table && ofKey === key)
        .map(([, , column]) => [schema, table, key, column, onDelete, onUpdate] as (string | null)[]),
    ),
  );
}

/** One row for each column of a key. */
function keysOf(rows: readonly (string | null)[][]): Referrer[] {
  const keys = new Map<string, Referrer & { toColumns: string[] }>();
  for (const [schema, name, key, column, onDelete, onUpdate] of rows) {
    const id = JSON.stringify([schema, name, key]);
    const known = keys.get(id) ?? {
      table: { schema: schema ?? '', name: name ?? '' },
      key: key ?? '',
      toColumns: [],
      onDelete: onDelete ?? '',
      onUpdate: onUpdate ?? '',
    };
    keys.set(id, known);
    known.toColumns.push(column ?? '');
  }
  return [...keys.values()];
}
