/**
 * What the preflight of every adapter says of foreign keys at the target (D4 of adapter.ts): parents that the bridge does not bring,
 * circles in which no row can be the first, and keys that act by themselves.
 */
import type { Problem } from '@qiao/exchange';
import type { ForeignKey, TableRef } from './adapter.ts';
import { cascadeProblems, type ReferredTable } from './cascades.ts';

export interface TargetKey extends ForeignKey {
  /** It can be checked when a delivery is whole, and not at each statement. */
  readonly isDeferrable: boolean;
  /** The statement that frees the landing of a circle from this key. */
  readonly release: string;
}

/** A table that rows land in. */
export interface KeyedTable extends ReferredTable {
  readonly keys: readonly TargetKey[];
  readonly columns: readonly { readonly name: string; readonly nullable: boolean }[];
}

export function foreignKeyProblems(tables: readonly KeyedTable[]): Problem[] {
  const byName = new Map(tables.map((table) => [nameOf(table.ref), table]));
  const outgoing = tables.flatMap((table) =>
    table.keys.flatMap((key): Problem[] => {
      const parent = byName.get(nameOf(key.toTable));
      if (parent === table) return [];
      if (parent === undefined) return [outside(table, key)];
      if (key.isDeferrable || !reaches(byName, parent, table, () => true)) return [];
      const isForced = (of: KeyedTable, each: TargetKey) => !each.isDeferrable && isRequired(of, each);
      return [circle(table, parent, key, isForced(table, key) && reaches(byName, parent, table, isForced))];
    }),
  );
  return [...outgoing, ...cascadeProblems(tables)];
}

function outside({ target }: KeyedTable, { columns, toTable, toColumns }: TargetKey): Problem {
  return {
    code: 'FOREIGN_KEY_OUTSIDE',
    path: `${target.table}.${columns.join(',')}`,
    message: `rows have to find their parent in ${toTable.name} (${toColumns.join(', ')}), which this bridge does not bring`,
    hint: `rows without one wait in quarantine (FOREIGN_KEY): bring ${toTable.name} by this bridge too, or see that it is filled before`,
    warning: true,
  };
}

/** `isForced`: no column on the way may be null, so that not even a part of the rows can be first. */
function circle(
  { target }: KeyedTable,
  parent: KeyedTable,
  { columns, release }: TargetKey,
  isForced: boolean,
): Problem {
  return {
    code: 'FOREIGN_KEY_CYCLE',
    path: `${target.table}.${columns.join(',')}`,
    message: `rows of ${target.table} and of ${parent.target.table} refer to each other in a circle, and this key is checked at each statement: neither can be the first`,
    hint: release,
    ...(isForced ? {} : { warning: true }),
  };
}

function isRequired({ columns }: KeyedTable, key: TargetKey): boolean {
  return key.columns.every((name) => columns.find((column) => column.name === name)?.nullable === false);
}

/** Whether keys that are `taken` lead from one table to another. */
function reaches(
  byName: ReadonlyMap<string, KeyedTable>,
  from: KeyedTable,
  to: KeyedTable,
  taken: (table: KeyedTable, key: TargetKey) => boolean,
): boolean {
  const seen = new Set<KeyedTable>();
  const open = [from];
  for (let table = open.pop(); table !== undefined; table = open.pop()) {
    if (table === to) return true;
    if (seen.has(table)) continue;
    seen.add(table);
    for (const key of table.keys) {
      const parent = byName.get(nameOf(key.toTable));
      if (parent !== undefined && taken(table, key)) open.push(parent);
    }
  }
  return false;
}

function nameOf({ schema = '', name }: TableRef): string {
  return JSON.stringify([schema, name]);
}
