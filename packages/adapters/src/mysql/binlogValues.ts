/**
 * Values of the binary log as fields of row text, the very bytes that `texts.ts` has the server write. A value is copied once, from the event into the
 * line. What cannot be carried is refused under the same codes as in a snapshot (S3).
 */
import { floatText } from '@qiao/exchange';
import {
  BLANK,
  bitWriter,
  COLON,
  decimalWriter,
  MINUS,
  POINT,
  writeBig,
  writeBoolean,
  writeInteger,
  writePadded,
  writeUnsigned,
  writeUnsignedBig,
  ZERO,
} from './binlogNumbers.ts';
import { documentWriter, labelWriter, setWriter, textWriter } from './binlogTexts.ts';
import { bitsOf } from './binlogTypes.ts';
import type { CharsetReader } from './logCharset.ts';
import { REFUSED, type ValueWriter, type Written } from './loggedColumn.ts';
import type { CatalogType } from './types.ts';

/** In place of a value: `\N`. A label may be shorter. */
const NULL_BYTES = 2;

/** `reader`: where the bytes of its text are not UTF-8. */
export function valueWriter(catalog: CatalogType, reader: CharsetReader | undefined): Required<Written> {
  const { writer, perByte = 0, most = 32 } = written(catalog, reader);
  return { writer, perByte, most: Math.max(NULL_BYTES, most) };
}

function written(catalog: CatalogType, reader: CharsetReader | undefined): Written {
  const isUnsigned = / unsigned/.test(catalog.text);
  switch (catalog.name) {
    case 'tinyint':
      if (catalog.text === 'tinyint(1)') return { writer: writeBoolean };
      return {
        writer: isUnsigned
          ? (from, at, _, line, to) => writeUnsigned(from[at] as number, line, to)
          : (from, at, _, line, to) => writeInteger(from.readInt8(at), line, to),
      };
    case 'smallint':
      return {
        writer: isUnsigned
          ? (from, at, _, line, to) => writeUnsigned(from.readUInt16LE(at), line, to)
          : (from, at, _, line, to) => writeInteger(from.readInt16LE(at), line, to),
      };
    case 'mediumint':
      return {
        writer: isUnsigned
          ? (from, at, _, line, to) => writeUnsigned(from.readUIntLE(at, 3), line, to)
          : (from, at, _, line, to) => writeInteger(from.readIntLE(at, 3), line, to),
      };
    case 'int':
      return {
        writer: isUnsigned
          ? (from, at, _, line, to) => writeUnsigned(from.readUInt32LE(at), line, to)
          : (from, at, _, line, to) => writeInteger(from.readInt32LE(at), line, to),
      };
    case 'bigint':
      return { writer: isUnsigned ? writeUnsignedBig : writeBig };
    case 'decimal':
      return { writer: decimalWriter(catalog.precision, catalog.scale), most: catalog.precision + 8 };
    case 'float':
      return { writer: (from, at, _, line, to) => to + line.write(floatText(from.readFloatLE(at), 32), to, 'latin1') };
    case 'double':
      return { writer: (from, at, _, line, to) => to + line.write(floatText(from.readDoubleLE(at), 64), to, 'latin1') };
    case 'bit':
      return catalog.text === 'bit(1)' ? { writer: writeBoolean } : { writer: bitWriter(bitsOf(catalog)), most: 64 };
    case 'year':
      return {
        writer: (from, at, _, line, to) => writeUnsigned(from[at] === 0 ? 0 : 1900 + (from[at] as number), line, to),
      };
    case 'date':
      return { writer: writeDate };
    case 'time':
      return { writer: (from, at, _, line, to) => writeTime(from, at, line, to, catalog.digits) };
    case 'datetime':
      return { writer: (from, at, _, line, to) => writeDatetime(from, at, line, to, catalog.digits) };
    case 'timestamp':
      return { writer: (from, at, _, line, to) => writeTimestamp(from, at, line, to, catalog.digits) };
    case 'uuid':
      return { writer: writeUuid, most: 40 };
    case 'inet4':
      return { writer: writeInet4 };
    case 'inet6':
      return { writer: writeInet6, most: 48 };
    case 'binary':
      return { writer: bytesWriter(catalog.length), perByte: 2, most: 8 + 2 * catalog.length };
    case 'varbinary':
    case 'tinyblob':
    case 'blob':
    case 'mediumblob':
    case 'longblob':
      return { writer: bytesWriter(0), perByte: 2 };
    case 'json':
      return documentWriter();
    case 'enum':
      return labelWriter(catalog);
    case 'set':
      return setWriter(catalog);
    case 'char':
      return { ...textWriter(reader, catalog.length), most: 32 + catalog.length };
    default:
      return textWriter(reader, 0);
  }
}

