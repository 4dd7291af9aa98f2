/**
 * Documents of MySQL's binary log as the text that the server prints of them, character for character: it stores them as trees whose branches are places
 * (MySQL's manual of its source, "json_binary"). MariaDB stores the text itself.
 */
import { unreadable } from './binlogEvent.ts';
import { decimalWriter } from './binlogNumbers.ts';
import { TYPE } from './binlogTypes.ts';

const KIND = {
  smallObject: 0,
  largeObject: 1,
  smallArray: 2,
  largeArray: 3,
  literal: 4,
  int16: 5,
  uint16: 6,
  int32: 7,
  uint32: 8,
  int64: 9,
  uint64: 10,
  double: 11,
  text: 12,
  opaque: 15,
} as const;

const LITERALS = ['null', 'true', 'false'] as const;
/** As deep as the server lets a document be. */
const MOST_DEPTH = 100;
/** No text of a document is longer than this for each of its bytes: a byte becomes `\u0001` at most. */
export const JSON_PER_BYTE = 6;
/** What its marks and an empty document may have beside. */
const BESIDE = 64;

/** Throws LOG_INVALID for bytes that are no document. */
export function jsonText(bytes: Buffer, start: number, end: number): string {
  // One without any bytes stands where a row got none: the server prints it so.
  if (start === end) return 'null';
  return new JsonReader(bytes.subarray(start, end)).read();
}

class JsonReader {
  readonly #bytes: Buffer;
  #left: number;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#left = JSON_PER_BYTE * bytes.length + BESIDE;
  }

  read(): string {
    return this.#value(this.#bytes[0] as number, 1, 0);
  }

  #value(kind: number, at: number, depth: number): string {
    const bytes = this.#bytes;
    switch (kind) {
      case KIND.smallObject:
      case KIND.largeObject:
      case KIND.smallArray:
      case KIND.largeArray:
        return this.#container(kind, at, depth);
      case KIND.literal:
        return this.#counted(LITERALS[bytes[at] as number] ?? invalid());
      case KIND.int16:
        return this.#counted(String(bytes.readInt16LE(at)));
      case KIND.uint16:
        return this.#counted(String(bytes.readUInt16LE(at)));
      case KIND.int32:
        return this.#counted(String(bytes.readInt32LE(at)));
      case KIND.uint32:
        return this.#counted(String(bytes.readUInt32LE(at)));
      case KIND.int64:
        return this.#counted(String(bytes.readBigInt64LE(at)));
      case KIND.uint64:
        return this.#counted(String(bytes.readBigUInt64LE(at)));
      case KIND.double:
        return this.#counted(doubleText(bytes.readDoubleLE(at)));
      case KIND.text:
        return this.#counted(JSON.stringify(this.#long(at).toString('utf8')));
      case KIND.opaque:
        return this.#counted(opaqueText(bytes[at] as number, this.#long(at + 1)));
      default:
        return invalid();
    }
  }

  /** Its places are counted from where it begins. */
  #container(kind: number, start: number, depth: number): string {
    if (depth === MOST_DEPTH) invalid();
    const bytes = this.#bytes;
    const width = kind === KIND.largeObject || kind === KIND.largeArray ? 4 : 2;
    const isObject = kind === KIND.smallObject || kind === KIND.largeObject;
    const count = bytes.readUIntLE(start, width);
    const keysAt = start + 2 * width;
    const valuesAt = keysAt + (isObject ? count * (width + 2) : 0);
    if (valuesAt + count * (width + 1) > bytes.length) invalid();
    const parts: string[] = [];
    for (let index = 0; index < count; index++) {
      const entry = valuesAt + index * (width + 1);
      const valueKind = bytes[entry] as number;
      const isHere = isInlined(valueKind, width);
      const at = isHere ? entry + 1 : start + bytes.readUIntLE(entry + 1, width);
      const value = this.#value(valueKind, at, depth + 1);
      if (!isObject) parts.push(value);
      else {
        const keyEntry = keysAt + index * (width + 2);
        const keyAt = start + bytes.readUIntLE(keyEntry, width);
        const keyEnd = keyAt + bytes.readUInt16LE(keyEntry + width);
        if (keyEnd > bytes.length) invalid();
        parts.push(`${this.#counted(JSON.stringify(bytes.toString('utf8', keyAt, keyEnd)))}: ${value}`);
      }
    }
    const text = parts.join(', ');
    return isObject ? `{${text}}` : `[${text}]`;
  }

  /** Behind their number, seven bits to a byte. */
  #long(start: number): Buffer {
    let [length, at, factor] = [0, start, 1];
    for (; at < start + 5; at++, factor *= 128) {
      const byte = this.#bytes[at] ?? invalid();
      length += (byte & 0x7f) * factor;
      if (byte < 0x80) break;
    }
    const end = at + 1 + length;
    if (end > this.#bytes.length) invalid();
    return this.#bytes.subarray(at + 1, end);
  }

  /** Branches may share what they stand for, in bytes that somebody made up: such a text would have no end. */
  #counted(text: string): string {
    this.#left -= text.length;
    return this.#left < 0 ? invalid() : text;
  }
}

