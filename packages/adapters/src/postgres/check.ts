/**
 * The preflight of the reading end, and what both ends ask alike: reads the catalog, changes nothing, and reports every problem at
 * once with its fix. The writing end is `checkTarget.ts`.
 */

import type { Problem } from '@qiao/exchange';
import type { SourceTable, TableRef } from '../adapter.ts';
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
import { type PostgresTable, readTable } from './describe.ts';
import type { Session } from './session.ts';
import { identifier, identifiers, qualified } from './sql.ts';
import { columnSql } from './types.ts';

/** Can these tables be read whole, with a key, in types that travel? */
export async function checkSource(
  session: Session,
  schema: string,
  tables: readonly SourceTable[],
): Promise<Problem[]> {
  const problems: Problem[] = [];
  const [encoding] = await session.rows("SELECT current_setting('server_encoding')");
  if (encoding?.[0] === 'SQL_ASCII') {
    problems.push({
      code: 'ENCODING_UNKNOWN',
      path: '',
      message: 'the source database is SQL_ASCII: it does not know the encoding of its own text',
      hint: 'rows that are not UTF-8 stay behind and are counted; convert the database to UTF8 to share them',
      warning: true,
    });
  }
  const logged: SourceTable[] = [];
  for (const asked of tables) {
    const report = reporter(problems, asked.table);
    const table = await readTable(session, asked.ref.schema ?? schema, asked.ref.name);
    if (table === undefined) {
      report('', 'TABLE_MISSING', `table ${where(schema, asked.ref)} does not exist or cannot be seen`, {
        hint: 'compare with: qiao agent datasource tables NAME',
      });
      continue;
    }
    if (asked.log === true) logged.push({ ...asked, key: asked.key ?? table.primaryKey });
    const known = new Map(table.columns.map((column) => [column.name, column]));
    const key = asked.key ?? table.primaryKey;
    const columns = asked.columns ?? table.columns.map((column) => column.name);
    const cursor = asked.cursor === undefined ? [] : [asked.cursor];
    for (const name of new Set([...key, ...columns, ...cursor])) {
      const column = known.get(name);
      if (column === undefined) {
        missingColumn(report, name, table);
      } else if ('unsupported' in column.type && (key.includes(name) || columns.includes(name))) {
        report(name, 'TYPE_UNSUPPORTED', `type ${column.type.unsupported} of column ${name} cannot travel`, {
          hint: 'leave the column out of `columns`, or share a view that turns it into text',
        });
      } else if (columns.includes(name)) largeColumn(report, column);
    }
    sourceKey(report, table, key);
    await sourceRights(
      session,
      report,
      table,
      [...new Set([...key, ...columns, ...cursor])].filter((name) => known.has(name)),
    );
    for (const name of cursor) problems.push(...(await cursorTableProblems(session, asked.table, table, name)));
  }
  if (logged.length > 0) problems.push(...(await checkLog(session, schema, logged)));
  return problems;
}

function sourceKey(report: Report, table: PostgresTable, key: readonly string[]): void {
  const isProven = table.uniqueIndexes.some((index) => index.every((name) => key.includes(name)));
  if (table.kind !== 'view' || key.length === 0) sourceKeyProblems(report, table, key, remedies(table));
  else if (!isProven) {
    viewKeyUnproven(report, key, 'share the table, or a materialised view with a unique index, if you are not sure');
  }
}

async function sourceRights(session: Session, report: Report, table: PostgresTable, columns: string[]): Promise<void> {
  const [row] = await session.rows(
    `SELECT pg_catalog.has_schema_privilege($2, 'USAGE'), pg_catalog.row_security_active($1::oid),
            (SELECT pg_catalog.json_agg(c) FROM pg_catalog.unnest($3::text[]) c WHERE NOT pg_catalog.has_column_privilege($1::oid, c, 'SELECT')),
            current_user`,
    [table.oid, table.schema, columns],
  );
  const user = identifier(row?.[3] ?? '?');
  if (row?.[0] !== 't') {
    report('', 'RIGHTS_MISSING', `schema ${table.schema} may not be used`, {
      hint: `GRANT USAGE ON SCHEMA ${identifier(table.schema)} TO ${user};`,
    });
  }
  for (const name of JSON.parse(row?.[2] ?? '[]') as string[]) {
    report(name, 'RIGHTS_MISSING', `column ${name} may not be read`, {
      hint: `GRANT SELECT (${identifier(name)}) ON ${quoted(table)} TO ${user};`,
    });
  }
  if (row?.[1] === 't') rowSecurity(report, table, user);
}

export function rowSecurity(report: Report, table: PostgresTable, user: string): void {
  report('', 'ROW_SECURITY', 'row security hides rows from this user: missing rows would look deleted', {
    hint: `ALTER ROLE ${user} BYPASSRLS; or ALTER TABLE ${quoted(table)} DISABLE ROW LEVEL SECURITY;`,
  });
}

export function quoted(table: PostgresTable): string {
  return qualified(table.schema, table.ref.name);
}

export function where(schema: string, ref: TableRef): string {
  return `${ref.schema ?? schema}.${ref.name}`;
}

export function remedies(table: PostgresTable): Remedies {
  const alter = `ALTER TABLE ${quoted(table)}`;
  return {
    addColumn: (name, use) =>
      `${alter} ADD COLUMN ${identifier(name)} ${use === 'mark' ? 'boolean NOT NULL DEFAULT false' : 'text'};`,
    addSent: (name, type) => `${alter} ADD COLUMN ${identifier(name)} ${columnSql(homeOf(type, 'postgres'), name)};`,
    retype: ({ name }, type) =>
      `${alter} ALTER COLUMN ${identifier(name)} TYPE ${columnSql(homeOf(type, 'postgres'), name)};`,
    allowNull: ({ name }) => `${alter} ALTER COLUMN ${identifier(name)} DROP NOT NULL;`,
    forbidNull: ({ name }) => `${alter} ALTER COLUMN ${identifier(name)} SET NOT NULL;`,
    setDefault: (name) => `${alter} ALTER COLUMN ${identifier(name)} SET DEFAULT …;`,
    releaseGenerated: (name) =>
      table.columns.find((column) => column.name === name)?.isIdentityAlways === true
        ? `${alter} ALTER COLUMN ${identifier(name)} SET GENERATED BY DEFAULT;`
        : undefined,
    uniqueIndex: (key) => `CREATE UNIQUE INDEX CONCURRENTLY ON ${quoted(table)} (${identifiers(key)});`,
  };
}