// ---------------------------------------------------------------------------------------------------------------------- times

const DAYS = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** -1 for a day that is none: zero dates, zero months and days, 31 February. */
function writeDay(year: number, month: number, day: number, line: Buffer, begin: number): number {
  const isLeap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  if (year === 0 || day === 0 || day > (month === 2 && isLeap ? 29 : (DAYS[month] ?? 0))) return REFUSED.VALUE_INVALID;
  let to = writePadded(year, 4, line, begin);
  line[to++] = MINUS;
  to = writePadded(month, 2, line, to);
  line[to++] = MINUS;
  return writePadded(day, 2, line, to);
}

/** Refuses a time that is none. */
function writeClock(hour: number, minute: number, second: number, line: Buffer, begin: number): number {
  if (hour > 24 || minute > 59 || second > 59) return REFUSED.VALUE_INVALID;
  let to = writePadded(hour, 2, line, begin);
  line[to++] = COLON;
  to = writePadded(minute, 2, line, to);
  line[to++] = COLON;
  return writePadded(second, 2, line, to);
}

function microseconds(from: Buffer, at: number, digits: number): number {
  if (digits === 0) return 0;
  if (digits <= 2) return (from[at] as number) * 10_000;
  return digits <= 4 ? from.readUInt16BE(at) * 100 : from.readUIntBE(at, 3);
}

/** Behind a clock, if it was one; without zeros at the end. */
function writeFraction(micros: number, line: Buffer, begin: number): number {
  if (begin < 0 || micros === 0) return begin;
  if (micros > 999_999) return REFUSED.VALUE_INVALID;
  line[begin] = POINT;
  let to = writePadded(micros, 6, line, begin + 1);
  while (line[to - 1] === ZERO) to -= 1;
  return to;
}

function writeDate(from: Buffer, at: number, _: number, line: Buffer, to: number): number {
  const value = from.readUIntLE(at, 3);
  return writeDay(value >> 9, (value >> 5) & 15, value & 31, line, to);
}

function writeDatetime(from: Buffer, at: number, line: Buffer, begin: number, digits: number): number {
  const months = (from.readUInt32BE(at) & 0x7fffffff) >>> 14;
  const rest = from.readUIntBE(at + 2, 3) & 0x3fffff;
  let to = writeDay(Math.floor(months / 13), months % 13, rest >> 17, line, begin);
  if (to < 0 || ((rest >> 12) & 31) > 23) return REFUSED.VALUE_INVALID;
  line[to++] = BLANK;
  to = writeClock((rest >> 12) & 31, (rest >> 6) & 63, rest & 63, line, to);
  return writeFraction(microseconds(from, at + 5, digits), line, to);
}

/** The day that was written last, for rows of one time lie together. */
let lastDay = -1;
let lastDate: readonly [number, number, number] = [1970, 1, 1];

function writeTimestamp(from: Buffer, at: number, line: Buffer, begin: number, digits: number): number {
  const seconds = from.readUInt32BE(at);
  const micros = microseconds(from, at + 4, digits);
  // Zero stands for the zero date.
  if (seconds === 0) return REFUSED.VALUE_INVALID;
  const day = Math.floor(seconds / 86_400);
  if (day !== lastDay) {
    const date = new Date(day * 86_400_000);
    lastDay = day;
    lastDate = [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate()];
  }
  let to = writeDay(lastDate[0], lastDate[1], lastDate[2], line, begin);
  const clock = seconds - day * 86_400;
  line[to++] = BLANK;
  to = writeClock(Math.floor(clock / 3600), Math.floor(clock / 60) % 60, clock % 60, line, to);
  to = writeFraction(micros, line, to);
  return to < 0 ? to : to + line.write('+00', to, 'latin1');
}

