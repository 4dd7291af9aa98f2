/**
 * pgoutput's messages (manual, 55.9 "Logical Replication Message Formats", protocol version 1) as changes in row text. Values are copied
 * once, from the message into the line; nothing of a message is kept. Sessions and positions belong to log.ts.
 */
import { QiaoError } from '@qiao/exchange';
import type { LogChange, LogPiece, LogTransaction } from '../adapter.ts';
import { isSameKey, LineSlab, type RowPlaces } from '../log/lineSlab.ts';
import { LogPieces } from '../log/pieces.ts';
import type { Lineage } from './lineage.ts';
import { lsnText } from './lsn.ts';
import { isSeen } from './seen.ts';

/** A table of the plan, as the catalog has it now. */
export interface LoggedTable {
  /** pg_class.oid, of the root where it is partitioned. */
  readonly oid: number;
  readonly columns: readonly LoggedColumn[];
  readonly keyColumns: number;
}

export interface LoggedColumn {
  readonly name: string;
  readonly typeOid: number;
  readonly typeModifier: number;
}

/** A table of the plan, and where the present form of the relation has its columns. */
interface Reading {
  readonly table: number;
  /** Index in the relation's columns, in the order of the plan; undefined when its columns are not the plan's, or the log names its rows by others than the key. */
  readonly from: Int32Array | undefined;
  readonly keyColumns: number;
}

/** A relation as the log described it last. */
interface Relation {
  readonly columns: number;
  readonly readings: readonly Reading[];
}

/** 2000-01-01, where PostgreSQL counts microseconds from. */
const EPOCH_MS = 946_684_800_000;

/** Of the row before an update or a delete: only the columns that name it. */
const KEY_ONLY = 0x4b;
const NULL = 0x6e;
const UNCHANGED = 0x75;
const TEXT = 0x74;
const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const BACKSLASH = 0x5c;

/** One tuple of a message. */
class Tuple implements RowPlaces {
  columns = 0;
  starts = new Int32Array(64);
  lengths = new Int32Array(64);

  /** A row of a relation of so many columns; gives the place behind it. */
  read(bytes: Buffer, start: number, columns: number): number {
    let at = start;
    this.columns = bytes.readUInt16BE(at);
    if (this.columns !== columns) throw invalid('a row of other columns than its relation has');
    at += 2;
    if (this.columns > this.starts.length) {
      this.starts = new Int32Array(this.columns);
      this.lengths = new Int32Array(this.columns);
    }
    for (let i = 0; i < this.columns; i++) {
      const kind = bytes[at++];
      if (kind === TEXT) {
        const length = bytes.readInt32BE(at);
        at += 4;
        if (length < 0 || length > bytes.length - at) throw invalid('a value that does not end with its message');
        this.starts[i] = at;
        this.lengths[i] = length;
        at += length;
      } else if (kind === NULL) this.lengths[i] = -1;
      else if (kind === UNCHANGED) this.lengths[i] = -2;
      else throw invalid('a value of unknown form');
    }
    return at;
  }
}

class Transaction implements LogTransaction {
  readonly at: string;
  readonly committedAtMs: number;
  readonly #lsn: bigint;
  readonly #xid: number;

  constructor(lsn: bigint, committedAtMs: number, xid: number) {
    this.at = lsnText(lsn);
    this.committedAtMs = committedAtMs;
    this.#lsn = lsn;
    this.#xid = xid;
  }

  isSeen(seen: string): boolean {
    return isSeen(seen, this.#lsn, this.#xid);
  }
}

export class PgOutputDecoder {
  readonly #tables: readonly LoggedTable[];
  readonly #lineage: Lineage;
  readonly #relations = new Map<number, Relation>();
  readonly #pieces = new LogPieces();
  #transaction: Transaction | undefined;
  #number = 0;
  readonly #lines = new LineSlab();
  readonly #old = new Tuple();
  readonly #new = new Tuple();

  constructor(tables: readonly LoggedTable[], lineage: Lineage) {
    this.#tables = tables;
    this.#lineage = lineage;
  }

  /** In the middle of a transaction: no position is whole. */
  get isInside(): boolean {
    return this.#transaction !== undefined;
  }

  /** What came since the last call; of a transaction that has not ended only whole pieces. */
  take(): LogPiece[] {
    return this.#pieces.take();
  }

  /** Of what waits to be taken. */
  get bytes(): number {
    return this.#pieces.bytes;
  }

  /** Everything before this place was sent, and nothing of it was ours. Throws LOG_LOST. */
  idle(lsn: bigint): void {
    this.#lineage.reached(lsn);
    this.#pieces.idle(this.#lineage.positionAt(lsn));
  }

