/** Findings that source and target have in common. */
import type { Problem } from '@qiao/exchange';
import { columnMeant } from '../preflight.ts';
import type { SqliteTable } from './describe.ts';

export function missingTable(label: string, name: string): Problem {
  return {
    code: 'TABLE_MISSING',
    path: label,
    message: `there is no table ${name}`,
    hint: 'See what there is: qiao agent datasource tables NAME',
  };
}

export function missingColumn(label: string, name: string, table: SqliteTable): Problem {
  return {
    code: 'COLUMN_MISSING',
    path: `${label}.${name}`,
    message: `${table.name} has no column ${name}`,
    hint: columnMeant(name, table.columns),
  };
}

export function notUnique(label: string, table: SqliteTable, key: readonly string[]): Problem {
  const other = table.uniqueKeys[0];
  return {
    code: 'KEY_NOT_UNIQUE',
    path: label,
    message: `${table.name} has no unique index on exactly (${key.join(', ')})`,
    hint: other
      ? `A proven key is (${other.columns.join(', ')}).`
      : `Add one: CREATE UNIQUE INDEX … (${key.join(', ')})`,
  };
}
