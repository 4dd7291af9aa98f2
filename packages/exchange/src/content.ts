import type { Kind } from './kind.ts';
export const MIB = 1024 * 1024;
export const CONTENT_MAX_BYTES = 64 * MIB;
export const DEFAULT_PARCEL_BYTES = 4 * MIB;
export const MAX_ROW_BYTES = 16 * MIB;
/** A run of like changes of one table. */
export interface Section {
  table: string;
  kind: Kind;
  columns: readonly string[];
  keyColumns: number;
  rowCount: number;
  rows: Uint8Array;
  wholeRows: boolean;
}
export function encodeContent(sections: readonly Section[]): Uint8Array {
  throw new Error(String(sections));
}
export function decodeContent(bytes: Uint8Array): Section[] {
  throw new Error(String(bytes));
}
