/** Makes a target table for an operator who has none: exactly the bridged columns, the key as primary key. */

import { type ColumnType, QiaoError } from '@qiao/exchange';
import type { TargetTable } from '../adapter.ts';
import { homeOf } from '../pairs.ts';
import type { Session } from './session.ts';
import { identifier, identifiers, qualified } from './sql.ts';
import { columnSql } from './types.ts';

/** Does nothing when the table exists. Throws TYPE_REFUSED for a type that the database does not have. */
export async function createTable(session: Session, schema: string, table: TargetTable): Promise<void> {
  for (const { name, type } of table.columns) {
    if (isOwn(type)) await proveType(session, columnSql(type, name), name);
  }
  await session.run(createTableSql(schema, table));
}

/** The statement that makes the table. Throws TYPE_REFUSED. */
export function createTableSql(schema: string, table: TargetTable): string {
  const lines: string[] = [];
  for (const { name, type } of table.columns) {
    const sql = columnSql(homeOf(type, 'postgres'), name);
    // A journal's deletes carry the key only, so nothing but the key may be required there.
    lines.push(`${identifier(name)} ${sql}${table.key.includes(name) ? ' NOT NULL' : ''}`);
  }
  if (table.landing === 'journal') {
    const names = table.journalColumns;
    // Tells the department's programs in which order the changes came.
    lines.unshift(`${identifier('qiao_journal_id')} bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY`);
    lines.push(
      `${identifier(names.operation)} char(1) NOT NULL`,
      `${identifier(names.batchNo)} text NOT NULL`,
      `${identifier(names.sourceDepartment)} text NOT NULL`,
      `${identifier(names.appliedAt)} timestamptz NOT NULL`,
      `${identifier(names.processed)} text NOT NULL DEFAULT '0'`,
    );
  } else {
    if (table.onDelete === 'mark' && table.markColumn !== undefined) {
      lines.push(`${identifier(table.markColumn)} boolean NOT NULL DEFAULT false`);
    }
    lines.push(`PRIMARY KEY (${identifiers(table.key)})`);
  }
  return `CREATE TABLE IF NOT EXISTS ${qualified(table.ref.schema ?? schema, table.ref.name)} (\n  ${lines.join(',\n  ')}\n)`;
}

function isOwn(type: ColumnType): boolean {
  return type.type === 'native' && type.system === 'postgres';
}

async function proveType(session: Session, sql: string, column: string): Promise<void> {
  const [row] = await session.rows('SELECT pg_catalog.to_regtype($1)', [sql]);
  if (row?.[0] != null) return;
  throw new QiaoError('TYPE_REFUSED', `column ${column}: this database has no type ${sql}`, {
    hint: 'create the type or its extension first, then: qiao bridge check -f FILE',
  });
}
