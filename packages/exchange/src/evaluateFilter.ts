import type { ColumnType } from './columnType.ts';
import type { Filter } from './filter.ts';
export function evaluateFilter(
  filter: Filter,
  valueOf: (column: string) => string | null,
  typeOf: (column: string) => ColumnType,
): boolean {
  throw new Error(String([filter, valueOf, typeOf]));
}
/** Why the filter cannot be evaluated over these columns (unknown column, literal that does not fit); undefined when it can. */
export function checkFilter(filter: Filter, typeOf: (column: string) => ColumnType | undefined): string | undefined {
  throw new Error(String([filter, typeOf]));
}
