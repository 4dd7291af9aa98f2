/**
 * Row keys for the digest table: texts of one character per byte. A key is the first columns of a line; text columns keep
 * their bytes (escapes included), integers are rewritten so that ascending numbers are ascending keys: an ordered source is
 * then compared by reading the digests once, in order. Every key can be turned back into the row text it came from.
 *
 * text: bytes TAB. integer: one character of sign and length, then the digits (of a negative number their complement to
 * nine); anything that is not a plain integer: 0x01, bytes, TAB.
 */
import type { ColumnType } from '@qiao/exchange';

const TAB = 0x09;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const UNTOUCHED = '\x01';
/** Plus the number of digits. */
const POSITIVE = 0x40;
/** Minus the number of digits. */
const NEGATIVE = 0x3f;
/** Longer numbers are carried untouched; 64 bits have at most 20 digits. */
const MOST_DIGITS = 38;

const INTEGER: ColumnType = { type: 'integer', bits: 64 };
const TEXT: ColumnType = { type: 'text' };

/** Encodes keys of one table's lines. */
export class KeyEncoder {
  readonly #isInteger: readonly boolean[];

  /** `types` of the key columns, in order. */
  constructor(types: readonly ColumnType[]) {
    this.#isInteger = types.map((type) => type.type === 'integer');
  }

  /** The encoder of keys that were written under this encoding. */
  static ofEncoding(encoding: string): KeyEncoder {
    return new KeyEncoder(Array.from(encoding, (letter) => (letter === 'i' ? INTEGER : TEXT)));
  }

  /** Names the encoding: digests made under another one are worthless. */
  get encoding(): string {
    return this.#isInteger.map((isInteger) => (isInteger ? 'i' : 't')).join('');
  }

  /** The key of the line that starts at `start`; `end` is the place of its LF. */
  encode(lines: Buffer, start: number, end: number): string {
    let key = '';
    let from = start;
    for (const isInteger of this.#isInteger) {
      let to = from;
      while (to < end && lines[to] !== TAB) to++;
      // latin1 is one character per byte, whatever the bytes mean.
      const field = lines.toString('latin1', from, to);
      if (!isInteger) key += `${field}\t`;
      else if (isPlainInteger(lines, from, to)) key += integerKey(field);
      else key += `${UNTOUCHED}${field}\t`;
      from = to + 1;
    }
    return key;
  }

  /** The row text of a key: its fields separated by TAB, ended by LF. What a delete carries. */
  decode(key: string): Buffer {
    const fields: string[] = [];
    let from = 0;
    for (const isInteger of this.#isInteger) {
      if (isInteger && key[from] !== UNTOUCHED) {
        const lead = key.charCodeAt(from);
        const digits = lead < POSITIVE ? NEGATIVE - lead : lead - POSITIVE;
        const text = key.slice(from + 1, from + 1 + digits);
        fields.push(lead < POSITIVE ? `-${complement(text)}` : text);
        from += 1 + digits;
      } else {
        const to = key.indexOf('\t', from);
        fields.push(key.slice(isInteger ? from + 1 : from, to));
        from = to + 1;
      }
    }
    return Buffer.from(`${fields.join('\t')}\n`, 'latin1');
  }
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

function integerKey(field: string): string {
  if (field.charCodeAt(0) !== MINUS) return String.fromCharCode(POSITIVE + field.length) + field;
  return String.fromCharCode(NEGATIVE - (field.length - 1)) + complement(field.slice(1));
}

function complement(digits: string): string {
  let text = '';
  for (let i = 0; i < digits.length; i++) text += String.fromCharCode(ZERO + NINE - digits.charCodeAt(i));
  return text;
}
