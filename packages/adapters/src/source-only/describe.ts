/** What catalogs give a row at a time, put together: keys and references by their names. */
import type { ForeignKey } from '../adapter.ts';

type Row = readonly (string | null)[];

export interface FoundKey {
  readonly isPrimary: boolean;
  readonly columns: readonly string[];
}

/** Rows of `name, P for the primary key, column`, columns in order; the primary key comes first. */
export function keysOf(rows: readonly Row[]): FoundKey[] {
  const keys = new Map<string, { isPrimary: boolean; columns: string[] }>();
  for (const [name, kind, column] of rows) {
    const key = keys.get(name ?? '') ?? { isPrimary: kind === 'P', columns: [] };
    keys.set(name ?? '', key);
    key.columns.push(column ?? '');
  }
  return [...keys.values()].toSorted((a, b) => Number(b.isPrimary) - Number(a.isPrimary));
}

/** Rows of `name, column, schema, table and column that it refers to`, columns in order. */
export function foreignKeysOf(rows: readonly Row[]): ForeignKey[] {
  const keys = new Map<string, { columns: string[]; toTable: { schema: string; name: string }; toColumns: string[] }>();
  for (const [name, column, schema, table, toColumn] of rows) {
    const key = keys.get(name ?? '') ?? {
      columns: [],
      toTable: { schema: schema ?? '', name: table ?? '' },
      toColumns: [],
    };
    keys.set(name ?? '', key);
    key.columns.push(column ?? '');
    key.toColumns.push(toColumn ?? '');
  }
  return [...keys.values()];
}

/** What follows of keys: which proves a row, and which might. */
export function provenBy(
  keys: readonly FoundKey[],
  columns: readonly { readonly name: string; readonly nullable: boolean }[],
): {
  primaryKey: readonly string[];
  uniqueKeys: readonly (readonly string[])[];
  uniqueIndexes: readonly (readonly string[])[];
} {
  const required = new Set(columns.filter(({ nullable }) => !nullable).map(({ name }) => name));
  const all = keys.map((key) => key.columns);
  return {
    primaryKey: keys.find(({ isPrimary }) => isPrimary)?.columns ?? [],
    uniqueKeys: all.filter((key) => key.every((name) => required.has(name))),
    uniqueIndexes: all,
  };
}
