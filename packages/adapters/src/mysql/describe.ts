/**
 * Reads the catalog of one server: which tables there are and what one of them is. Never reads rows, except the one that
 * `isEmpty` asks for. Judging what was found belongs to `check.ts`.
 */

import type { ColumnDescription, ForeignKey, TableDescription, TableRef } from '../adapter.ts';
import { OWN_PREFIX } from '../mark.ts';
import type { FoundConstraint } from '../preflight.ts';
import type { Row, Session } from './session.ts';
import { bytesOf, literal, qualified } from './sql.ts';
import { type CatalogType, describedType } from './types.ts';

/** A description with what only this adapter's own files need. */
export interface MysqlTable extends Omit<TableDescription, 'isEmpty'> {
  readonly database: string;
  /** InnoDB, MyISAM, …; empty for a view. */
  readonly engine: string;
  readonly columns: readonly MysqlColumn[];
  /** Some columns are INVISIBLE: described to nobody. */
  readonly hasHiddenColumns: boolean;
  /** Every whole unique index, nullable columns included. */
  readonly uniqueIndexes: readonly (readonly string[])[];
  readonly foreignKeys: readonly MysqlForeignKey[];
}

interface MysqlForeignKey extends ForeignKey {
  readonly constraint: string;
}

export interface MysqlColumn extends ColumnDescription {
  readonly catalog: CatalogType;
  readonly isAutoIncrement: boolean;
}

const SYSTEM_DATABASES = ['information_schema', 'performance_schema', 'mysql', 'sys'];

/** Engines whose reads keep one view and whose writes roll back. */
const TRANSACTIONAL = /^(InnoDB|XtraDB|TokuDB|RocksDB|ndbcluster|OceanBase|TiDB)?$/i;

/** Tables and views the connection may see, Qiao's own left out. */
export async function readTables(session: Session): Promise<TableRef[]> {
  const rows = await session.rows(
    `SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES
      WHERE TABLE_SCHEMA NOT IN (${SYSTEM_DATABASES.map(literal).join(', ')}) AND TABLE_TYPE <> 'SEQUENCE'
        AND LEFT(TABLE_NAME, ${OWN_PREFIX.length}) <> ${literal(OWN_PREFIX)}
      ORDER BY ${bytesOf('TABLE_SCHEMA')}, ${bytesOf('TABLE_NAME')}`,
  );
  return rows.map(([schema, name]) => ({ schema: schema ?? '', name: name ?? '' }));
}

/** One table or view, or undefined when there is none of this name. */
export async function readTable(session: Session, database: string, name: string): Promise<MysqlTable | undefined> {
  const is = (schemaColumn: string, nameColumn: string) =>
    whereTable(session, database, name, schemaColumn, nameColumn);
  const [relation] = await session.rows(
    `SELECT TABLE_TYPE, ENGINE, TABLE_ROWS FROM information_schema.TABLES WHERE ${is('TABLE_SCHEMA', 'TABLE_NAME')}`,
  );
  if (relation === undefined) return undefined;
  const [type, engine, estimate] = relation;
  const json = await checkedJson(session, database, name);
  const stored = await session.rows(
    `SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, CHARACTER_SET_NAME, COLLATION_NAME,
              CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION
         FROM information_schema.COLUMNS WHERE ${is('TABLE_SCHEMA', 'TABLE_NAME')} ORDER BY ORDINAL_POSITION`,
  );
  const columns = stored
    .filter(([, , , , , extra]) => !/INVISIBLE/i.test(extra ?? ''))
    .map((row) => columnOf(row, json));
  const keys = await readKeys(session, is('TABLE_SCHEMA', 'TABLE_NAME'));
  const isNullable = new Map(columns.map((column) => [column.name, column.nullable]));
  return {
    ref: { schema: database, name },
    database,
    engine: engine ?? '',
    kind: type === 'VIEW' || type === 'SYSTEM VIEW' ? 'view' : 'table',
    columns,
    hasHiddenColumns: columns.length < stored.length,
    primaryKey: keys.find((key) => key.isPrimary)?.columns ?? [],
    uniqueKeys: keys
      .filter((key) => key.columns.every((column) => isNullable.get(column) === false))
      .map(({ columns: of }) => of),
    uniqueIndexes: keys.map((key) => key.columns),
    foreignKeys: await readForeignKeys(session, is('TABLE_SCHEMA', 'TABLE_NAME')),
    ...(estimate === null || estimate === undefined ? {} : { estimatedRows: Number(estimate) }),
  };
}