/** A value of few bytes stands in place of its place. */
function isInlined(kind: number, width: number): boolean {
  if (kind === KIND.literal || kind === KIND.int16 || kind === KIND.uint16) return true;
  return width === 4 && (kind === KIND.int32 || kind === KIND.uint32);
}

/** Digits in front of the point, or zeros behind it, past which the server writes an exponent, unless digits are left for behind the point. */
const MOST_DIGITS = 15;

function doubleText(value: number): string {
  const [mantissa = '', exponentText = '0'] = Math.abs(value).toExponential().split('e');
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const digits = mantissa.replace('.', '');
  // How many digits stand in front of the point.
  const point = value === 0 ? 1 : Number(exponentText) + 1;
  if ((point > MOST_DIGITS && digits.length <= point) || point <= -MOST_DIGITS) {
    return `${sign}${digits.length > 1 ? mantissa : digits}e${Number(exponentText)}`;
  }
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  const whole = digits.slice(0, point).padEnd(point, '0');
  return `${sign}${whole}.${digits.slice(point) || '0'}`;
}

/** What no document has by itself: numbers of a column, times, bytes. */
function opaqueText(type: number, value: Buffer): string {
  switch (type) {
    case TYPE.decimal: {
      const text = Buffer.alloc((value[0] ?? 0) + 8);
      const end = decimalWriter(value[0] ?? 0, value[1] ?? 0)(value, 2, value.length, text, 0);
      return end < 0 ? invalid() : text.toString('latin1', 0, end);
    }
    case TYPE.date:
      return `"${dayText(value.readBigInt64LE(0))}"`;
    case DATETIME:
    case TIMESTAMP: {
      const packed = value.readBigInt64LE(0);
      return `"${dayText(packed)} ${clockText(packed, (packed >> 36n) & 31n)}"`;
    }
    case TIME: {
      const packed = value.readBigInt64LE(0);
      const size = packed < 0n ? -packed : packed;
      return `"${packed < 0n ? '-' : ''}${clockText(size, (size >> 36n) & 0x3ffn)}"`;
    }
    default: {
      const lines = value.toString('base64').match(/.{1,76}/g) ?? [];
      return `"base64:type${type}:${lines.join('\\n')}"`;
    }
  }
}

/** Of a document; rows store theirs under other numbers. */
const TIMESTAMP = 7;
const TIME = 11;
const DATETIME = 12;

function dayText(packed: bigint): string {
  const months = packed >> 46n;
  return `${padded(months / 13n, 4)}-${padded(months % 13n, 2)}-${padded((packed >> 41n) & 31n, 2)}`;
}

function clockText(packed: bigint, hours: bigint): string {
  const [minutes, seconds] = [(packed >> 30n) & 63n, (packed >> 24n) & 63n];
  return `${padded(hours, 2)}:${padded(minutes, 2)}:${padded(seconds, 2)}.${padded(packed & 0xffffffn, 6)}`;
}

function padded(value: bigint, digits: number): string {
  return String(value).padStart(digits, '0');
}

function invalid(): never {
  throw unreadable('a document that is none');
}
