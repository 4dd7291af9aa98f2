/**
 * Rows of the binary log as changes in row text. They come behind a map of their table, which says how they are stored, and which columns they have: where
 * the server does not write their names, nothing is read of them, for no catalog tells how a table was when its rows were written.
 */
import { MAX_ROW_BYTES } from '@qiao/exchange';
import type { LogChange } from '../adapter.ts';
import { isSameKey, LineSlab } from '../log/lineSlab.ts';
import { EVENT, inflated, inflatedBytes, unreadable } from './binlogEvent.ts';
import { type MappedTable, RowImage, readPacked, readTableMap, readTableName, type TableName } from './binlogTable.ts';
import { type LoggedColumn, refusalCode } from './loggedColumn.ts';

/** A table of the plan, as the catalog has it. */
export interface LoggedTable {
  readonly database: string;
  readonly name: string;
  readonly columns: readonly LoggedColumn[];
  readonly keyColumns: number;
}

/** Takes one change of the table at this index of the plan. */
export type TakeChange = (
  table: number,
  kind: LogChange['kind'],
  line: Buffer,
  number: number,
  oldKey?: Buffer,
  missing?: readonly number[],
  refused?: string,
) => void;

/** What the rows of an event belong to. */
interface RowsOf {
  /** Of its first change. */
  readonly number: number;
  /** Gets the tables of the plan that the rows are of. */
  readonly touched: Set<number>;
  /** They are changes now; else only counted. */
  readonly isTold: boolean;
}

/** A table of the plan in the present form of its rows. */
interface Reading {
  readonly table: number;
  readonly columns: readonly LoggedColumn[];
  /** Index among the event's columns; undefined when they are not the plan's. */
  readonly from: Int32Array | undefined;
  readonly keyColumns: number;
}

interface Mapped {
  readonly raw: Buffer;
  readonly readings: readonly Reading[];
  readonly before: RowImage;
  readonly after: RowImage;
}

/** Of a table that no reading is of: how its rows are stored is none of our business. */
const NOT_OURS = 'not ours';

/** A table has a new map each time that the server opens it. */
const MOST_MAPS = 2_000;
/** Flag of the last rows of a statement. */
const ENDS_STATEMENT = 1;

const TAB = 0x09;
const LF = 0x0a;
const BACKSLASH = 0x5c;
const EMPTY = Buffer.alloc(0);

export class BinlogRows {
  readonly #tables: readonly (LoggedTable | undefined)[];
  readonly #tellsCase: boolean;
  readonly #take: TakeChange;
  readonly #byName = new Map<string, number[]>();
  readonly #maps = new Map<number, Mapped | typeof NOT_OURS>();
  readonly #lines = new LineSlab();
  #refused = '';

  constructor(
    { tables, tellsCase }: { readonly tables: readonly (LoggedTable | undefined)[]; readonly tellsCase: boolean },
    take: TakeChange,
  ) {
    this.#tables = tables;
    this.#tellsCase = tellsCase;
    this.#take = take;
    for (const [index, table] of tables.entries()) {
      if (table === undefined) continue;
      const name = this.#nameOf(table);
      this.#byName.set(name, [...(this.#byName.get(name) ?? []), index]);
    }
  }

  /** Whatever comes next is described anew. */
  forget(): void {
    this.#maps.clear();
  }

  /** Between statements, each of which describes its tables. */
  trim(): void {
    if (this.#maps.size > MOST_MAPS) this.forget();
  }

  map(bytes: Buffer, at: number, end: number): void {
    const id = bytes.readUIntLE(at, 6);
    const known = this.#maps.get(id);
    if (
      typeof known === 'object' &&
      known.raw.length === end - at &&
      bytes.compare(known.raw, 0, known.raw.length, at, end) === 0
    )
      return;
    const tables = this.#byName.get(this.#nameOf(readTableName(bytes, at + 8)));
    if (tables === undefined) {
      this.#maps.set(id, NOT_OURS);
      return;
    }
    const mapped = readTableMap(bytes, at + 8, end);
    const readings = tables.map((table) => this.#readingOf(table, mapped));
    this.#maps.set(id, {
      raw: Buffer.from(bytes.subarray(at, end)),
      readings,
      before: new RowImage(mapped.columns),
      after: new RowImage(mapped.columns),
    });
  }

