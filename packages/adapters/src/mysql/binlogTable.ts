/** A table map of the binary log: which table the rows that follow belong to, and how its columns are stored. */

import type { RowPlaces } from '../log/lineSlab.ts';
import { unreadable } from './binlogEvent.ts';
import { fixedBytes, lengthBytes, metadataBytes, type StoredType, storedType } from './binlogTypes.ts';

export interface TableName {
  readonly database: string;
  readonly name: string;
}

export interface MappedTable extends TableName {
  readonly columns: readonly StoredType[];
  /** Where the server writes them (binlog_row_metadata = FULL). */
  readonly names: readonly string[] | undefined;
}

const COLUMN_NAMES = 4;

/** `start`: behind the table's number and flags. `end`: behind the name. */
export function readTableName(bytes: Buffer, start: number): TableName & { readonly end: number } {
  const databaseEnd = start + 1 + (bytes[start] as number);
  const nameAt = databaseEnd + 2;
  const nameEnd = nameAt + (bytes[databaseEnd + 1] as number);
  return {
    database: bytes.toString('utf8', start + 1, databaseEnd),
    name: bytes.toString('utf8', nameAt, nameEnd),
    end: nameEnd + 1,
  };
}

export function readTableMap(bytes: Buffer, start: number, end: number): MappedTable {
  const { database, name, end: nameEnd } = readTableName(bytes, start);
  let at = nameEnd;
  const packed = () => {
    const [value, next] = readPacked(bytes, at);
    at = next;
    return value;
  };
  const count = packed();
  const types = bytes.subarray(at, at + count);
  at += count;
  const metadataEnd = packed() + at;
  const columns: StoredType[] = [];
  for (const type of types) {
    const size = metadataBytes(type);
    columns.push(storedType(type, size === 0 ? 0 : bytes.readUIntLE(at, size)));
    at += size;
  }
  if (at !== metadataEnd) throw unreadable('a table whose columns are of unknown types');
  at += (count + 7) >> 3;
  let names: string[] | undefined;
  while (at < end) {
    const kind = bytes[at++];
    const fieldEnd = packed() + at;
    if (kind === COLUMN_NAMES) names = readNames(bytes, at, fieldEnd);
    at = fieldEnd;
  }
  return { database, name, columns, names };
}

function readNames(bytes: Buffer, start: number, end: number): string[] {
  const names: string[] = [];
  for (let at = start; at < end; ) {
    const [length, next] = readPacked(bytes, at);
    at = next + length;
    names.push(bytes.toString('utf8', next, at));
  }
  return names;
}

/** A number of one to nine bytes, and the place behind it. */
export function readPacked(bytes: Buffer, at: number): [value: number, next: number] {
  const first = bytes[at] as number;
  if (first < 0xfb) return [first, at + 1];
  const size = first === 0xfc ? 2 : first === 0xfd ? 3 : 6;
  return [bytes.readUIntLE(at + 1, size), at + 1 + (size === 6 ? 8 : size)];
}

/** One row of an event. */
export class RowImage implements RowPlaces {
  readonly #columns: readonly StoredType[];
  readonly #prefixes: Uint8Array;
  readonly #fixed: Int32Array;
  readonly starts: Int32Array;
  readonly lengths: Int32Array;

  constructor(columns: readonly StoredType[]) {
    this.#columns = columns;
    this.#prefixes = Uint8Array.from(columns, lengthBytes);
    this.#fixed = Int32Array.from(columns, fixedBytes);
    this.starts = new Int32Array(columns.length);
    this.lengths = new Int32Array(columns.length);
  }

  /** `present`: where the bits lie that say which columns the event has, a count of them. Gives the place behind the row. */
  read(bytes: Buffer, start: number, bits: number, present: number): number {
    const count = this.#columns.length;
    const isWhole = present === count;
    let at = start + ((present + 7) >> 3);
    for (let column = 0, place = 0; column < count; column++) {
      if (!isWhole && (((bytes[bits + (column >> 3)] as number) >> (column & 7)) & 1) === 0) {
        this.lengths[column] = -2;
        continue;
      }
      const isNull = (((bytes[start + (place >> 3)] as number) >> (place & 7)) & 1) === 1;
      place += 1;
      if (isNull) {
        this.lengths[column] = -1;
        continue;
      }
      const prefix = this.#prefixes[column] as number;
      let length = this.#fixed[column] as number;
      if (prefix > 0) {
        length = prefix === 1 ? (bytes[at] as number) : bytes.readUIntLE(at, prefix);
        at += prefix;
      } else if (length < 0) throw unreadable('a value of unknown type');
      this.starts[column] = at;
      this.lengths[column] = length;
      at += length;
    }
    return at;
  }
}