/** Whether something may happen to rows that land beside their landing. */
export async function mayHaveTriggers(session: Session, table: MysqlTable): Promise<boolean> {
  return !(await seesTriggers(session, table)) || (await readTriggers(session, table)).length > 0;
}

/** Names of the department's triggers on a table. */
export async function readTriggers(session: Session, { database, ref }: MysqlTable): Promise<string[]> {
  const rows = await session.rows(
    `SELECT TRIGGER_NAME FROM information_schema.TRIGGERS
      WHERE ${whereTable(session, database, ref.name, 'EVENT_OBJECT_SCHEMA', 'EVENT_OBJECT_TABLE')} ORDER BY TRIGGER_NAME`,
  );
  return rows.map(([name]) => name ?? '');
}

/** Whether the catalog shows this account the triggers of a table: MariaDB does to whom may write rows, MySQL for the right TRIGGER alone. */
export async function seesTriggers(session: Session, { database, ref }: MysqlTable): Promise<boolean> {
  if (session.server.isMariaDb) return true;
  const user = await currentUser(session);
  const granted = (level: string, where: string) =>
    `SELECT 1 FROM information_schema.${level}_PRIVILEGES WHERE GRANTEE = ${literal(user)} AND PRIVILEGE_TYPE = 'TRIGGER' AND ${where}`;
  // A grant of a schema is a pattern.
  const rows = await session.rows(
    `${granted('USER', 'TRUE')} UNION ALL ${granted('SCHEMA', `${literal(database)} LIKE TABLE_SCHEMA`)}
     UNION ALL ${granted('TABLE', whereTable(session, database, ref.name, 'TABLE_SCHEMA', 'TABLE_NAME'))} LIMIT 1`,
  );
  return rows.length > 0;
}

/** Unique indexes and checks; that a JSON column holds JSON belongs to its type. */
export async function readConstraints(session: Session, { database, ref }: MysqlTable): Promise<FoundConstraint[]> {
  const of = (schema: string) => whereTable(session, database, ref.name, schema, 'TABLE_NAME');
  const indexes = await session.rows(
    `SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
      WHERE ${of('TABLE_SCHEMA')} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX`,
  );
  const unique = [...Map.groupBy(indexes, ([name]) => name ?? '')].map(([name, parts]): FoundConstraint => {
    const isPlain = parts.every(([, column, part]) => column !== null && part === null);
    return { kind: 'UNIQUE', name, columns: isPlain ? parts.map(([, column]) => column ?? '') : undefined };
  });
  const checks = await session.rows(
    session.server.isMariaDb
      ? `SELECT CONSTRAINT_NAME FROM information_schema.CHECK_CONSTRAINTS
          WHERE ${of('CONSTRAINT_SCHEMA')} AND CHECK_CLAUSE NOT REGEXP '^json_valid[(]\`[^\`]+\`[)]$' ORDER BY CONSTRAINT_NAME`
      : `SELECT CONSTRAINT_NAME FROM information_schema.TABLE_CONSTRAINTS
          WHERE ${of('TABLE_SCHEMA')} AND CONSTRAINT_TYPE = 'CHECK' ORDER BY CONSTRAINT_NAME`,
  );
  return [...unique, ...checks.map(([name]): FoundConstraint => ({ kind: 'CHECK', name: name ?? '' }))];
}

/** Rows and mark of such a table are one transaction, and reading it is one view. */
export function isTransactional(table: Pick<MysqlTable, 'engine'>): boolean {
  return TRANSACTIONAL.test(table.engine);
}

/** The account as a GRANT writes it. */
export async function currentUser(session: Session): Promise<string> {
  const [row] = await session.rows('SELECT CURRENT_USER()');
  const account = row?.[0] ?? '';
  const at = account.lastIndexOf('@');
  return `${literal(account.slice(0, at))}@${literal(account.slice(at + 1))}`;
}

/** Reads at most one row. */
export async function isTableEmpty(session: Session, database: string, name: string): Promise<boolean> {
  const rows = await session.rows(`SELECT 1 FROM ${qualified(database, name)} LIMIT 1`);
  return rows.length === 0;
}

