/**
 * The stream of the binary log as transactions: where it stands in which file, which transaction is read, and what has to be known of it beside its rows.
 * A transaction is a GTID event and what follows until its end. Nothing of an event is kept. Connections belong to logReading.ts, rows to binlogRows.ts,
 * and what a statement did to a table to loggedStatement.ts.
 */
import type { LogChange, LogPiece, LogTransaction } from '../adapter.ts';
import { lost } from '../log/lost.ts';
import { LogPieces } from '../log/pieces.ts';
import {
  announcesChecksum,
  checkedEnd,
  EVENT,
  type EventHead,
  HEAD_BYTES,
  type QueryEvent,
  readGtid,
  readGtidList,
  readHead,
  readQuery,
  unreadable,
} from './binlogEvent.ts';
import { BinlogRows, type LoggedTable } from './binlogRows.ts';
import { effectOf, parseStatement } from './loggedStatement.ts';
import {
  comparePlaces,
  FIRST_OFFSET,
  type LogPlace,
  type LogPosition,
  placeText,
  positionText,
  remembered,
} from './logPosition.ts';

export interface BinlogPlan {
  readonly tables: readonly (LoggedTable | undefined)[];
  /** Names of databases and tables tell `T` from `t`. */
  readonly tellsCase: boolean;
  readonly hasChecksum: boolean;
}

/** Prepared XA transactions whose tables are remembered. */
const MOST_PREPARED = 10_000;

const EMPTY = Buffer.alloc(0);
const FOUR_GB = 2 ** 32;

class Transaction implements LogTransaction {
  readonly at: string;
  readonly committedAtMs: number;
  readonly #place: LogPlace;

  constructor(place: LogPlace, committedAtMs: number) {
    this.at = placeText(place);
    this.committedAtMs = committedAtMs;
    this.#place = place;
  }

  /** A snapshot stands between two transactions. */
  isSeen(seen: string): boolean {
    return comparePlaces(this.#place, remembered(seen)) < 0;
  }
}

/** What is known of the transaction that is read. */
interface Group {
  readonly start: LogPlace;
  readonly timestamp: number;
  readonly isStandalone: boolean;
  readonly preparedXa: string | undefined;
  readonly completedXa: string | undefined;
  /** Tables of the plan of which there were rows. */
  readonly touched: Set<number>;
  transaction: Transaction | undefined;
}

export class BinlogDecoder {
  readonly #plan: BinlogPlan;
  readonly #rows: BinlogRows;
  /** XA transaction → tables of the plan that it has rows of. */
  readonly #prepared = new Map<string, ReadonlySet<number>>();
  readonly #gtids: Map<string, string>;
  #file: string;
  #offset: number;
  #fileBegunAt: number;
  #hasChecksum: boolean;
  #group: Group | undefined;
  /** Everything before it was given, or is none of ours. */
  #hasMoved = false;
  readonly #pieces = new LogPieces();
  #number = 0;

  constructor(plan: BinlogPlan, from: LogPosition) {
    this.#plan = plan;
    this.#gtids = new Map(from.gtids);
    this.#file = from.file;
    this.#offset = from.offset;
    this.#fileBegunAt = from.fileBegunAt;
    this.#hasChecksum = plan.hasChecksum;
    this.#rows = new BinlogRows(plan, (...change) => this.#add(...change));
  }

  /** What came since the last call; of a transaction that has not ended only whole pieces. */
  take(): LogPiece[] {
    if (this.#hasMoved && this.#group === undefined) {
      this.#hasMoved = false;
      this.#pieces.idle(this.#position);
    }
    return this.#pieces.take();
  }

  /** Of what waits to be taken. */
  get bytes(): number {
    return this.#pieces.bytes;
  }

  /** One event, from `at` to `end`. Throws LOG_INVALID, LOG_LOST. */
  event(bytes: Buffer, at: number, end: number): void {
    try {
      this.#read(bytes, at, end);
    } catch (error) {
      // Nothing else here is out of range than what lies behind the end.
      throw error instanceof RangeError ? unreadable('an event that ends too early') : error;
    }
  }

