/** Numbers and bits of the binary log as fields of row text, and the digits that times are written with. */
import { DIGIT_BYTES } from './binlogTypes.ts';
import { REFUSED, type ValueWriter } from './loggedColumn.ts';

export const ZERO = 0x30;
export const MINUS = 0x2d;
export const POINT = 0x2e;
export const COLON = 0x3a;
export const BLANK = 0x20;

/** Up to 2^53. */
export function writeUnsigned(value: number, line: Buffer, to: number): number {
  let digits = 1;
  for (let bound = 10; value >= bound && digits < 16; bound *= 10) digits += 1;
  let rest = value;
  for (let at = to + digits - 1; at >= to; at--) {
    const next = Math.floor(rest / 10);
    line[at] = ZERO + (rest - next * 10);
    rest = next;
  }
  return to + digits;
}

export function writeInteger(value: number, line: Buffer, to: number): number {
  if (value >= 0) return writeUnsigned(value, line, to);
  line[to] = MINUS;
  return writeUnsigned(-value, line, to + 1);
}

/** So many digits, zeros in front. */
export function writePadded(value: number, digits: number, line: Buffer, to: number): number {
  let rest = value;
  for (let at = to + digits - 1; at >= to; at--) {
    const next = Math.floor(rest / 10);
    line[at] = ZERO + (rest - next * 10);
    rest = next;
  }
  return to + digits;
}

const HIGH = 2 ** 32;
/** High halves of numbers that a double holds exactly, with room to spare. */
const EXACT_HIGH = 2 ** 20;

export function writeUnsignedBig(from: Buffer, at: number, _: number, line: Buffer, to: number): number {
  const high = from.readUInt32LE(at + 4);
  if (high < EXACT_HIGH) return writeUnsigned(high * HIGH + from.readUInt32LE(at), line, to);
  return to + line.write(String(from.readBigUInt64LE(at)), to, 'latin1');
}

export function writeBig(from: Buffer, at: number, _: number, line: Buffer, to: number): number {
  const high = from.readInt32LE(at + 4);
  if (high >= -EXACT_HIGH && high < EXACT_HIGH) return writeInteger(high * HIGH + from.readUInt32LE(at), line, to);
  return to + line.write(String(from.readBigInt64LE(at)), to, 'latin1');
}

export function writeBoolean(from: Buffer, at: number, _: number, line: Buffer, to: number): number {
  const value = from[at] as number;
  if (value > 1) return REFUSED.VALUE_INVALID;
  line[to] = value === 1 ? 0x74 : 0x66;
  return to + 1;
}

export function bitWriter(bits: number): ValueWriter {
  return (from, start, end, line, begin) => {
    let to = begin;
    for (let bit = bits - 1; bit >= 0; bit--) {
      const byte = from[end - 1 - (bit >> 3)] as number;
      line[to++] = ZERO + ((byte >> (bit & 7)) & 1);
    }
    return start < end ? to : REFUSED.VALUE_INVALID;
  };
}

/** Runs of nine digits in four bytes, a shorter one in front and at the end; a negative number has all bits turned, and the first one turned again. */
export function decimalWriter(precision: number, scale: number): ValueWriter {
  const run = (digits: number, isFirst: boolean): number[] => {
    const whole = Array.from({ length: Math.floor(digits / 9) }, () => 9);
    const rest = digits % 9;
    return rest === 0 ? whole : isFirst ? [rest, ...whole] : [...whole, rest];
  };
  const before = run(precision - scale, true);
  const behind = run(scale, false);
  return (from, start, _, line, begin) => {
    const isNegative = ((from[start] as number) & 0x80) === 0;
    const mask = isNegative ? 0xff : 0;
    let at = start;
    let flip = 0x80;
    let isSound = true;
    const next = (digits: number): number => {
      let value = 0;
      for (let bytes = DIGIT_BYTES[digits] ?? 0; bytes > 0; bytes--) {
        value = value * 256 + ((from[at++] as number) ^ flip ^ mask);
        flip = 0;
      }
      isSound &&= value < 10 ** digits;
      return value;
    };
    let to = begin;
    if (isNegative) line[to++] = MINUS;
    const first = to;
    for (const digits of before) {
      const value = next(digits);
      if (to > first) to = writePadded(value, digits, line, to);
      else if (value > 0 && isSound) to = writeUnsigned(value, line, to);
    }
    if (to === first) line[to++] = ZERO;
    if (behind.length > 0) line[to++] = POINT;
    for (const digits of behind) to = writePadded(next(digits), digits, line, to);
    return isSound ? to : REFUSED.VALUE_INVALID;
  };
}
