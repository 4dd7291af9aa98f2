/** The tables of a log's plan as the catalog has them: how the log stores their columns, and why one cannot be followed. */
import { createHash } from 'node:crypto';
import type { Problem } from '@qiao/exchange';
import type { AskedTable } from '../log/asked.ts';
import type { LoggedTable } from './binlogRows.ts';
import { storedTypeOf } from './binlogTypes.ts';
import { valueWriter } from './binlogValues.ts';
import { isTransactional, type MysqlColumn, type MysqlTable, readTable, whereTable } from './describe.ts';
import { charsetReaders, isReadable } from './logCharset.ts';
import type { LoggedColumn } from './loggedColumn.ts';
import type { LogRange } from './logServer.ts';
import type { Session } from './session.ts';
import { qualified } from './sql.ts';

export interface LogTable {
  readonly label: string;
  readonly table: MysqlTable;
  /** BASE TABLE, VIEW, SYSTEM VERSIONED, … */
  readonly kind: string;
  readonly columns: readonly CatalogColumn[];
  readonly key: readonly string[];
  /** Of other tables, that change rows of this one behind the log's back. */
  readonly cascades: readonly string[];
  /** What the catalog says of the table and of the columns of the plan. */
  readonly identity: string;
  /** All that the catalog says, also of columns beside the plan. */
  readonly catalog: string;
}

interface CatalogColumn extends MysqlColumn {
  /** CHARACTER_OCTET_LENGTH. */
  readonly bytes: number;
  /** Of one character. */
  readonly mostBytes: number;
}

/** In the order asked for. */
export async function readLogTables(session: Session, asked: readonly AskedTable[]): Promise<(LogTable | Problem)[]> {
  const found: (LogTable | Problem)[] = [];
  for (const each of asked) found.push(await readLogTable(session, each));
  return found;
}

async function readLogTable(session: Session, { ref, columns, key }: AskedTable): Promise<LogTable | Problem> {
  const database = ref.schema ?? session.database;
  const { name } = ref;
  const table = await readTable(session, database, name);
  if (table === undefined) {
    const hint = 'compare with: qiao agent datasource tables NAME';
    return { code: 'TABLE_MISSING', path: name, message: `table ${name} does not exist or cannot be seen`, hint };
  }
  const is = whereTable(session, database, name, 'TABLE_SCHEMA', 'TABLE_NAME');
  const [kind] = await session.rows(`SELECT TABLE_TYPE FROM information_schema.TABLES WHERE ${is}`);
  const places = await session.rows(
    `SELECT c.COLUMN_NAME, c.CHARACTER_OCTET_LENGTH, s.MAXLEN, c.COLUMN_TYPE, c.COLLATION_NAME, c.EXTRA
       FROM information_schema.COLUMNS c LEFT JOIN information_schema.CHARACTER_SETS s ON s.CHARACTER_SET_NAME = c.CHARACTER_SET_NAME
      WHERE ${whereTable(session, database, name, 'c.TABLE_SCHEMA', 'c.TABLE_NAME')} ORDER BY c.ORDINAL_POSITION`,
  );
  const known = new Map(table.columns.map((column) => [column.name, column]));
  const lost = columns.find((column) => !known.has(column));
  if (lost !== undefined) {
    const message = `table ${name} has no column ${lost}`;
    return { code: 'COLUMN_MISSING', path: name, message, hint: 'qiao bridge check -f FILE' };
  }
  const cascades = kind?.[0] === 'BASE TABLE' ? await readCascades(session, table) : [];
  const wanted = places.filter(([column]) => columns.includes(column ?? ''));
  return {
    label: name,
    table,
    kind: kind?.[0] ?? '',
    columns: columns.map((column) => {
      const [, bytes, mostBytes] = places.find(([each]) => each === column) ?? [];
      return {
        ...(known.get(column) as MysqlColumn),
        bytes: Number(bytes ?? 0),
        mostBytes: Number(mostBytes ?? 1),
      };
    }),
    key,
    cascades,
    identity: createHash('sha256')
      .update(JSON.stringify([kind, table.engine, wanted]))
      .digest('base64url'),
    catalog: JSON.stringify([kind, table.engine, places, cascades]),
  };
}

/** Foreign keys by which the engine itself deletes or changes rows of the table: none of that is in the log. Their catalog is shown to few accounts. */
async function readCascades(session: Session, { database, ref }: MysqlTable): Promise<string[]> {
  const [row] = await session.rows(`SHOW CREATE TABLE ${qualified(database, ref.name)}`);
  return [...(row?.[1] ?? '').matchAll(FOREIGN_KEY)]
    .filter(([, , rules = '']) => /CASCADE|SET/.test(rules))
    .map(([, name = '']) => name.replaceAll('``', '`'));
}