  #readingOf(index: number, { columns: stored, names }: MappedTable): Reading {
    const { columns, keyColumns } = this.#tables[index] as LoggedTable;
    const from = new Int32Array(columns.length);
    const isSame = columns.every((column, place) => {
      const found = names?.indexOf(column.name) ?? -1;
      from[place] = found;
      return stored[found] === column.stored;
    });
    return { table: index, columns, from: isSame ? from : undefined, keyColumns };
  }

  /** One event of rows; gives how many bytes they have, also where nothing is read of them, and 1 for rows of none. */
  read(type: number, bytes: Buffer, start: number, end: number, { number, touched, isTold }: RowsOf): number {
    const mapped = this.#maps.get(bytes.readUIntLE(start, 6));
    if (mapped === undefined) throw unreadable('rows of a table that was not described');
    const isCompressed = type >= EVENT.writeRowsCompressed;
    const isSecond = type >= EVENT.writeRows2 && type <= EVENT.deleteRows2;
    const base = isCompressed ? EVENT.writeRowsCompressed : isSecond ? EVENT.writeRows2 : EVENT.writeRows;
    const kind = type - base + EVENT.writeRows;
    const [width, bits] = readPacked(bytes, start + 8 + (isSecond ? bytes.readUInt16LE(start + 8) : 0));
    const bitBytes = (width + 7) >> 3;
    const isUpdate = kind === EVENT.updateRows;
    const rowsAt = bits + (isUpdate ? 2 : 1) * bitBytes;
    const rowBytes = Math.max(1, isCompressed ? inflatedBytes(bytes, rowsAt) : end - rowsAt);
    if ((bytes.readUInt16LE(start + 6) & ENDS_STATEMENT) !== 0) this.trim();
    if (mapped === NOT_OURS) return rowBytes;
    if (width !== mapped.after.lengths.length) throw unreadable('rows of other columns than their table has');
    for (const { table } of mapped.readings) touched.add(table);
    if (!isTold) return rowBytes;
    const body = isCompressed ? Buffer.concat([bytes.subarray(bits, rowsAt), inflated(bytes, rowsAt, end)]) : bytes;
    const first = isCompressed ? 0 : bits;
    const second = isUpdate ? first + bitBytes : first;
    const [presentFirst, presentSecond] = [bitsSet(body, first, width), bitsSet(body, second, width)];
    const begin = first + (isUpdate ? 2 : 1) * bitBytes;
    const finish = isCompressed ? body.length : end;
    const { before, after } = mapped;
    // A session that logs as little as it can has nothing to say of a row of defaults.
    if (begin === finish) for (const { table } of mapped.readings) this.#take(table, 'untold', EMPTY, number);
    for (let at = begin; at < finish; ) {
      const rowAt = at;
      const place = number + at - begin;
      if (kind === EVENT.writeRows) at = after.read(body, at, first, presentFirst);
      else at = before.read(body, at, first, presentFirst);
      if (isUpdate) at = after.read(body, at, second, presentSecond);
      if (!(at <= finish) || at === rowAt) throw unreadable('a row that does not end with its event');
      if (kind === EVENT.writeRows) {
        for (const reading of mapped.readings) this.#write(body, reading, place, 'insert', after, undefined);
      } else if (isUpdate) {
        for (const reading of mapped.readings) this.#write(body, reading, place, 'update', after, before);
      } else {
        for (const reading of mapped.readings) this.#delete(body, reading, place, before);
      }
    }
    return rowBytes;
  }

  #write(
    bytes: Buffer,
    { table, columns, from, keyColumns }: Reading,
    number: number,
    kind: 'insert' | 'update',
    row: RowImage,
    before: RowImage | undefined,
  ): void {
    if (from === undefined) return this.#take(table, 'reshaped', EMPTY, number);
    let missing: number[] | undefined;
    for (let place = 0; place < from.length; place++) {
      const column = from[place] as number;
      if (row.lengths[column] !== -2) continue;
      // A session may log less than the whole row: what it left out did not change.
      if (before === undefined) return this.#take(table, 'untold', EMPTY, number);
      row.starts[column] = before.starts[column] as number;
      row.lengths[column] = before.lengths[column] as number;
      if (row.lengths[column] !== -2) continue;
      if (place < keyColumns) return this.#take(table, 'untold', EMPTY, number);
      missing ??= [];
      missing.push(place);
    }
    const oldKey =
      before === undefined || isSameKey(bytes, before, row, from, keyColumns)
        ? undefined
        : this.#line(bytes, before, columns, from, keyColumns);
    const line = this.#line(bytes, row, columns, from, from.length);
    if (line !== undefined) return this.#take(table, kind, line, number, oldKey, missing);
    const refused = this.#refused;
    const key = this.#line(bytes, row, columns, from, keyColumns) ?? EMPTY;
    this.#take(table, kind, key, number, oldKey, missing, refused);
  }

  #delete(bytes: Buffer, { table, columns, from, keyColumns }: Reading, number: number, before: RowImage): void {
    if (from === undefined) return this.#take(table, 'reshaped', EMPTY, number);
    for (let place = 0; place < keyColumns; place++) {
      if (before.lengths[from[place] as number] === -2) return this.#take(table, 'untold', EMPTY, number);
    }
    const line = this.#line(bytes, before, columns, from, keyColumns);
    this.#take(
      table,
      'delete',
      line ?? EMPTY,
      number,
      undefined,
      undefined,
      line === undefined ? this.#refused : undefined,
    );
  }

  /** The first `count` columns of the plan as one line; undefined for what cannot be carried, with the reason in `#refused`. */
  #line(
    bytes: Buffer,
    row: RowImage,
    columns: readonly LoggedColumn[],
    from: Int32Array,
    count: number,
  ): Buffer | undefined {
    let most = count;
    let size = 0;
    for (let place = 0; place < count; place++) {
      const { perByte, most: beside } = columns[place] as LoggedColumn;
      const length = row.lengths[from[place] as number] as number;
      most += beside;
      if (length <= 0) continue;
      size += length;
      most += perByte * length;
    }
    if (size > MAX_ROW_BYTES) {
      this.#refused = 'ROW_TOO_LARGE';
      return undefined;
    }
    let to = this.#lines.begin(most);
    const slab = this.#lines.bytes;
    for (let place = 0; place < count; place++) {
      if (place > 0) slab[to++] = TAB;
      const column = from[place] as number;
      const length = row.lengths[column] as number;
      if (length < 0) {
        slab[to++] = BACKSLASH;
        slab[to++] = 0x4e;
        continue;
      }
      const start = row.starts[column] as number;
      to = (columns[place] as LoggedColumn).writer(bytes, start, start + length, slab, to);
      if (to < 0) {
        this.#refused = refusalCode(to);
        return undefined;
      }
    }
    slab[to++] = LF;
    return this.#lines.end(to);
  }

  #nameOf({ database, name }: TableName): string {
    const both = `${database}\0${name}`;
    return this.#tellsCase ? both : both.toLowerCase();
  }
}

function bitsSet(bytes: Buffer, at: number, width: number): number {
  let count = 0;
  for (let column = 0; column < width; column++) count += ((bytes[at + (column >> 3)] as number) >> (column & 7)) & 1;
  return count;
}
