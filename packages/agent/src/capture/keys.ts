/**
 * Row keys as bytes for the digest table. A key is the first columns of a line; text columns keep their bytes (escapes
 * included), integers are rewritten so that ascending numbers are ascending bytes: an ordered source is then compared by
 * reading the digests once, in order. Every key can be turned back into the row text it came from.
 *
 * text: bytes TAB. integer: one byte of sign and length, then the digits (of a negative number their complement to nine);
 * anything that is not a plain integer: 0x01, bytes, TAB.
 */
import type { ColumnType } from '@qiao/exchange';

const TAB = 0x09;
const LF = 0x0a;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const UNTOUCHED = 0x01;
const POSITIVE = 0x80;
const NEGATIVE = 0x7f;
/** Longer numbers are carried untouched; 64 bits have at most 20 digits. */
const MOST_DIGITS = 38;

const ARENA_BYTES = 64 * 1024;

/** Encodes keys of one table's lines. Keys share larger buffers, so that a million of them is not a million allocations. */
export class KeyEncoder {
  readonly #isInteger: readonly boolean[];
  #arena: Buffer = Buffer.allocUnsafeSlow(ARENA_BYTES);
  #used = 0;

  /** `types` of the key columns, in order. */
  constructor(types: readonly ColumnType[]) {
    this.#isInteger = types.map((type) => type.type === 'integer');
  }

  /** Names the encoding: digests made under another one are worthless. */
  get encoding(): string {
    return this.#isInteger.map((isInteger) => (isInteger ? 'i' : 't')).join('');
  }

  /** The key of the line that starts at `start`; `end` is the place of its LF. */
  encode(lines: Buffer, start: number, end: number): Buffer {
    const columns = this.#isInteger;
    const keyEnd = prefixEnd(lines, start, end, columns.length);
    const needed = keyEnd - start + 2 * columns.length + 1;
    if (this.#used + needed > this.#arena.length) {
      this.#arena = Buffer.allocUnsafeSlow(Math.max(ARENA_BYTES, needed));
      this.#used = 0;
    }
    const out = this.#arena;
    const first = this.#used;
    let at = first;
    let from = start;
    for (let column = 0; column < columns.length; column++) {
      let to = from;
      while (to < keyEnd && lines[to] !== TAB) to++;
      at =
        columns[column] && isPlainInteger(lines, from, to)
          ? putInteger(out, at, lines, from, to)
          : putText(out, at, lines, from, to, columns[column] === true);
      from = to + 1;
    }
    this.#used = at;
    return out.subarray(first, at);
  }

  /** The row text of a key: its fields separated by TAB, ended by LF. What a delete carries. */
  decode(key: Uint8Array): Buffer {
    const out = Buffer.allocUnsafe(key.length + this.#isInteger.length + 1);
    let at = 0;
    let from = 0;
    for (let column = 0; column < this.#isInteger.length; column++) {
      if (column > 0) out[at++] = TAB;
      const lead = key[from] as number;
      if (this.#isInteger[column] && lead !== UNTOUCHED) {
        const isNegative = lead < POSITIVE;
        const digits = isNegative ? NEGATIVE - lead : lead - POSITIVE;
        if (isNegative) out[at++] = MINUS;
        for (let i = 1; i <= digits; i++) {
          const digit = key[from + i] as number;
          out[at++] = isNegative ? ZERO + NINE - digit : digit;
        }
        from += 1 + digits;
      } else {
        if (this.#isInteger[column]) from++;
        while (key[from] !== TAB) out[at++] = key[from++] as number;
        from++;
      }
    }
    out[at++] = LF;
    return out.subarray(0, at);
  }
}

/** Where the first `columns` fields of a line end: at a TAB or at its LF. */
export function prefixEnd(lines: Buffer, start: number, end: number, columns: number): number {
  let left = columns;
  for (let at = start; at < end; at++) {
    if (lines[at] === TAB && --left === 0) return at;
  }
  return end;
}

function isPlainInteger(lines: Buffer, from: number, to: number): boolean {
  let at = lines[from] === MINUS ? from + 1 : from;
  const digits = to - at;
  if (digits < 1 || digits > MOST_DIGITS) return false;
  // "-0" and leading zeros would come back as another text.
  if (lines[at] === ZERO && (digits > 1 || at > from)) return false;
  for (; at < to; at++) {
    const byte = lines[at] as number;
    if (byte < ZERO || byte > NINE) return false;
  }
  return true;
}

function putInteger(out: Buffer, at: number, lines: Buffer, from: number, to: number): number {
  if (lines[from] !== MINUS) {
    out[at] = POSITIVE + (to - from);
    for (let i = from; i < to; i++) out[++at] = lines[i] as number;
    return at + 1;
  }
  out[at] = NEGATIVE - (to - from - 1);
  for (let i = from + 1; i < to; i++) out[++at] = ZERO + NINE - (lines[i] as number);
  return at + 1;
}

function putText(out: Buffer, at: number, lines: Buffer, from: number, to: number, isMarked: boolean): number {
  if (isMarked) out[at++] = UNTOUCHED;
  for (let i = from; i < to; i++) out[at++] = lines[i] as number;
  out[at++] = TAB;
  return at;
}