/** As the server writes it, on a line of its own. */
const FOREIGN_KEY = (() => {
  const name = '`((?:[^`]|``)*)`';
  const other = '`(?:[^`]|``)*`';
  const others = `\\(${other}(?:, ${other})*\\)`;
  const to = `REFERENCES (?:${other}\\.)?${other} ${others}`;
  return new RegExp(`^ +CONSTRAINT ${name} FOREIGN KEY ${others} ${to}((?: ON (?:DELETE|UPDATE) [A-Z ]+?)*),?$`, 'gm');
})();

/** Why the table cannot be followed: every reason; none when it can. */
export function tableProblems(found: LogTable, range: Pick<LogRange, 'isLogged'> | undefined): readonly Problem[] {
  const { label: path, table, kind, columns, key, cascades } = found;
  const name = table.ref.name;
  const orElse = 'or write capture: compare';
  const problems: Problem[] = [];
  const problem = (code: string, message: string, hint: string) => void problems.push({ code, path, message, hint });
  if (kind !== 'BASE TABLE') {
    const what = kind === 'SYSTEM VERSIONED' ? 'keeps its history in itself' : 'is no table of its own';
    const message = `${name} ${what}: its changes are not in the log as those of its rows`;
    problem('LOG_KIND', message, `name the tables that it reads, ${orElse}`);
    return problems;
  }
  if (!isTransactional(table)) {
    const message = `${name} is a table of ${table.engine}, which rolls nothing back: the log may have rows of it that a statement left behind when it failed`;
    problem('LOG_KIND', message, `ALTER TABLE ${qualified(table.database, name)} ENGINE = InnoDB; ${orElse}`);
  }
  if (range?.isLogged(table.database) === false) {
    const message = `the server leaves database ${table.database} out of its log`;
    problem('LOG_FILTERED', message, `binlog_do_db and binlog_ignore_db in its configuration, ${orElse}`);
  }
  for (const cascade of cascades) {
    const message = `the foreign key ${cascade} of ${name} deletes or changes its rows with those of another table: that is not in the log`;
    problem('LOG_CASCADE', message, `make it RESTRICT and let the program do both, ${orElse}`);
  }
  for (const column of columns) {
    const why = unreadable(column);
    const message = `column ${column.name} of ${name} ${why}`;
    if (why !== undefined) problem('LOG_COLUMN', message, `leave the column out of the bridge (columns:), ${orElse}`);
  }
  const isKey = table.uniqueKeys.some((unique) => unique.every((column) => key.includes(column)));
  if (isKey && key.length > 0) return problems;
  const message = `no unique index of columns that are never null proves the key (${key.join(', ')}) of ${name}: its rows could not be told apart`;
  problem('LOG_NO_IDENTITY', message, `add a primary key, ${orElse}`);
  return problems;
}

/** Why the log's form of a column is not read. */
function unreadable({ generated, catalog, mostBytes, bytes }: CatalogColumn): string | undefined {
  if (generated) return 'is computed by the database, and not in its log';
  if (/\/\*/.test(catalog.text)) return `is stored in another form (${catalog.text}), which is not read from the log`;
  if (catalog.charset !== undefined && !isReadable(catalog.charset, mostBytes))
    return `has text of ${catalog.charset}, which is not read from the log`;
  // The catalog shows what it cannot write as question marks.
  if (/^(enum|set)$/.test(catalog.name) && catalog.text.includes('?'))
    return 'has labels that the catalog may not show';
  return storedTypeOf(catalog, bytes) === undefined
    ? `is of a type (${catalog.text}) that is not read from the log`
    : undefined;
}

/** How rows of tables without problems are read. */
export async function loggedTables(
  session: Session,
  tables: readonly (LogTable | undefined)[],
): Promise<(LoggedTable | undefined)[]> {
  const charsets = tables.flatMap((each) => each?.columns.flatMap(({ catalog }) => catalog.charset ?? []) ?? []);
  const readers = await charsetReaders(session, charsets);
  return tables.map((each) => {
    if (each === undefined) return undefined;
    const columns = each.columns.map(({ name, catalog, bytes }): LoggedColumn => {
      const isLabel = catalog.name === 'enum' || catalog.name === 'set';
      const reader = catalog.charset === undefined || isLabel ? undefined : readers.get(catalog.charset);
      return { name, stored: storedTypeOf(catalog, bytes) ?? 0, ...valueWriter(catalog, reader) };
    });
    const { database, ref } = each.table;
    return { database, name: ref.name, columns, keyColumns: each.key.length };
  });
}