  #read(bytes: Buffer, at: number, end: number): void {
    const head = readHead(bytes, at);
    if (head.type === EVENT.format) return this.#begunFile(head, bytes, end);
    const bodyEnd = checkedEnd(bytes, at, end, this.#hasChecksum);
    if (head.type === EVENT.rotate) return this.#nextFile(bytes.toString('utf8', at + HEAD_BYTES + 8, bodyEnd));
    const start = this.#offset;
    if (head.nextOffset !== 0) this.#offset = this.#absolute(head.nextOffset);
    switch (head.type) {
      case EVENT.gtid:
        return this.#begin(bytes, at, head, start);
      case EVENT.gtidList:
        // Of every domain: one that was deleted is not in the log any more.
        this.#gtids.clear();
        for (const [domain, gtid] of readGtidList(bytes, at)) this.#gtids.set(domain, gtid);
        break;
      case EVENT.query:
      case EVENT.queryCompressed:
        return this.#query(readQuery(bytes, at, bodyEnd, head.type === EVENT.queryCompressed));
      case EVENT.tableMap:
        return this.#rows.map(bytes, at + HEAD_BYTES, bodyEnd);
      case EVENT.writeRows:
      case EVENT.updateRows:
      case EVENT.deleteRows:
      case EVENT.writeRowsCompressed:
      case EVENT.updateRowsCompressed:
      case EVENT.deleteRowsCompressed:
        return this.#readRows(head.type, bytes, at + HEAD_BYTES, bodyEnd);
      case EVENT.xid:
      case EVENT.xaPrepare:
        return this.#end();
      case EVENT.incident:
        throw lost('the server could not write everything to its log');
      default:
        // Rows in a form that no server of today writes for us would be lost without a word.
        if (isOfRows(head.type)) throw unreadable(`rows of an unknown form (${head.type})`);
    }
    this.#moved();
  }

  get place(): LogPlace {
    return { file: this.#file, offset: this.#offset };
  }

  get #position(): string {
    return positionText({ gtids: this.#gtids, file: this.#file, offset: this.#offset, fileBegunAt: this.#fileBegunAt });
  }

  #moved(): void {
    if (this.#group === undefined) this.#hasMoved = true;
  }

  #begunFile(head: EventHead, bytes: Buffer, end: number): void {
    this.#hasChecksum = announcesChecksum(bytes, end);
    if (this.#fileBegunAt !== 0 && this.#fileBegunAt !== head.timestamp) {
      throw lost(`the file ${this.#file} of the log is another one than the one that was read`);
    }
    this.#fileBegunAt = head.timestamp;
    if (this.#offset <= FIRST_OFFSET && head.nextOffset !== 0) this.#offset = head.nextOffset;
    this.#rows.forget();
    // A server that died in the middle of a transaction left its beginning in the file before.
    this.#breakOff();
    this.#moved();
  }

  #nextFile(file: string): void {
    if (file === this.#file) return;
    this.#file = file;
    this.#offset = FIRST_OFFSET;
    this.#fileBegunAt = 0;
    this.#moved();
  }

  /** Offsets are told by their low half only, and rise. */
  #absolute(low: number): number {
    const offset = Math.floor(this.#offset / FOUR_GB) * FOUR_GB + low;
    if (offset >= this.#offset) return offset;
    return this.#offset - offset > FOUR_GB / 2 ? offset + FOUR_GB : this.#offset;
  }

  // ---------------------------------------------------------------------------------------------------------- transactions

  #begin(bytes: Buffer, at: number, head: EventHead, start: number): void {
    this.#breakOff();
    this.#rows.trim();
    const { domain, gtid, isStandalone, isPreparedXa, isCompletedXa, xid } = readGtid(bytes, at);
    this.#gtids.set(domain, gtid);
    this.#number = 0;
    this.#group = {
      start: { file: this.#file, offset: start },
      timestamp: head.timestamp,
      isStandalone,
      preparedXa: isPreparedXa ? xid : undefined,
      completedXa: isCompletedXa ? xid : undefined,
      touched: new Set(),
      transaction: undefined,
    };
  }

  /** A transaction that began and does not end: what was given of it already is not there. */
  #breakOff(): void {
    if (this.#group === undefined) return;
    this.#untold(this.#group.touched);
    this.#end();
  }

  #end(): void {
    const group = this.#group;
    this.#group = undefined;
    if (group?.preparedXa !== undefined) this.#prepare(group.preparedXa, group.touched);
    if (group?.transaction === undefined) this.#hasMoved = true;
    else {
      this.#pieces.end(group.transaction, this.#position);
      this.#hasMoved = false;
    }
  }

  #query({ database, text }: QueryEvent): void {
    const group = this.#group;
    if (group === undefined) throw unreadable('a statement outside of a transaction');
    const start = text.toString('latin1', 0, 24).toUpperCase();
    if (/^XA (COMMIT|ROLLBACK)/.test(start) && group.completedXa !== undefined) {
      if (start.startsWith('XA COMMIT')) this.#commitPrepared(group.completedXa);
      this.#prepared.delete(group.completedXa);
      return this.#end();
    }
    if (start === 'COMMIT') return this.#end();
    if (start.startsWith('ROLLBACK')) {
      // What does not roll back was changed with what does: of that the log has rows that are not there.
      this.#untold(group.touched);
      return start === 'ROLLBACK' ? this.#end() : undefined;
    }
    if (!/^(BEGIN$|SAVEPOINT |XA )/.test(start)) this.#statement(text, database);
    if (group.isStandalone) this.#end();
  }

