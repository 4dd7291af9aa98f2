import type { BridgeTable } from './bridge.ts';
import type { ColumnType } from './columnType.ts';
import type { TableLayout } from './parcel.ts';
export interface TypedColumn {
  name: string;
  type: ColumnType;
}
export type TransformedRow =
  | { kind: 'row'; fields: (string | null)[] }
  | { kind: 'filtered' }
  | { kind: 'refused'; code: string; column: string };
export interface CompiledTransform {
  /** Key first, names after renames. */
  layout: TableLayout;
  /** Types of `layout.columns`, in order. */
  types: readonly ColumnType[];
  /** `fields` in the order of the columns as read. */
  apply(fields: (string | null)[]): TransformedRow;
  /** Rows may be carried untouched, byte for byte. */
  isIdentity: boolean;
}
/** Columns to ask the source for: key first, then the others, then those only the filter needs. */
export function columnsToRead(
  table: BridgeTable,
  available: readonly string[],
  primaryKey: readonly string[],
): string[] {
  throw new Error(String([table, available, primaryKey]));
}
/** `primaryKey` (source names) is used when the table names no key. Throws ProblemsError. */
export function compileTransform(
  table: BridgeTable,
  columns: readonly TypedColumn[],
  primaryKey: readonly string[] = [],
): CompiledTransform {
  throw new Error(String([table, columns, primaryKey]));
}
