/**
 * The DDL of a target table that Qiao makes itself: the built-in exchange tables.
 */
import { QiaoError } from '@qiao/exchange';
import type { TargetTable } from '../adapter.ts';
import { homeOf } from '../pairs.ts';
import { quote } from './session.ts';
import { declaredTypeOf } from './types.ts';

/** Key column of a journal that Qiao makes: rows in the order they landed. */
export const JOURNAL_ID = 'qiao_journal_id';

/** CREATE TABLE IF NOT EXISTS for exactly these columns. Throws TYPE_REFUSED, and COLUMN_MISSING for a key that is no column. */
export function createTableSql(table: TargetTable): string {
  const isJournal = table.landing === 'journal';
  const parts: string[] = [];
  if (isJournal) parts.push(`${quote(JOURNAL_ID)} INTEGER PRIMARY KEY AUTOINCREMENT`);
  for (const name of table.key) {
    if (table.columns.some((column) => column.name === name)) continue;
    throw new QiaoError('COLUMN_MISSING', `the key column ${name} is not among the columns of ${table.ref.name}`);
  }
  for (const { name, type } of table.columns) {
    parts.push(
      `${quote(name)} ${declaredTypeOf(name, homeOf(type, 'sqlite'))}${table.key.includes(name) ? ' NOT NULL' : ''}`,
    );
  }
  if (isJournal) {
    const { operation, batchNo, sourceDepartment, appliedAt, processed } = table.journalColumns;
    parts.push(
      `${quote(operation)} TEXT NOT NULL`,
      `${quote(batchNo)} TEXT NOT NULL`,
      `${quote(sourceDepartment)} TEXT NOT NULL`,
      `${quote(appliedAt)} TIMESTAMPTZ(3) NOT NULL`,
      `${quote(processed)} TEXT NOT NULL DEFAULT '0'`,
    );
  } else {
    if (table.onDelete === 'mark' && table.markColumn !== undefined) {
      const hasIt = table.columns.some((column) => column.name === table.markColumn);
      if (!hasIt) parts.push(`${quote(table.markColumn)} BOOLEAN NOT NULL DEFAULT 0`);
    }
    parts.push(`PRIMARY KEY (${table.key.map(quote).join(', ')})`);
  }
  return `CREATE TABLE IF NOT EXISTS ${quote(table.ref.name)} (\n  ${parts.join(',\n  ')}\n)`;
}
