/** Texts and labels of the binary log as fields of row text: escaped, with the blanks that a CHAR has, from whatever character set. */
import { isUtf8 } from 'node:buffer';
import { JSON_PER_BYTE, jsonText } from './binlogJson.ts';
import { labelsOf } from './binlogTypes.ts';
import type { CharsetReader } from './logCharset.ts';
import { REFUSED, type ValueWriter, type Written } from './loggedColumn.ts';
import type { CatalogType } from './types.ts';

const BACKSLASH = 0x5c;
const BLANK = 0x20;
/** Letter behind the backslash; 0: none is needed, 1: a NUL, which no text may have. */
const ESCAPE = new Uint8Array(128);
ESCAPE[0] = 1;
ESCAPE[BACKSLASH] = BACKSLASH;
ESCAPE[0x09] = 0x74;
ESCAPE[0x0a] = 0x6e;
ESCAPE[0x0d] = 0x72;

/** UTF-8 with the four escapes. */
function writeText(from: Buffer, start: number, end: number, line: Buffer, begin: number): number {
  let to = begin;
  let all = 0;
  for (let at = start; at < end; at++) {
    const byte = from[at] as number;
    all |= byte;
    const escape = byte < 0x80 ? (ESCAPE[byte] as number) : 0;
    if (escape === 0) line[to++] = byte;
    else if (escape === 1) return REFUSED.TEXT_HAS_NUL;
    else {
      line[to++] = BACKSLASH;
      line[to++] = escape;
    }
  }
  return all < 0x80 || isUtf8(from.subarray(start, end)) ? to : REFUSED.TEXT_NOT_UTF8;
}

/** A document of MySQL as the text that the server prints. */
export function documentWriter(): Written {
  const writer: ValueWriter = (from, start, end, line, to) => {
    const text = Buffer.from(jsonText(from, start, end));
    return writeText(text, 0, text.length, line, to);
  };
  // A backslash is doubled.
  return { writer, perByte: 2 * JSON_PER_BYTE, most: 128 };
}

let converted = Buffer.allocUnsafe(4096);

/** `padded`: characters that a CHAR has with its blanks, which the log leaves out. */
export function textWriter(reader: CharsetReader | undefined, padded: number): Written {
  const writePlain: ValueWriter = (source, from, end, line, begin) => {
    let to = writeText(source, from, end, line, begin);
    if (padded === 0 || to < 0) return to;
    let characters = 0;
    for (let at = from; at < end; at++) if (((source[at] as number) & 0xc0) !== 0x80) characters += 1;
    for (; characters < padded; characters++) line[to++] = BLANK;
    return to;
  };
  if (reader === undefined) return { writer: writePlain, perByte: 2 };
  const writer: ValueWriter = (source, from, end, line, begin) => {
    if (converted.length < 4 * (end - from)) converted = Buffer.allocUnsafe(4 * (end - from));
    const length = reader(source, from, end, converted, 0);
    return length < 0 ? REFUSED.TEXT_NOT_UTF8 : writePlain(converted, 0, length, line, begin);
  };
  // A byte becomes at most four, or two with an escape.
  return { writer, perByte: 4 };
}

function escapedLabels(catalog: CatalogType): Buffer[] {
  return labelsOf(catalog).map((label) => {
    const bytes = Buffer.from(label);
    const line = Buffer.alloc(2 * bytes.length + 1);
    return line.subarray(0, Math.max(0, writeText(bytes, 0, bytes.length, line, 0)));
  });
}

export function labelWriter(catalog: CatalogType): Written {
  const labels = escapedLabels(catalog);
  const writer: ValueWriter = (from, start, end, line, to) => {
    // Number 0 stands where a value was refused without strict mode.
    const label = labels[from.readUIntLE(start, end - start) - 1];
    return label === undefined ? REFUSED.VALUE_INVALID : to + label.copy(line, to);
  };
  return { writer, most: Math.max(0, ...labels.map(({ length }) => length)) };
}

export function setWriter(catalog: CatalogType): Written {
  const labels = escapedLabels(catalog);
  const writer: ValueWriter = (from, start, end, line, begin) => {
    let to = begin;
    for (let index = 0; index < labels.length; index++) {
      const byte = start + (index >> 3);
      if (byte >= end || (((from[byte] as number) >> (index & 7)) & 1) === 0) continue;
      if (to > begin) line[to++] = 0x2c;
      to += (labels[index] as Buffer).copy(line, to);
    }
    return to;
  };
  return { writer, most: labels.reduce((sum, { length }) => sum + length + 1, 0) };
}
