/**
 * Capture by trigger: what every adapter promises (T1–T8), and what all share of it. Triggers note keys, never rows: one entry per changed
 * row in a change table beside it, and two where the key itself changed. The rows are read by their keys afterwards (S6), so that a row
 * has the same bytes however it was found, and no second copy of it lies in the business database.
 *
 * T1 `plan` gives the DDL and changes nothing; the same table, key and owner give the same statements. `run` runs them, all or none where the
 *    database can undo DDL. Afterwards `state` is 'ready', under another identity than before.
 * T2 Whatever a transaction inserts, updates or deletes is in the change table when it commits, and not before: keys old and new, by any program
 *    and any account, without a right of theirs on the change table. What was rolled back, to a savepoint too, leaves nothing.
 * T3 A change table is read like any table, by a snapshot of `entries`: columns `id`, `operation`, then the key as in the table itself. Operations:
 *    I, U, D with a key; without one T (the table was emptied at once), F (the table is full: what came after is not noted) and S (triggers
 *    were installed: what came before is not known). Entries of one id become visible together.
 * T4 `forget` removes the entries of these ids and no others; what was forgotten never gives its id to a later entry. Nothing depends on an
 *    order of ids: a transaction that commits hours late is simply found later.
 * T5 The change table keeps about `budget` entries and then one F. While it is there no transaction fails or waits, but changes are lost. When
 *    `forget` has removed an F, every transaction that left a change unnoted because of it is over: what a snapshot taken from then on does
 *    not see is noted. Throws SOURCE_BUSY (transient) while one is still open. `state` is asked before each reading: where the
 *    triggers themselves cannot tell how many entries there are, it moves the limit up to which they note, and writes the F.
 * T6 `state` tells what keeps changes from being noted: TRIGGER_MISSING, TRIGGER_DISABLED, TRIGGER_ALTERED, TRIGGER_RIGHTS. `identity` is
 *    another one when the triggers were made anew or switched off and on meanwhile, as far as the database keeps account of that.
 * T7 `blind` are the changes that triggers of this database cannot see, as warnings with their fixes.
 * T8 The triggers change no result of the department's own programs: no last generated id, no warning, no affected rows.
 */
import { createHash } from 'node:crypto';
import type { ColumnType, Problem } from '@qiao/exchange';
import { QiaoError } from '@qiao/exchange';
import type { SnapshotTable, SourceTable, TableRef } from './adapter.ts';
import { OWN_PREFIX } from './mark.ts';

export interface Triggers {
  /** Throws TABLE_MISSING, KEYLESS_TABLE, TYPE_UNSUPPORTED, TRIGGER_IMPOSSIBLE (a view). */
  plan(table: TrackedTable): Promise<TriggerPlan>;
  state(plan: TriggerPlan): Promise<TriggerState>;
  /** Runs DDL of a plan with this data source's account. Throws TARGET_RIGHTS and what the database says. */
  run(statements: readonly string[]): Promise<void>;
  forget(plan: TriggerPlan, ids: readonly string[]): Promise<void>;
}

export interface TrackedTable extends Pick<SourceTable, 'table' | 'ref' | 'key'> {
  /** Who reads the change table: two owners have triggers of their own at one table. */
  readonly owner: string;
  /** The DDL gives this data source's own account its rights, for another one runs it. */
  readonly grants?: boolean | undefined;
  readonly budget?: number | undefined;
}

export interface TriggerPlan {
  readonly table: TrackedTable;
  readonly changes: TableRef;
  readonly entries: SnapshotTable;
  /** Statements in their order; run again, they make everything anew. */
  readonly install: readonly string[];
  readonly remove: readonly string[];
  readonly blind: readonly Problem[];
}

export type TriggerState =
  | { readonly kind: 'ready'; readonly identity: string }
  | { readonly kind: 'broken'; readonly code: string; readonly message: string };

/** Entries of a change table before it counts as full: some hundred MB at most. */
export const CHANGES_BUDGET = 1_000_000;

/** Entries between two looks at how many there are: the budget is passed by about a tenth. */
export function lookEvery(budget: number): number {
  return Math.max(1, Math.floor(budget / 10));
}

const CHANGES_PREFIX = `${OWN_PREFIX}changes_`;

/** A trigger of capture: it notes keys, and alters nothing. */
export function isOfCapture(trigger: string): boolean {
  return trigger.startsWith(CHANGES_PREFIX);
}

/** The same in every database, so that a name never grows beyond what it allows. */
export function changesName({ ref, owner }: TrackedTable, schema: string, key: readonly string[]): string {
  const identity = JSON.stringify([owner, schema, ref.name, key]);
  return `${CHANGES_PREFIX}${createHash('sha256').update(identity).digest('hex').slice(0, 12)}`;
}

export function entriesOf(changes: TableRef, keyTypes: readonly ColumnType[]): SnapshotTable {
  return {
    ref: changes,
    columns: [
      { name: 'id', type: { type: 'integer', bits: 64 } },
      { name: 'operation', type: { type: 'text' } },
      ...keyTypes.map((type, place) => ({ name: keyColumn(place), type })),
    ],
    keyColumns: 1,
  };
}

/** Named anew: columns of the table may be called `id` too. */
export function keyColumn(place: number): string {
  return `k${place + 1}`;
}

/** The key's columns as the table has them; `describe` is the adapter's own word for columns. */
export function trackedKey<C extends { readonly name: string; readonly type: ColumnType | { unsupported: string } }>(
  { table, ref, key }: TrackedTable,
  found: { readonly kind: string; readonly columns: readonly C[]; readonly primaryKey: readonly string[] } | undefined,
): (C & { readonly type: ColumnType })[] {
  if (found === undefined) {
    throw new QiaoError('TABLE_MISSING', `there is no table ${ref.name} that this user may see`, {
      hint: 'qiao bridge check -f FILE',
    });
  }
  if (found.kind !== 'table') {
    throw new QiaoError(
      'TRIGGER_IMPOSSIBLE',
      `${ref.name} is a ${found.kind}: only a table has triggers that see every change`,
      {
        hint: 'name the tables under it in the bridge, or write capture: compare',
      },
    );
  }
  const names = key ?? found.primaryKey;
  if (names.length === 0) {
    throw new QiaoError('KEYLESS_TABLE', `table ${table} has no primary key and the bridge names no key`, {
      hint: 'name the key columns in the bridge: key: [...]',
    });
  }
  return names.map((name) => {
    const column = found.columns.find((each) => each.name === name);
    if (column === undefined || 'unsupported' in column.type) {
      const code = column === undefined ? 'COLUMN_MISSING' : 'TYPE_UNSUPPORTED';
      throw new QiaoError(code, `key column ${name} of ${table} cannot be carried`, {
        hint: 'qiao bridge check -f FILE',
      });
    }
    return column as C & { readonly type: ColumnType };
  });
}

export function broken(code: string, message: string): TriggerState {
  return { kind: 'broken', code, message };
}

export function blindSpot(label: string, message: string, hint: string): Problem {
  return { code: 'TRIGGER_BLIND', path: label, message, hint, warning: true };
}
