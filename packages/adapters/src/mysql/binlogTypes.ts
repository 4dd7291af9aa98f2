/**
 * How the binary log stores a value: by a type and its metadata, which say how long it is without saying what it means ("Table_map_event" and "Row event
 * format" of the servers' internals manuals). What the catalog's types are in these words, so that a table that has become another one is noticed.
 */
import type { CatalogType } from './types.ts';

export const TYPE = {
  tiny: 1,
  short: 2,
  long: 3,
  float: 4,
  double: 5,
  longlong: 8,
  int24: 9,
  date: 10,
  year: 13,
  varchar: 15,
  bit: 16,
  timestamp: 17,
  datetime: 18,
  time: 19,
  blobCompressed: 140,
  varcharCompressed: 141,
  json: 245,
  decimal: 246,
  enum: 247,
  set: 248,
  blob: 252,
  varString: 253,
  string: 254,
  geometry: 255,
} as const;

/** How a value is stored: type in the low byte, metadata above. */
export type StoredType = number;

export function storedType(type: number, metadata = 0): StoredType {
  return type | (metadata << 8);
}

/** Bytes of metadata that a type has in a table map. */
export function metadataBytes(type: number): 0 | 1 | 2 {
  switch (type) {
    case TYPE.float:
    case TYPE.double:
    case TYPE.timestamp:
    case TYPE.datetime:
    case TYPE.time:
    case TYPE.blob:
    case TYPE.blobCompressed:
    case TYPE.geometry:
    case TYPE.json:
      return 1;
    case TYPE.varchar:
    case TYPE.varcharCompressed:
    case TYPE.bit:
    case TYPE.decimal:
    case TYPE.enum:
    case TYPE.set:
    case TYPE.varString:
    case TYPE.string:
      return 2;
    default:
      return 0;
  }
}

/** Bytes in front of a value that say how long it is. */
export function lengthBytes(stored: StoredType): number {
  const metadata = stored >>> 8;
  switch (stored & 0xff) {
    case TYPE.varchar:
    case TYPE.varcharCompressed:
      return metadata > 255 ? 2 : 1;
    case TYPE.blob:
    case TYPE.blobCompressed:
    case TYPE.geometry:
    case TYPE.json:
      return metadata;
    case TYPE.string:
    case TYPE.varString:
      return isLabel(metadata) ? 0 : charBytes(metadata) > 255 ? 2 : 1;
    default:
      return 0;
  }
}

/** Bytes of a value whose length does not stand in front of it; -1 for a type of unknown form. */
export function fixedBytes(stored: StoredType): number {
  const metadata = stored >>> 8;
  switch (stored & 0xff) {
    case TYPE.tiny:
    case TYPE.year:
      return 1;
    case TYPE.short:
      return 2;
    case TYPE.int24:
    case TYPE.date:
    case 11: // times of before 5.6
      return 3;
    case TYPE.long:
    case TYPE.float:
    case 7:
      return 4;
    case TYPE.longlong:
    case TYPE.double:
    case 12:
      return 8;
    case TYPE.timestamp:
      return 4 + fractionBytes(metadata);
    case TYPE.datetime:
      return 5 + fractionBytes(metadata);
    case TYPE.time:
      return 3 + fractionBytes(metadata);
    case TYPE.bit:
      return (metadata >> 8) + ((metadata & 0xff) > 0 ? 1 : 0);
    case TYPE.decimal:
      return decimalBytes(metadata & 0xff, metadata >> 8);
    case TYPE.enum:
    case TYPE.set:
    case TYPE.string:
      return metadata >> 8;
    default:
      return -1;
  }
}

/** A `string` that is an enum or a set: the real type is the first byte. */
function isLabel(metadata: number): boolean {
  return (metadata & 0xff) === TYPE.enum || (metadata & 0xff) === TYPE.set;
}

/** Longest value of a CHAR or BINARY, whose two highest bits are hidden in its type. */
function charBytes(metadata: number): number {
  return (metadata >> 8) | ((~metadata & 0x30) << 4);
}

export function fractionBytes(digits: number): number {
  return (digits + 1) >> 1;
}

/** Bytes of a run of so many digits. */
export const DIGIT_BYTES = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4] as const;

function decimalBytes(precision: number, scale: number): number {
  const whole = precision - scale;
  const run = (digits: number) => Math.floor(digits / 9) * 4 + (DIGIT_BYTES[digits % 9] ?? 0);
  return run(whole) + run(scale);
}

/** What the log must say of a column of the catalog; undefined for one that is not read from the log. `bytes`: CHARACTER_OCTET_LENGTH. */
export function storedTypeOf(catalog: CatalogType, bytes: number): StoredType | undefined {
  const string = (length: number) =>
    storedType(TYPE.string, (TYPE.string ^ ((length & 0x300) >> 4)) | ((length & 0xff) << 8));
  switch (catalog.name) {
    case 'tinyint':
      return storedType(TYPE.tiny);
    case 'smallint':
      return storedType(TYPE.short);
    case 'mediumint':
      return storedType(TYPE.int24);
    case 'int':
      return storedType(TYPE.long);
    case 'bigint':
      return storedType(TYPE.longlong);
    case 'decimal':
      return storedType(TYPE.decimal, catalog.precision | (catalog.scale << 8));
    case 'float':
      return storedType(TYPE.float, 4);
    case 'double':
      return storedType(TYPE.double, 8);
    case 'bit': {
      const bits = bitsOf(catalog);
      return storedType(TYPE.bit, (bits & 7) | ((bits >> 3) << 8));
    }
    case 'year':
      return storedType(TYPE.year);
    case 'date':
      return storedType(TYPE.date);
    case 'time':
      return storedType(TYPE.time, catalog.digits);
    case 'datetime':
      return storedType(TYPE.datetime, catalog.digits);
    case 'timestamp':
      return storedType(TYPE.timestamp, catalog.digits);
    case 'char':
    case 'binary':
      return string(bytes);
    case 'uuid':
    case 'inet6':
      return string(16);
    case 'inet4':
      return string(4);
    case 'varchar':
    case 'varbinary':
      return storedType(TYPE.varchar, bytes);
    case 'tinytext':
    case 'tinyblob':
      return storedType(TYPE.blob, 1);
    case 'text':
    case 'blob':
      return storedType(TYPE.blob, 2);
    case 'mediumtext':
    case 'mediumblob':
      return storedType(TYPE.blob, 3);
    case 'longtext':
    case 'longblob':
      return storedType(TYPE.blob, 4);
    case 'json':
      return storedType(TYPE.json, 4);
    case 'enum':
      return storedType(TYPE.string, TYPE.enum | ((labelsOf(catalog).length > 255 ? 2 : 1) << 8));
    case 'set': {
      const needed = (labelsOf(catalog).length + 7) >> 3;
      return storedType(TYPE.string, TYPE.set | ((needed > 4 ? 8 : needed) << 8));
    }
    default:
      return undefined;
  }
}

export function bitsOf({ text }: CatalogType): number {
  return Number(/\d+/.exec(text)?.[0] ?? '1');
}

/** Labels of `enum('a','b')`, as the catalog writes them: with a backslash before what is none of the printed characters. */
export function labelsOf({ text }: CatalogType): string[] {
  return [...text.matchAll(/'((?:[^'\\]|''|\\[\s\S])*)'/g)].map(([, label = '']) =>
    label.replaceAll(/''|\\([\s\S])/g, (_, letter?: string) =>
      letter === undefined ? "'" : (ESCAPED[letter] ?? letter),
    ),
  );
}

const ESCAPED: Readonly<Record<string, string>> = { n: '\n', r: '\r', 0: '\0' };
