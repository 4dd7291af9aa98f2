/**
 * Lines in, lines out: the bridge's transforms over row text. Rows that nothing touches keep their bytes; the others are
 * split into fields, filtered, transformed, checked and joined again. Filtered and refused rows still say their key, so
 * that a row that leaves the filter can be told from one that was deleted.
 */
import {
  type BridgeTable,
  type ColumnType,
  compileTransform,
  type Hasher,
  joinRow,
  MAX_ROW_BYTES,
  splitRow,
  type TableLayout,
  type TypedColumn,
} from '@qiao/exchange';

export type TransformedLine =
  | { readonly kind: 'row'; readonly line: Buffer }
  /** `keyLine`: the key's fields with LF; undefined when the key itself cannot be made. */
  | { readonly kind: 'filtered'; readonly keyLine: Buffer | undefined }
  | { readonly kind: 'refused'; readonly code: string; readonly column: string; readonly keyLine: Buffer | undefined };

export interface TableTransform {
  /** Columns as they leave, key first. */
  readonly layout: TableLayout;
  /** Types of the columns, in their order. */
  readonly types: readonly ColumnType[];
  readonly keyTypes: readonly ColumnType[];
  /** Every line leaves as it came: `apply` need not be called. */
  readonly isIdentity: boolean;
  /** Keys leave as the source has them. */
  readonly keepsKeys: boolean;
  /** Transforms the line in `lines` from `start` to its LF at `end`. */
  apply(lines: Buffer, start: number, end: number): TransformedLine;
  /** The key as it leaves, from a line of the key columns as they are read; undefined when it cannot be made. */
  keyLine(line: Buffer): Buffer | undefined;
}

/** `columns` as they will be read, key first. Throws ProblemsError for a bridge that does not fit them. */
export function tableTransform(
  table: BridgeTable,
  columns: readonly TypedColumn[],
  primaryKey: readonly string[],
  hasher: Hasher,
): TableTransform {
  const compiled = compileTransform(table, columns, primaryKey, hasher);
  const { layout, keepsLines } = compiled;
  const keyLineOf = (fields: (string | null)[]): Buffer | undefined => {
    const key = compiled.keyOf(fields);
    return key === undefined ? undefined : Buffer.from(`${joinRow(key)}\n`);
  };

  return {
    layout,
    types: compiled.types,
    keyTypes: compiled.types.slice(0, layout.keyColumns),
    isIdentity: compiled.isIdentity,
    keyLine: (line) => (keepsLines ? line : keyLineOf(splitRow(line.toString('utf8', 0, line.length - 1)))),
    keepsKeys: compiled.keepsKeys,
    apply(lines, start, end) {
      const fields = splitRow(lines.toString('utf8', start, end));
      const row = compiled.apply(fields);
      switch (row.kind) {
        case 'row': {
          const line = keepsLines ? lines.subarray(start, end + 1) : Buffer.from(`${joinRow(row.fields)}\n`);
          if (line.length <= MAX_ROW_BYTES) return { kind: 'row', line };
          return { kind: 'refused', code: 'ROW_TOO_LARGE', column: '', keyLine: keyLineOf(fields) };
        }
        case 'filtered':
          return { kind: 'filtered', keyLine: keyLineOf(fields) };
        case 'refused':
          return { kind: 'refused', code: row.code, column: row.column, keyLine: keyLineOf(fields) };
        default:
          return row satisfies never;
      }
    },
  };
}
