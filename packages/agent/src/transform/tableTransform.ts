/**
 * Lines in, lines out: the bridge's transforms over row text. Rows that nothing touches keep their bytes; the others are
 * split into fields, filtered, mapped, masked, checked and joined again. Filtered and refused rows still say their key, so
 * that a row that leaves the filter can be told from one that was deleted.
 */
import {
  type BridgeTable,
  type ColumnType,
  type CompiledTransform,
  compileTransform,
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
  /** Transforms the line in `lines` from `start` to its LF at `end`. */
  apply(lines: Buffer, start: number, end: number): TransformedLine;
}

/** `columns` as they will be read, key first. Throws ProblemsError for a bridge that does not fit them. */
export function tableTransform(
  table: BridgeTable,
  columns: readonly TypedColumn[],
  primaryKey: readonly string[],
): TableTransform {
  const compiled = compileTransform(table, columns, primaryKey);
  const { layout } = compiled;
  let keyOnly: CompiledTransform | undefined;

  const keyLineOf = (fields: (string | null)[]): Buffer | undefined => {
    // Without filter, checks and what changes other columns: what is left to refuse is the key itself.
    const { where: _where, ...open } = table;
    const transform = keySteps(table, table.key ?? primaryKey);
    keyOnly ??= compileTransform({ ...open, transform, checks: [] }, columns, primaryKey);
    const row = keyOnly.apply(fields);
    return row.kind === 'row' ? Buffer.from(`${joinRow(row.fields.slice(0, layout.keyColumns))}\n`) : undefined;
  };

  return {
    layout,
    types: compiled.types,
    keyTypes: compiled.types.slice(0, layout.keyColumns),
    isIdentity: compiled.isIdentity,
    apply(lines, start, end) {
      const fields = splitRow(lines.toString('utf8', start, end));
      const row = compiled.apply(fields);
      switch (row.kind) {
        case 'row': {
          const line = Buffer.from(`${joinRow(row.fields)}\n`);
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

/** The renames, and those dictionaries and masks that change the key. */
function keySteps({ transform }: BridgeTable, key: readonly string[]): BridgeTable['transform'] {
  let names = [...key];
  return transform.filter((step) => {
    if ('rename' in step) {
      names = names.map((name) => (Object.hasOwn(step.rename, name) ? (step.rename[name] as string) : name));
      return true;
    }
    return names.includes(('mask' in step ? step.mask : step.dictionary).column);
  });
}
