/**
 * The preflight of the reading end, and what both ends ask alike: reads the catalog, changes nothing, and reports every problem at
 * once with its fix. The writing end is `checkTarget.ts`.
 */

import type { Problem } from '@qiao/exchange';
import type { SourceTable } from '../adapter.ts';
import { homeOf } from '../pairs.ts';
import {
  largeColumn,
  missingColumn,
  type Remedies,
  type Report,
  reporter,
  sourceKeyProblems,
  viewKeyUnproven,
} from '../preflight.ts';
import { cursorTableProblems } from './checkCursor.ts';
import { checkLog } from './checkLog.ts';
import { currentUser, isTransactional, type MysqlColumn, type MysqlTable, readTable, whereTable } from './describe.ts';
import type { Server, Session } from './session.ts';
import { identifier, identifiers, qualified } from './sql.ts';
import { columnSql } from './types.ts';

/** Can these tables be read whole, with a key, in types that travel? */
export async function checkSource(session: Session, tables: readonly SourceTable[]): Promise<Problem[]> {
  const problems: Problem[] = [];
  const logged: SourceTable[] = [];
  for (const asked of tables) {
    const report = reporter(problems, asked.table);
    const database = asked.ref.schema ?? session.database;
    const table = await readTable(session, database, asked.ref.name);
    if (table === undefined) {
      report('', 'TABLE_MISSING', `table ${database}.${asked.ref.name} does not exist or cannot be seen`, {
        hint: 'compare with: qiao agent datasource tables NAME',
      });
      continue;
    }
    const known = new Map(table.columns.map((column) => [column.name, column]));
    const key = asked.key ?? table.primaryKey;
    const cursor = asked.cursor === undefined ? [] : [asked.cursor];
    const shared = [...key, ...(asked.columns ?? table.columns.map((column) => column.name))];
    const columns = [...new Set([...shared, ...cursor])];
    if (asked.log === true)
      logged.push({ ...asked, key, columns: [...new Set(shared)].filter((name) => isShared(known.get(name))) });
    for (const name of columns) {
      const column = known.get(name);
      if (column === undefined) {
        missingColumn(report, name, table);
      } else if ('unsupported' in column.type) {
        report(name, 'TYPE_UNSUPPORTED', `type ${column.type.unsupported} of column ${name} cannot travel`, {
          hint: 'leave the column out of `columns`, or share a view that turns it into text',
        });
      } else largeColumn(report, column);
    }
    for (const name of cursor) problems.push(...(await cursorTableProblems(session, asked.table, table, name)));
    if (table.kind === 'table' && !isTransactional(table) && asked.log !== true) {
      report(
        '',
        'ENGINE_WITHOUT_TRANSACTIONS',
        `${table.engine} keeps no snapshot: rows are read a few at a time, each as it is then`,
        {
          hint: `ALTER TABLE ${quoted(table)} ENGINE = InnoDB; if all rows have to be of one moment`,
          warning: true,
        },
      );
    }
    sourceKey(report, table, key, session.server);
    await sourceRights(
      session,
      report,
      table,
      columns.filter((name) => known.has(name)),
    );
  }
  if (logged.length > 0) problems.push(...(await checkLog(session, logged)));
  return problems;
}

function isShared(column: MysqlColumn | undefined): boolean {
  return column !== undefined && 'type' in column.type;
}

function sourceKey(report: Report, table: MysqlTable, key: readonly string[], server: Server): void {
  if (table.kind === 'view' && key.length > 0) viewKeyUnproven(report, key, 'share the table, if you are not sure');
  else sourceKeyProblems(report, table, key, remedies(table, server));
}

async function sourceRights(
  session: Session,
  report: Report,
  table: MysqlTable,
  columns: readonly string[],
): Promise<void> {
  const rights = await columnRights(session, table.database, table.ref.name);
  const unread = columns.filter((name) => rights.get(name)?.has('select') !== true);
  if (unread.length === 0) return;
  const user = await currentUser(session);
  for (const name of unread) {
    report(name, 'RIGHTS_MISSING', `column ${name} may not be read`, {
      hint: `GRANT SELECT (${identifier(name)}) ON ${quoted(table)} TO ${user};`,
    });
  }
}

/** What this account may do with each column: select, insert, update, references. */
export async function columnRights(
  session: Session,
  database: string,
  name: string,
): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const rows = await session.rows(
    `SELECT COLUMN_NAME, PRIVILEGES FROM information_schema.COLUMNS
      WHERE ${whereTable(session, database, name, 'TABLE_SCHEMA', 'TABLE_NAME')}`,
  );
  return new Map(rows.map(([column, rights]) => [column ?? '', new Set((rights ?? '').split(','))]));
}

export function quoted(table: MysqlTable): string {
  return qualified(table.database, table.ref.name);
}

export function remedies(table: MysqlTable, server: Server): Remedies {
  const alter = `ALTER TABLE ${quoted(table)}`;
  return {
    addColumn: (name, use) =>
      `${alter} ADD COLUMN ${identifier(name)} ${use === 'mark' ? 'boolean NOT NULL DEFAULT 0' : 'varchar(255)'};`,
    addSent: (name, type) =>
      `${alter} ADD COLUMN ${identifier(name)} ${columnSql(homeOf(type, 'mysql'), name, server)};`,
    retype: ({ name, nullable }, type) =>
      `${alter} MODIFY ${identifier(name)} ${columnSql(homeOf(type, 'mysql'), name, server)} ${nullable ? 'NULL' : 'NOT NULL'};`,
    allowNull: ({ name, nativeType }) => `${alter} MODIFY ${identifier(name)} ${nativeType} NULL;`,
    forbidNull: ({ name, nativeType }) => `${alter} MODIFY ${identifier(name)} ${nativeType} NOT NULL;`,
    setDefault: (name) => `${alter} ALTER COLUMN ${identifier(name)} SET DEFAULT …;`,
    uniqueIndex: (key) => `CREATE UNIQUE INDEX qiao_key ON ${quoted(table)} (${identifiers(key)});`,
  };
}
