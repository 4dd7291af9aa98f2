/**
 * Puts lines together from what the server sends per row: pieces of a line that are bytes already, and between them long
 * texts that are escaped and floats that are spelled anew. Counts what stays behind. Holds one chunk; knows nothing of connections.
 */

import { floatText, MAX_ROW_BYTES } from '@qiao/exchange';
import type { SourceChunk } from './adapter.ts';
import { withoutBrokenText } from './lines.ts';
import { RefusedCounts } from './refusedCounts.ts';

const LF = 0x0a;
const TAB = 0x09;
const BACKSLASH = 0x5c;
/** By byte: what follows the backslash, or 0. */
const ESCAPES = new Uint8Array(256);
for (const [byte, letter] of [
  ['\\', '\\'],
  ['\t', 't'],
  ['\n', 'n'],
  ['\r', 'r'],
] as const) {
  ESCAPES[byte.charCodeAt(0)] = letter.charCodeAt(0);
}
const NULL_FIELD = Buffer.from('\\N');
/** A chunk is given out when it has this many bytes, so that a row does not cost a wake. */
export const CHUNK_BYTES = 128 * 1024;

/** One value of a result row: a run of fields, a text without its escapes, or a float. */
export type Piece = { readonly kind: 'fields' | 'text' } | { readonly kind: 'float'; readonly bits: 32 | 64 };

/** A refusal by its number in the first value of a result row, from 1. */
export interface NumberedRefusal {
  readonly code: string;
  readonly column: string;
}

const UNKNOWN: NumberedRefusal = { code: 'VALUE_INVALID', column: '' };

/** A row of the result: the number of its refusal or null, then the pieces. */
export type ResultRow = readonly (Buffer | null)[];

export class LineWriter {
  readonly #pieces: readonly Piece[];
  readonly #columns: readonly string[];
  readonly #refusals: readonly NumberedRefusal[];
  #buffer = Buffer.allocUnsafe(2 * CHUNK_BYTES);
  #length = 0;
  #rows = 0;
  #refused = new RefusedCounts();

  constructor(pieces: readonly Piece[], columns: readonly string[], refusals: readonly NumberedRefusal[]) {
    this.#pieces = pieces;
    this.#columns = columns;
    this.#refusals = refusals;
  }

  get isFull(): boolean {
    return this.#length >= CHUNK_BYTES;
  }

  /** Rows are seen whether they are written or refused. */
  write(row: ResultRow): void {
    const refusal = row[0];
    if (refusal !== null && refusal !== undefined)
      return this.#refused.add(this.#refusals[Number(refusal.toString('latin1')) - 1] ?? UNKNOWN);
    const start = this.#length;
    for (let index = 0; index < this.#pieces.length; index++) {
      const value = row[index + 1] ?? null;
      const piece = this.#pieces[index] as Piece;
      if (index > 0) this.#buffer[this.#length++] = TAB;
      // Fields of a line are never NULL: what the server could not put together is longer than it may be.
      if (value === null && piece.kind === 'fields') return this.#tooLarge(start);
      const bytes = value === null ? NULL_FIELD : fieldBytes(value, piece);
      if (this.#length - start + bytes.length + 1 > MAX_ROW_BYTES) return this.#tooLarge(start);
      this.#reserve(bytes.length + 2);
      this.#length += bytes.copy(this.#buffer, this.#length);
    }
    this.#buffer[this.#length++] = LF;
    this.#rows += 1;
  }

  /** Counts a row that is left out for what was found in a value only here. */
  refuse(refusal: NumberedRefusal): void {
    this.#refused.add(refusal);
  }

  /** What was written since the last time, if anything. */
  take(): SourceChunk | undefined {
    if (this.#rows === 0 && this.#refused.isEmpty) return undefined;
    const lines = this.#buffer.subarray(0, this.#length);
    const rows = withoutBrokenText(lines, this.#columns, this.#refused);
    const refused = this.#refused.list();
    const chunk = {
      rows,
      ...(rows === lines ? { rowCount: this.#rows } : {}),
      ...(refused.length > 0 ? { refused } : {}),
    };
    this.#buffer = Buffer.allocUnsafe(2 * CHUNK_BYTES);
    this.#length = 0;
    this.#rows = 0;
    this.#refused = new RefusedCounts();
    return chunk;
  }

  #tooLarge(start: number): void {
    this.#length = start;
    this.#refused.add({ code: 'ROW_TOO_LARGE', column: '' });
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, this.#length + bytes));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

function fieldBytes(value: Buffer, piece: Piece): Buffer {
  if (piece.kind === 'float') return spelled(value, piece.bits);
  return piece.kind === 'fields' ? value : escaped(value);
}

/** The four escapes of row text; the same bytes when there are none. */
function escaped(text: Buffer): Buffer {
  let extra = 0;
  for (let at = 0; at < text.length; at++) if (ESCAPES[text[at] as number] !== 0) extra += 1;
  if (extra === 0) return text;
  const out = Buffer.allocUnsafe(text.length + extra);
  let length = 0;
  for (let at = 0; at < text.length; at++) {
    const byte = text[at] as number;
    const escape = ESCAPES[byte] as number;
    if (escape !== 0) out[length++] = BACKSLASH;
    out[length++] = escape === 0 ? byte : escape;
  }
  return out;
}

/** MySQL prints every digit of a double, but in a form of its own: binary floats may pass through a number. */
function spelled(value: Buffer, bits: 32 | 64): Buffer {
  return Buffer.from(floatText(Number(value.toString('latin1')), bits));
}
