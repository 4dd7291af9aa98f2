import { DEFAULT_PARCEL_BYTES, type Section } from './content.ts';
import type { Kind } from './kind.ts';
/** The shape of a table's lines: key columns first. */
export interface TableLayout {
  table: string;
  columns: readonly string[];
  keyColumns: number;
  wholeRows: boolean;
}
export class ParcelBuilder {
  readonly #limit: number;
  constructor(limitBytes: number = DEFAULT_PARCEL_BYTES) {
    this.#limit = limitBytes;
  }
  add(table: TableLayout, kind: Kind, line: Uint8Array): void {
    throw new Error(String([table, kind, line]));
  }
  /** Adds `rowCount` whole lines at once. */
  addRows(table: TableLayout, kind: Kind, rows: Uint8Array, rowCount: number): void {
    throw new Error(String([table, kind, rows, rowCount]));
  }
  get bytes(): number {
    return 0;
  }
  get rows(): number {
    return 0;
  }
  get isFull(): boolean {
    return this.#limit === 0;
  }
  take(): Section[] {
    throw new Error();
  }
}
