/** A table of the plan as the catalog is asked for it. */
import type { SnapshotTable, TableRef } from '../adapter.ts';

export interface AskedTable {
  readonly ref: TableRef;
  readonly columns: readonly string[];
  readonly key: readonly string[];
}

export function askedTable({ ref, columns, keyColumns }: SnapshotTable): AskedTable {
  const names = columns.map((column) => column.name);
  return { ref, columns: names, key: names.slice(0, keyColumns) };
}