/** The catalog compares names without case; where the server tells `T` from `t`, so do we. The plain equality finds the table fast. */
export function whereTable(
  session: Session,
  database: string,
  name: string,
  schemaColumn: string,
  nameColumn: string,
): string {
  const plain = `${schemaColumn} = ${literal(database)} AND ${nameColumn} = ${literal(name)}`;
  return session.server.tellsCase
    ? `${plain} AND ${bytesOf(schemaColumn)} = ${literal(database)} AND ${bytesOf(nameColumn)} = ${literal(name)}`
    : plain;
}

/** Its characters take as many bytes as in utf8mb4. */
function isUnicode(charset: string | undefined): boolean {
  return charset === undefined || /^(utf8|utf8mb3|utf8mb4|ascii)$/.test(charset);
}

function columnOf(row: Row, json: ReadonlySet<string>): MysqlColumn {
  const text = (index: number) => row[index] ?? '';
  const number = (index: number) => Number(row[index] ?? 0);
  const name = text(0);
  const catalog: CatalogType = {
    name: text(1).toLowerCase(),
    text: text(2),
    length: number(8),
    precision: number(9),
    scale: number(10),
    digits: number(11),
    charset: row[6] ?? undefined,
    collation: row[7] ?? undefined,
    isCheckedJson: json.has(name),
  };
  const extra = text(5);
  const isAutoIncrement = /auto_increment/i.test(extra);
  return {
    name,
    type: describedType(catalog),
    nativeType: isUnicode(catalog.charset) ? catalog.text : `${catalog.text} CHARACTER SET ${catalog.charset}`,
    nullable: text(3) === 'YES',
    generated: /\b(VIRTUAL|STORED|PERSISTENT) GENERATED\b/i.test(extra),
    // MariaDB writes the default NULL of a column that may be null as the word.
    hasDefault: isAutoIncrement || (row[4] !== null && row[4] !== 'NULL'),
    catalog,
    isAutoIncrement,
  };
}

interface Key {
  readonly isPrimary: boolean;
  readonly columns: string[];
}

/** Unique indexes over whole columns; one over a prefix or an expression proves nothing. */
async function readKeys(session: Session, where: string): Promise<Key[]> {
  const rows = await session.rows(
    `SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
      WHERE ${where} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX`,
  );
  const keys = new Map<string, Key & { isPart: boolean }>();
  for (const [index, column, part] of rows) {
    const key = keys.get(index ?? '') ?? { isPrimary: index === 'PRIMARY', columns: [], isPart: false };
    keys.set(index ?? '', key);
    if (column === null || column === undefined || part !== null) key.isPart = true;
    else key.columns.push(column);
  }
  return [...keys.values()].filter((key) => !key.isPart);
}

async function readForeignKeys(session: Session, where: string): Promise<MysqlForeignKey[]> {
  const rows = await session.rows(
    `SELECT CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME
       FROM information_schema.KEY_COLUMN_USAGE
      WHERE ${where} AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY CONSTRAINT_NAME, ORDINAL_POSITION`,
  );
  const keys = new Map<string, { columns: string[]; toTable: TableRef; toColumns: string[]; constraint: string }>();
  for (const [constraint, column, schema, name, toColumn] of rows) {
    const key = keys.get(constraint ?? '') ?? {
      columns: [],
      toTable: { schema: schema ?? '', name: name ?? '' },
      toColumns: [],
      constraint: constraint ?? '',
    };
    keys.set(constraint ?? '', key);
    key.columns.push(column ?? '');
    key.toColumns.push(toColumn ?? '');
  }
  return [...keys.values()];
}

/** MariaDB's JSON is LONGTEXT with the check json_valid; only the check tells it from other text. */
async function checkedJson(session: Session, database: string, name: string): Promise<ReadonlySet<string>> {
  if (!session.server.isMariaDb) return new Set();
  const rows = await session.rows(
    `SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS
      WHERE ${whereTable(session, database, name, 'CONSTRAINT_SCHEMA', 'TABLE_NAME')}`,
  );
  const columns = rows.map(([clause]) => /^json_valid\(`((?:[^`]|``)+)`\)$/i.exec(clause ?? '')?.[1]);
  return new Set(columns.flatMap((column) => (column === undefined ? [] : [column.replaceAll('``', '`')])));
}