  /** One message, which begins at `at`. Throws LOG_INVALID, LOG_LOST. */
  message(bytes: Buffer, at: number): void {
    try {
      this.#read(bytes, at);
    } catch (error) {
      // Nothing else here is out of range than what lies behind the end.
      throw error instanceof RangeError ? invalid('a message that ends too early') : error;
    }
  }

  #read(bytes: Buffer, at: number): void {
    switch (bytes[at]) {
      case 0x42: // Begin
        return this.#begin(bytes, at + 1);
      case 0x43: // Commit
        return this.#commit(bytes, at + 1);
      case 0x52: // Relation
        return this.#relation(bytes, at + 1);
      case 0x49: // Insert
        return this.#insert(bytes, at + 1);
      case 0x55: // Update
        return this.#update(bytes, at + 1);
      case 0x44: // Delete
        return this.#delete(bytes, at + 1);
      case 0x54: // Truncate
        return this.#truncate(bytes, at + 1);
      case 0x4f: // Origin
      case 0x59: // Type
      case 0x4d: // a message of somebody's own
        return;
      default:
        throw invalid('a message of unknown kind');
    }
  }

  #begin(bytes: Buffer, at: number): void {
    if (this.#transaction !== undefined) throw invalid('a transaction inside of another');
    const committedAtMs = EPOCH_MS + Number(bytes.readBigInt64BE(at + 8) / 1000n);
    const [lsn, xid] = [bytes.readBigUInt64BE(at), bytes.readUInt32BE(at + 16)];
    this.#lineage.transaction(lsn, xid);
    this.#transaction = new Transaction(lsn, committedAtMs, xid);
    this.#number = 0;
  }

  #commit(bytes: Buffer, at: number): void {
    if (this.#transaction === undefined) throw invalid('a commit outside of a transaction');
    this.#pieces.end(this.#transaction, this.#lineage.positionAt(bytes.readBigUInt64BE(at + 9)));
    this.#transaction = undefined;
  }

