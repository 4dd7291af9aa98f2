import type { Kind } from './kind.ts';
/** A change of one key: for updates perhaps only some columns (`whole: false`). */
export interface KeyChange {
  kind: Kind;
  row: ReadonlyMap<string, string | null>;
  whole: boolean;
}
/** Folds the changes of one key inside one parcel, oldest first, into one. */
export function fold(changes: readonly KeyChange[]): { change: KeyChange; folded: number } {
  throw new Error(String(changes));
}
