/**
 * What is known of tables of files: what agent.yaml declares. No file is opened for it. Rows of a drop have three columns of the adapter's own:
 * the digest of their file, their place in it, and the number by which they are read.
 */
import type { ColumnType } from '@qiao/exchange';
import { typeText } from '@qiao/exchange';
import type { ColumnDescription, FilesTable, TableDescription, TableRef } from '../adapter.ts';

const DIGEST: ColumnType = { type: 'text', maxLength: 64 };
const NUMBER: ColumnType = { type: 'integer', bits: 64 };

/** Columns that every drop has, key first. */
export const DROP_COLUMNS: ReadonlyMap<string, ColumnType> = new Map<string, ColumnType>([
  ['qiao_file', DIGEST],
  ['qiao_row', NUMBER],
  ['qiao_file_no', NUMBER],
]);
export const DROP_KEY = ['qiao_file', 'qiao_row'] as const;
export const DROP_CURSOR = 'qiao_file_no';

export function tableOf(tables: Readonly<Record<string, FilesTable>>, ref: TableRef): FilesTable | undefined {
  if (ref.schema !== undefined || !Object.hasOwn(tables, ref.name)) return undefined;
  return tables[ref.name];
}

/** `isEmpty` looks for a file. */
export function descriptionOf(name: string, definition: FilesTable, isEmpty: () => Promise<boolean>): TableDescription {
  const key = definition.nature === 'drop' ? DROP_KEY : definition.key;
  const own = definition.nature === 'drop' ? [...DROP_COLUMNS].map(([column, type]) => ({ name: column, type })) : [];
  return {
    ref: { name },
    kind: 'table',
    columns: [...own, ...definition.columns].map(
      ({ name: column, type }): ColumnDescription => ({
        name: column,
        type,
        nativeType: typeText(type),
        nullable: !DROP_COLUMNS.has(column) && !key.includes(column),
        generated: false,
        hasDefault: false,
      }),
    ),
    primaryKey: key,
    uniqueKeys: key.length === 0 ? [] : [key],
    foreignKeys: [],
    isEmpty,
  };
}
