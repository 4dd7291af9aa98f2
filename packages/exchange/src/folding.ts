/**
 * Several changes of one key inside one parcel become one, by the table below. Never across parcels: what was counted as
 * sent stays sent. Counting the folded changes is capture's work.
 *
 * | before | then insert | then update | then delete |
 * | --- | --- | --- | --- |
 * | insert | impossible | insert, newer columns | delete: the row may be at the target from a resend |
 * | update | impossible | update, newer columns | delete |
 * | delete | update with the full row | impossible | impossible |
 */
import { QiaoError } from './errors.ts';
import type { Kind } from './kind.ts';

/** A change of one key. `row` holds every carried column (`whole`) or, for updates, only those that the source sent. */
export interface KeyChange {
  kind: Kind;
  row: ReadonlyMap<string, string | null>;
  whole: boolean;
}

/**
 * Folds the changes of one key, oldest first, into one; `folded` counts those that no longer travel. Throws
 * FOLD_IMPOSSIBLE for a history that no table can have: changes are missing, so the caller records a gap.
 */
export function fold(changes: readonly KeyChange[]): { change: KeyChange; folded: number } {
  const [first, ...later] = changes;
  if (first === undefined) throw new QiaoError('FOLD_IMPOSSIBLE', 'Found no change to fold; expected 1 or more.');
  return { change: later.reduce(foldTwo, first), folded: later.length };
}

function foldTwo(before: KeyChange, then: KeyChange): KeyChange {
  switch (then.kind) {
    case 'insert':
      if (before.kind !== 'delete') throw impossible(before.kind, then.kind);
      // The target may hold the old row, so this is an update; it carries the whole row, so it may insert as well.
      return { kind: 'update', row: then.row, whole: true };
    case 'update':
      if (before.kind === 'delete') throw impossible(before.kind, then.kind);
      return {
        kind: before.kind,
        row: then.whole ? then.row : new Map([...before.row, ...then.row]),
        whole: before.whole || then.whole,
      };
    case 'delete':
      if (before.kind === 'delete') throw impossible(before.kind, then.kind);
      return then;
    default:
      return then.kind satisfies never;
  }
}

function impossible(before: Kind, then: Kind): QiaoError {
  return new QiaoError('FOLD_IMPOSSIBLE', `Found ${then} after ${before} of one key; no table changes so.`, {
    hint: 'Changes are missing: record a gap and run `qiao bridge resync NAME`.',
  });
}
