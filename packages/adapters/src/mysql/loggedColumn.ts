/** A column of a log's plan: how its values are stored, and who writes them as fields of row text. */
import type { StoredType } from './binlogTypes.ts';

/** A column of the plan: how the log stores it, and how it is written. */
export interface LoggedColumn {
  readonly name: string;
  readonly stored: StoredType;
  readonly writer: ValueWriter;
  /** A line has room for the value's bytes times `perByte`, and `most` beside, which a null fits into. */
  readonly perByte: number;
  readonly most: number;
}

/** Writes the value that lies at `start` to `end` into `line` at `to`; gives the place behind it, or what keeps it from being carried. */
export type ValueWriter = (from: Buffer, start: number, end: number, line: Buffer, to: number) => number;

/** In place of a place: the value cannot be carried. */
export const REFUSED = { VALUE_INVALID: -1, TEXT_HAS_NUL: -2, TEXT_NOT_UTF8: -3 } as const;

export function refusalCode(refused: number): string {
  return refused === REFUSED.VALUE_INVALID
    ? 'VALUE_INVALID'
    : refused === REFUSED.TEXT_HAS_NUL
      ? 'TEXT_HAS_NUL'
      : 'TEXT_NOT_UTF8';
}

export interface Written {
  readonly writer: ValueWriter;
  readonly perByte?: number;
  readonly most?: number;
}
