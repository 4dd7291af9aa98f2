/** How a column type of a database is written down for the matrix: its logical type, values at its borders, and values that stay behind. */
import type { ColumnType } from '@qiao/exchange';

export interface MatrixColumn {
  /** As CREATE TABLE has it. */
  readonly sql: string;
  /** What documents call it; default `sql`. */
  readonly name?: string;
  readonly type: ColumnType;
  /** SQL of a value at the source, and the canonical text that every way of reading gives. */
  readonly values: readonly Value[];
  /** Values that cannot be carried: the row stays behind, counted under the code. */
  readonly refused?: readonly (readonly [sql: string, code: string])[];
}

export type Value = readonly [sql: string, text: string];

/** Values whose SQL is a literal of their canonical text. */
export function texts(...values: string[]): Value[] {
  return values.map((text) => [`'${text.replaceAll("'", "''")}'`, text]);
}

/** Numbers as SQL writes them. */
export function numbers(...values: string[]): Value[] {
  return values.map((text) => [text, text]);
}

export const native = (system: 'postgres' | 'mysql', name: string): ColumnType => ({ type: 'native', system, name });

/** Texts that trap: empty, blanks, escapes of row text, four bytes, combined, right to left, control characters. */
export const TEXTS = [
  '',
  ' a ',
  '\\N',
  'a\tb\nc\r\\t',
  '𠮷𪚥㐂龘',
  'o\'"`%s$1',
  'e\u0301 שלום',
  '\u0001\b\f\v\u007f\ufeff',
  '\ufffd',
] as const;
