import type { ColumnType } from './columnType.ts';
import type { Filter } from './filter.ts';
/** Which rows of a target table a lane may delete. */
export type Ownership = 'whole' | 'none' | { where: string };
/** True only when provably no row is owned by both. `typeOf` makes ranges provable. */
export function areDisjoint(
  a: Ownership | Filter,
  b: Ownership | Filter,
  typeOf?: (column: string) => ColumnType | undefined,
): boolean {
  throw new Error(String([a, b, typeOf]));
}
