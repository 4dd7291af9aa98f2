/** What is read of a data source at one moment (S1–S6, C1–C6). */
import type { ColumnType } from '@qiao/exchange';
import type { TableRef } from './dataSource.ts';

/**
 * A consistent read-only snapshot. Disposing it frees the connection; it never writes.
 *
 * S1 Every row that was committed when the snapshot was taken appears exactly once, as one valid line of canonical row text, columns in
 *    the order asked for (key first); nothing committed later appears. Where the database cannot promise this without stopping its
 *    writers, `consistency` is 'chunks' and TYPES.md says what is promised instead.
 * S2 The same stored value gives the same bytes in every snapshot and session.
 * S3 A row with a value that cannot be carried exactly is left out and counted in `refused`, once per row (the first such column), under
 *    a code: STORAGE_CLASS, VALUE_INVALID, TEXT_HAS_NUL, TEXT_NOT_UTF8, TEXT_UNDECODABLE, ROW_TOO_LARGE, CURSOR_NULL. It is never altered. Row contents never show.
 * S4 Memory is bounded whatever the table's size; chunks are whole lines of about 64 KiB to 1 MiB; the event loop runs between chunks.
 * S5 Order is by key in the source's own order: a hint for locality only.
 * S6 With `SnapshotTable.keys` the rows whose key, as text, is one of these appear, each once, and no others; in no order. A key that no row has
 *    gives nothing. `refused` counts rows of these keys only. The key's index serves, but for TYPES.md's exceptions.
 */
export interface SourceSnapshot extends AsyncDisposable {
  /** How much S1 promises; may turn from 'snapshot' to 'chunks' while rows are read. Default 'snapshot'. */
  readonly consistency?: 'snapshot' | 'chunks';
  rows(table: SnapshotTable): AsyncIterable<SourceChunk>;
  /** Absent where tables are read whole only. */
  readonly cursor?: SnapshotCursor | undefined;
  /**
   * What this snapshot sees, for `LogTransaction.isSeen`. Opaque; undefined when the database cannot tell of this one: then another has to be taken.
   * Absent where the database's log is not read.
   */
  seen?(): Promise<string | undefined>;
}

/**
 * Reading a table by a column whose value rises with every insert and update.
 *
 * C1 `nowMs` is the database's own clock no later than when the snapshot was taken: what it gives out as now afterwards is not below.
 * C2 `highest` is a value of the column that is visible in the snapshot and not above `atMost`, in canonical text: the highest, or a lower one
 *    where it cannot be told exactly; undefined when there is none. An adapter that gives the values out itself may name the next one: nothing
 *    below it will come. Nulls, NaN and infinities are passed over. Both it and `since` are
 *    compared as values of the column's type, never as text.
 * C3 With `SnapshotTable.cursor`, rows whose value is null are left out and counted as CURSOR_NULL, every one in every reading. With `since`,
 *    every row at or above it appears, once; rows below it may.
 * C4 `horizon` names the transactions that may still commit rows which this snapshot does not see, with values taken before it: whoever began
 *    before the snapshot and is neither visible in it nor over by the time of the call. Opaque, for `remainsOpen`. Undefined when the database
 *    does not tell (a standby, a missing right): then the bridge's lag alone covers late commits.
 * C5 `remainsOpen` gives what is left of a horizon, and undefined once nothing is: every transaction it named has ended, and what they
 *    committed is visible to each snapshot taken afterwards. It always ends when they do, a restart of the server included.
 * C6 `identity` changes when the table is not the one it was: made anew, in another database, or in one that was put back to an earlier state
 *    as far as the database keeps account of that. Opaque.
 */
export interface SnapshotCursor {
  nowMs(): Promise<number>;
  highest(table: CursorTable, atMost: string | undefined): Promise<string | undefined>;
  horizon(): Promise<string | undefined>;
  identity(ref: TableRef): Promise<string>;
}

export interface CursorTable {
  readonly ref: TableRef;
  readonly column: string;
  readonly type: ColumnType;
}

export interface SnapshotTable {
  readonly ref: TableRef;
  /** Key columns first, types as `describe` gave them. */
  readonly columns: readonly { readonly name: string; readonly type: ColumnType }[];
  readonly keyColumns: number;
  /** Column that the table is read by, and the value from which on; without one, from the beginning (C3). */
  readonly cursor?:
    | { readonly column: string; readonly type: ColumnType; readonly since?: string | undefined }
    | undefined;
  /** Only these rows (S6): whole lines of row text of the key columns, as this adapter gave them out. Not with `cursor`. */
  readonly keys?: Buffer | undefined;
}

export interface SourceChunk {
  /** Whole lines of row text; may be empty. */
  readonly rows: Buffer;
  /** Lines in `rows`, when the adapter counted them on the way. */
  readonly rowCount?: number | undefined;
  readonly refused?: readonly RefusedRows[] | undefined;
}

export interface RefusedRows {
  readonly code: string;
  readonly column: string;
  readonly count: number;
  /** Where the first of them stands, when the source has a name for it: file and line. */
  readonly first?: string | undefined;
}