function writeTime(from: Buffer, at: number, line: Buffer, begin: number, digits: number): number {
  const value = from.readUIntBE(at, 3) - 0x800000;
  const micros = value < 0 ? 0 : microseconds(from, at + 3, digits);
  const [hour, minute, second] = [(value >> 12) & 0x3ff, (value >> 6) & 63, value & 63];
  if (value < 0 || hour > 24 || (hour === 24 && minute + second + micros > 0)) return REFUSED.VALUE_INVALID;
  return writeFraction(micros, line, writeClock(hour, minute, second, line, begin));
}

// ---------------------------------------------------------------------------------------------------------------------- bytes

const HEX = Buffer.from('0123456789abcdef');

function writeHex(byte: number, line: Buffer, to: number): number {
  line[to] = HEX[byte >> 4] as number;
  line[to + 1] = HEX[byte & 15] as number;
  return to + 2;
}

/** `least`: the log leaves out zeros at the end of a BINARY. */
function bytesWriter(least: number): ValueWriter {
  return (from, start, end, line, begin) => {
    let to = begin + line.write('\\\\x', begin, 'latin1');
    if (end - start > 64) to += line.write(from.toString('hex', start, end), to, 'latin1');
    else for (let at = start; at < end; at++) to = writeHex(from[at] as number, line, to);
    for (let count = end - start; count < least; count++) to = writeHex(0, line, to);
    return to;
  };
}

/** Fixed bytes of which zeros at the end may have been left out. */
function byteAt(from: Buffer, start: number, end: number, place: number): number {
  return start + place < end ? (from[start + place] as number) : 0;
}

function writeUuid(from: Buffer, start: number, end: number, line: Buffer, begin: number): number {
  let to = begin;
  for (let place = 0; place < 16; place++) {
    if (place === 4 || place === 6 || place === 8 || place === 10) line[to++] = MINUS;
    to = writeHex(byteAt(from, start, end, place), line, to);
  }
  return to;
}

function writeInet4(from: Buffer, start: number, end: number, line: Buffer, begin: number): number {
  let to = begin;
  for (let place = 0; place < 4; place++) {
    if (place > 0) line[to++] = POINT;
    to = writeUnsigned(byteAt(from, start, end, place), line, to);
  }
  return to;
}

/** As inet_ntop: the longest run of zero groups is left out, the first of several; an IPv4 address inside is written as such. */
function writeInet6(from: Buffer, start: number, end: number, line: Buffer, begin: number): number {
  const groups = Array.from(
    { length: 8 },
    (_, group) => (byteAt(from, start, end, 2 * group) << 8) | byteAt(from, start, end, 2 * group + 1),
  );
  let [gap, gapLength] = [-1, 0];
  for (let group = 0; group < 8; ) {
    let length = 0;
    while (group + length < 8 && groups[group + length] === 0) length += 1;
    if (length > gapLength) [gap, gapLength] = [group, length];
    group += length + 1;
  }
  const isMapped = gap === 0 && (gapLength === 6 || (gapLength === 5 && groups[5] === 0xffff));
  let text = '';
  for (let group = 0; group < (isMapped ? 6 : 8); ) {
    if (group === gap) {
      text += '::';
      group += gapLength;
      continue;
    }
    if (text !== '' && !text.endsWith(':')) text += ':';
    text += (groups[group] as number).toString(16);
    group += 1;
  }
  let to = begin + line.write(text, begin, 'latin1');
  if (!isMapped) return to;
  if (!text.endsWith(':')) line[to++] = COLON;
  for (let place = 12; place < 16; place++) {
    if (place > 12) line[to++] = POINT;
    to = writeUnsigned(byteAt(from, start, end, place), line, to);
  }
  return to;
}
