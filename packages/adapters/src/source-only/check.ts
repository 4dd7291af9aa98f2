/**
 * The preflight of a database that is only read: asks the catalog and the server itself, changes nothing, and reports every problem at once
 * with its fix. What only one product has is told by its own `hindrances`.
 */
import { type Problem, QiaoError } from '@qiao/exchange';
import type { SourceTable } from '../adapter.ts';
import { cursorProblems, horizonUnproven, notIndexed } from '../cursorProblems.ts';
import {
  missingColumn,
  type Remedies,
  type Report,
  reporter,
  sourceKeyProblems,
  viewKeyUnproven,
} from '../preflight.ts';
import { quoted } from './cursor.ts';
import type { ReadColumn, Reader, ReadTable, SourceDatabase } from './reader.ts';

/** Can these tables be read whole, with a key, in types that travel? */
export async function checkSource<Session extends Reader>(
  database: SourceDatabase<Session>,
  session: Session,
  tables: readonly SourceTable[],
): Promise<Problem[]> {
  const problems: Problem[] = [];
  const found: { label: string; table: ReadTable }[] = [];
  for (const asked of tables) {
    const report = reporter(problems, asked.table);
    const schema = asked.ref.schema ?? database.schema;
    const table = await database.readTable(session, schema, asked.ref.name);
    if (table === undefined) {
      report('', 'TABLE_MISSING', `table ${schema}.${asked.ref.name} does not exist or cannot be seen`, {
        hint: 'compare with: qiao agent datasource tables NAME; names count as the database spells them',
      });
      continue;
    }
    found.push({ label: asked.table, table });
    const key = asked.key ?? table.primaryKey;
    const shared = new Set([...key, ...(asked.columns ?? table.columns.map(({ name }) => name))]);
    const columns = [...new Set([...shared, ...(asked.cursor === undefined ? [] : [asked.cursor])])];
    for (const name of columns)
      columnProblems(report, table, name, { isShared: shared.has(name), isKey: key.includes(name) });
    keyProblems(database, report, table, key);
    const read = columns.filter((name) => table.columns.some((column) => column.name === name));
    await rights(database, session, report, table, read);
    if (asked.cursor !== undefined) {
      problems.push(...(await cursorTableProblems(database, session, asked.table, table, asked.cursor)));
    }
    if (asked.log === true) {
      report('', 'LOG_OFF', `the log of ${database.name} is not read`, {
        hint: 'write capture: compare, or capture: cursor with a column that rises with every change',
      });
    }
  }
  return [...(await database.hindrances(session, found)), ...problems];
}

function columnProblems(
  report: Report,
  table: ReadTable,
  name: string,
  { isShared, isKey }: { isShared: boolean; isKey: boolean },
): void {
  const column = table.columns.find((each) => each.name === name);
  if (column === undefined) {
    missingColumn(report, name, table);
  } else if (!isShared) return;
  else if (column.travel === undefined) {
    report(name, 'TYPE_UNSUPPORTED', `type ${column.nativeType} of column ${name} cannot travel`, {
      hint: 'leave the column out of `columns`, or share a view that turns it into text',
    });
  } else if (isKey && column.travel.compared === undefined) {
    report(name, 'TYPE_UNSUPPORTED', `by a column of type ${column.nativeType} no row can be found`, {
      hint: 'name other columns as the key',
    });
  } else if (column.travel.loses !== undefined) {
    report(name, 'TYPE_LOSSY', `column ${name}: ${column.travel.loses}`, {
      hint: 'share a view that keeps it as text, if the destination needs it',
      warning: true,
    });
  }
}

function keyProblems<Session extends Reader>(
  database: SourceDatabase<Session>,
  report: Report,
  table: ReadTable,
  key: readonly string[],
): void {
  const isProven = table.uniqueIndexes.some((index) => index.every((name) => key.includes(name)));
  if (table.kind === 'view' && key.length > 0 && !isProven) {
    viewKeyUnproven(report, key, 'share the table, if you are not sure');
  } else sourceKeyProblems(report, table, key, remedies(database, table));
}

/** Whether the server takes the statement says more of rights than any catalog: roles, columns, what a view reads. */
async function rights<Session extends Reader>(
  database: SourceDatabase<Session>,
  session: Session,
  report: Report,
  table: ReadTable,
  columns: readonly string[],
): Promise<void> {
  if (columns.length === 0) return;
  const names = columns.map((name) => database.identifier(name)).join(', ');
  try {
    await session.rows({ sql: `SELECT ${names} FROM ${quoted(database, table)} WHERE 1 = 0`, values: [] });
  } catch (error) {
    if (!(error instanceof QiaoError) || error.fate === 'transient') throw error;
    report('', 'RIGHTS_MISSING', `table ${table.schema}.${table.name} may not be read with these columns`, {
      hint: database.grantSelect(table),
    });
  }
}

async function cursorTableProblems<Session extends Reader>(
  database: SourceDatabase<Session>,
  session: Session,
  label: string,
  table: ReadTable,
  name: string,
): Promise<Problem[]> {
  const column = table.columns.find((each) => each.name === name);
  if (column === undefined) return [];
  const problems = cursorProblems(label, column);
  if (problems.some(({ warning }) => warning !== true)) return problems;
  // The indexes of a view's tables serve it, or do not: its definition would have to be understood.
  if (table.kind === 'table' && !table.indexed.has(name)) {
    const index = database.identifier(`qiao_${name}`);
    const ddl = `CREATE INDEX ${index} ON ${quoted(database, table)} (${database.identifier(name)})`;
    problems.push(notIndexed(label, name, `${ddl};`));
  }
  if (database.risen?.fills(column) === true) return problems;
  const unseen = await database.horizon.cannotSee(session);
  if (unseen !== undefined) problems.push(horizonUnproven(label, name, unseen.why, unseen.fix));
  return problems;
}

function remedies<Session extends Reader>(database: SourceDatabase<Session>, table: ReadTable): Remedies {
  const own = quoted(database, table);
  const list = (names: readonly string[]) => names.map((name) => database.identifier(name)).join(', ');
  const alter = ({ name, nativeType }: Pick<ReadColumn, 'name' | 'nativeType'>, end: string) =>
    database.adapter === 'mssql'
      ? `ALTER TABLE ${own} ALTER COLUMN ${database.identifier(name)} ${nativeType} ${end};`
      : `ALTER TABLE ${own} MODIFY ${database.identifier(name)} ${end};`;
  const never = () => 'share it as a source; nothing is written here';
  return {
    allowNull: (column) => alter(column, 'NULL'),
    forbidNull: (column) => alter(column, 'NOT NULL'),
    uniqueIndex: (key) => `ALTER TABLE ${own} ADD UNIQUE (${list(key)});`,
    addColumn: never,
    addSent: never,
    setDefault: never,
  };
}