  #relation(bytes: Buffer, start: number): void {
    const oid = bytes.readUInt32BE(start);
    let at = textEnd(bytes, start + 4) + 1; // schema
    at = textEnd(bytes, at) + 1; // name
    at += 1; // replica identity
    const count = bytes.readUInt16BE(at);
    at += 2;
    const found = new Map<
      string,
      { readonly index: number; readonly isNaming: boolean; readonly typeOid: number; readonly typeModifier: number }
    >();
    for (let index = 0; index < count; index++) {
      const isNaming = bytes[at++] === 1;
      const end = textEnd(bytes, at);
      const name = bytes.toString('utf8', at, end);
      const [typeOid, typeModifier] = [bytes.readUInt32BE(end + 1), bytes.readInt32BE(end + 5)];
      found.set(name, { index, isNaming, typeOid, typeModifier });
      at = end + 9;
    }
    const readings = this.#tables.flatMap((table, index): Reading[] => {
      if (table.oid !== oid) return [];
      const from = new Int32Array(table.columns.length);
      const isSame = table.columns.every(({ name, typeOid, typeModifier }, place) => {
        const column = found.get(name);
        from[place] = column?.index ?? -1;
        if (column?.isNaming === false && place < table.keyColumns) return false;
        return column?.typeOid === typeOid && column.typeModifier === typeModifier;
      });
      return [{ table: index, from: isSame ? from : undefined, keyColumns: table.keyColumns }];
    });
    this.#relations.set(oid, { columns: count, readings });
  }

  #insert(bytes: Buffer, at: number): void {
    const { columns, readings } = this.#relationOf(bytes.readUInt32BE(at));
    this.#new.read(bytes, at + 5, columns);
    for (const { table, from, keyColumns } of readings) {
      if (from === undefined) this.#add(table, 'reshaped', EMPTY);
      else this.#addRow(bytes, table, 'insert', from, keyColumns, false);
    }
    this.#number += 1;
  }

  #update(bytes: Buffer, start: number): void {
    const { columns, readings } = this.#relationOf(bytes.readUInt32BE(start));
    let at = start + 4;
    const lead = bytes[at];
    const hasOld = lead !== 0x4e;
    if (hasOld) at = this.#old.read(bytes, at + 1, columns);
    this.#new.read(bytes, at + 1, columns);
    for (const { table, from, keyColumns } of readings) {
      if (from === undefined || (lead === KEY_ONLY && !namesRow(this.#old, from, keyColumns)))
        this.#add(table, 'reshaped', EMPTY);
      else this.#addRow(bytes, table, 'update', from, keyColumns, hasOld);
    }
    this.#number += 1;
  }

  #delete(bytes: Buffer, at: number): void {
    const { columns, readings } = this.#relationOf(bytes.readUInt32BE(at));
    this.#old.read(bytes, at + 5, columns);
    for (const { table, from, keyColumns } of readings) {
      if (from === undefined || (bytes[at + 4] === KEY_ONLY && !namesRow(this.#old, from, keyColumns)))
        this.#add(table, 'reshaped', EMPTY);
      else this.#add(table, 'delete', this.#line(bytes, this.#old, from, keyColumns));
    }
    this.#number += 1;
  }

  #truncate(bytes: Buffer, at: number): void {
    const count = bytes.readUInt32BE(at);
    for (let i = 0; i < count; i++) {
      const { readings } = this.#relationOf(bytes.readUInt32BE(at + 5 + i * 4));
      for (const { table } of readings) this.#add(table, 'truncate', EMPTY);
    }
    this.#number += 1;
  }

  #relationOf(oid: number): Relation {
    const relation = this.#relations.get(oid);
    if (relation === undefined) throw invalid('a change of a relation that was not described');
    return relation;
  }

  #addRow(
    bytes: Buffer,
    table: number,
    kind: 'insert' | 'update',
    from: Int32Array,
    keyColumns: number,
    hasOld: boolean,
  ): void {
    const row = this.#new;
    const old = hasOld ? this.#old : undefined;
    let missing: number[] | undefined;
    for (let place = 0; place < from.length; place++) {
      const column = from[place] as number;
      if (row.lengths[column] !== -2) continue;
      // The row before has the value where the table's identity is the whole row; so has the key before, where a key is that large.
      const before = old?.lengths[column] ?? -2;
      if (before >= 0) {
        row.starts[column] = old?.starts[column] as number;
        row.lengths[column] = before;
      } else {
        missing ??= [];
        missing.push(place);
      }
    }
    const oldKey =
      old === undefined || isSameKey(bytes, old, row, from, keyColumns)
        ? undefined
        : this.#line(bytes, old, from, keyColumns);
    this.#add(table, kind, this.#line(bytes, row, from, from.length), oldKey, missing);
  }

  #add(table: number, kind: LogChange['kind'], line: Buffer, oldKey?: Buffer, missing?: readonly number[]): void {
    if (this.#transaction === undefined) throw invalid('a change outside of a transaction');
    this.#pieces.add(this.#transaction, { table, number: this.#number, kind, line, oldKey, missing });
  }

  /** The first `count` columns of the plan as one line. */
  #line(bytes: Buffer, tuple: Tuple, from: Int32Array, count: number): Buffer {
    let most = count;
    for (let place = 0; place < count; place++) {
      const length = tuple.lengths[from[place] as number] as number;
      // Every byte may need an escape.
      most += length < 0 ? 2 : length * 2;
    }
    let to = this.#lines.begin(most);
    const slab = this.#lines.bytes;
    for (let place = 0; place < count; place++) {
      if (place > 0) slab[to++] = TAB;
      const column = from[place] as number;
      const length = tuple.lengths[column] as number;
      if (length < 0) {
        slab[to++] = BACKSLASH;
        slab[to++] = 0x4e;
        continue;
      }
      const start = tuple.starts[column] as number;
      to = writeEscaped(slab, to, bytes, start, start + length);
    }
    slab[to++] = LF;
    return this.#lines.end(to);
  }
}

const EMPTY = Buffer.alloc(0);

/** Where the zero behind a text lies. */
function textEnd(bytes: Buffer, start: number): number {
  const end = bytes.indexOf(0, start);
  if (end < 0) throw invalid('a name without an end');
  return end;
}

/** Columns that name a row are never null: where the key before has none, a partition names its rows by others. */
function namesRow(old: Tuple, from: Int32Array, keyColumns: number): boolean {
  for (let place = 0; place < keyColumns; place++) if ((old.lengths[from[place] as number] as number) < 0) return false;
  return true;
}

function writeEscaped(slab: Buffer, begin: number, bytes: Buffer, start: number, end: number): number {
  let to = begin;
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number;
    if (byte > CR && byte !== BACKSLASH) {
      slab[to++] = byte;
      continue;
    }
    const letter =
      byte === BACKSLASH ? BACKSLASH : byte === TAB ? 0x74 : byte === LF ? 0x6e : byte === CR ? 0x72 : undefined;
    if (letter === undefined) slab[to++] = byte;
    else {
      slab[to++] = BACKSLASH;
      slab[to++] = letter;
    }
  }
  return to;
}

function invalid(found: string): QiaoError {
  return new QiaoError('LOG_INVALID', `found ${found} in the log; expected what pgoutput of version 1 writes`);
}