  #statement(text: Buffer, database: string): void {
    const statement = parseStatement(text, database);
    for (const [index, table] of this.#plan.tables.entries()) {
      if (table === undefined) continue;
      const columns = table.columns.map(({ name }) => name);
      const isSame = (a: string, b: string) => (this.#plan.tellsCase ? a === b : a.toLowerCase() === b.toLowerCase());
      const effect = effectOf(statement, { ...table, columns }, isSame);
      if (effect !== 'none') this.#add(index, effect, EMPTY);
    }
    this.#number += 1;
  }

  /** Its rows are in the log where it was prepared, and nobody knows then whether it will be committed. */
  #prepare(xid: string, touched: ReadonlySet<number>): void {
    if (this.#prepared.size >= MOST_PREPARED) this.#prepared.delete(this.#prepared.keys().next().value as string);
    this.#prepared.set(xid, new Set(touched));
  }

  #commitPrepared(xid: string): void {
    const all = this.#plan.tables.flatMap((table, index) => (table === undefined ? [] : [index]));
    this.#untold(this.#prepared.get(xid) ?? all);
  }

  #untold(tables: Iterable<number>): void {
    for (const index of tables) this.#add(index, 'untold', EMPTY);
    this.#number += 1;
  }

  #readRows(type: number, bytes: Buffer, at: number, end: number): void {
    const group = this.#group;
    if (group === undefined) throw unreadable('rows outside of a transaction');
    // What an XA transaction prepared is told when it is committed.
    const isTold = group.preparedXa === undefined;
    // Also of other tables: the same change has the same number whatever the plan.
    this.#number += this.#rows.read(type, bytes, at, end, { number: this.#number, touched: group.touched, isTold });
  }

  #add(
    table: number,
    kind: LogChange['kind'],
    line: Buffer,
    number = this.#number,
    oldKey?: Buffer,
    missing?: readonly number[],
    refused?: string,
  ): void {
    const group = this.#group;
    if (group === undefined) throw unreadable('a change outside of a transaction');
    group.transaction ??= new Transaction(group.start, group.timestamp * 1000);
    this.#pieces.add(group.transaction, { table, number, kind, line, oldKey, missing, refused });
  }
}

/** Of pre-release servers, of MySQL, and those that are compressed as MySQL's. */
function isOfRows(type: number): boolean {
  return (
    (type >= 20 && type <= 22) ||
    (type >= 30 && type <= 32) ||
    type === 39 ||
    type === 40 ||
    (type >= 169 && type <= 171)
  );
}
