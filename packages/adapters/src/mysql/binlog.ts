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
import { rememberedSet } from './gtidSet.ts';
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
import { type MysqlGtid, readMysqlGtid, readPayload, readTaggedGtid } from './mysqlEvents.ts';

export interface BinlogPlan {
  readonly tables: readonly (LoggedTable | undefined)[];
  /** Names of databases and tables tell `T` from `t`. */
  readonly tellsCase: boolean;
  readonly hasChecksum: boolean;
}

/** Prepared XA transactions whose tables are remembered. */
const MOST_PREPARED = 10_000;

/** As MySQL writes it: three parts, of which the first two have 64 bytes at most, in hexadecimal digits. */
const XA = /^XA (START|COMMIT|ROLLBACK) (X'[\da-f]*',X'[\da-f]*',\d+)$/i;
const MOST_XA_BYTES = 512;

const EMPTY = Buffer.alloc(0);
const FOUR_GB = 2 ** 32;

class Transaction implements LogTransaction {
  readonly at: string;
  readonly committedAtMs: number;
  readonly #place: LogPlace;
  readonly #gtid: MysqlGtid | undefined;

  constructor({ start, timestamp, mysqlGtid }: Group) {
    this.at = placeText(start);
    this.committedAtMs = timestamp * 1000;
    this.#place = start;
    this.#gtid = mysqlGtid;
  }

  /** A snapshot stands between two transactions; in MySQL nobody says where, but which ones it has seen. */
  isSeen(seen: string): boolean {
    if (this.#gtid !== undefined) return rememberedSet(seen).has(this.#gtid.source, this.#gtid.number);
    return comparePlaces(this.#place, remembered(seen)) < 0;
  }
}

/** What is known of the transaction that is read. */
interface Group {
  readonly start: LogPlace;
  readonly timestamp: number;
  /** Of MySQL, which says no more in front of a transaction: what it is shows with its first statement. */
  readonly mysqlGtid: MysqlGtid | undefined;
  /** One statement alone, which ends it; undefined until that shows. */
  isStandalone: boolean | undefined;
  preparedXa: string | undefined;
  completedXa: string | undefined;
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
      case EVENT.gtid: {
        const { domain, gtid, isStandalone, isPreparedXa, isCompletedXa, xid } = readGtid(bytes, at);
        const preparedXa = isPreparedXa ? xid : undefined;
        const completedXa = isCompletedXa ? xid : undefined;
        return this.#begin(head, start, domain, gtid, { mysqlGtid: undefined, isStandalone, preparedXa, completedXa });
      }
      case EVENT.mysqlGtid:
        return this.#beginMysql(head, start, readMysqlGtid(bytes, at));
      case EVENT.taggedGtid:
        return this.#beginMysql(head, start, readTaggedGtid(bytes, at, bodyEnd));
      case EVENT.anonymous:
        throw lost('found a transaction without a GTID (gtid_mode was not ON)');
      case EVENT.payload:
        return this.#readPayload(readPayload(bytes, at, bodyEnd));
      case EVENT.gtidList:
        // Of every domain: one that was deleted is not in the log any more.
        this.#gtids.clear();
        for (const [domain, gtid] of readGtidList(bytes, at)) this.#gtids.set(domain, gtid);
        return this.#moved();
      default:
        return this.#readInside(head.type, bytes, at, bodyEnd);
    }
  }

  /** Events without checksums, one behind the other, at one place of the log. */
  #readPayload(events: Buffer): void {
    for (let at = 0; at < events.length; ) {
      const end = at + events.readUInt32LE(at + 9);
      if (end <= at || end > events.length) throw unreadable('a compressed transaction whose events do not fit it');
      this.#readInside(readHead(events, at).type, events, at, end);
      at = end;
    }
  }

  /** What stands in a transaction. */
  #readInside(type: number, bytes: Buffer, at: number, bodyEnd: number): void {
    switch (type) {
      case EVENT.query:
      case EVENT.queryCompressed:
        return this.#query(readQuery(bytes, at, bodyEnd, type === EVENT.queryCompressed));
      case EVENT.tableMap:
        return this.#rows.map(bytes, at + HEAD_BYTES, bodyEnd);
      case EVENT.writeRows:
      case EVENT.updateRows:
      case EVENT.deleteRows:
      case EVENT.writeRows2:
      case EVENT.updateRows2:
      case EVENT.deleteRows2:
      case EVENT.writeRowsCompressed:
      case EVENT.updateRowsCompressed:
      case EVENT.deleteRowsCompressed:
        return this.#readRows(type, bytes, at + HEAD_BYTES, bodyEnd);
      case EVENT.xaPrepare:
        // MySQL says only here that it was committed with it.
        if (bytes[at + HEAD_BYTES] === 1) this.#commitAtOnce();
        return this.#end();
      case EVENT.xid:
        return this.#end();
      case EVENT.incident:
        throw lost('the server could not write everything to its log');
      default:
        // Rows in a form that no server of today writes for us would be lost without a word.
        if (isOfRows(type)) throw unreadable(`rows of an unknown form (${type})`);
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

  #begin(
    { timestamp }: EventHead,
    offset: number,
    domain: string,
    gtid: string,
    kind: Pick<Group, 'mysqlGtid' | 'isStandalone' | 'preparedXa' | 'completedXa'>,
  ): void {
    this.#breakOff();
    this.#rows.trim();
    this.#gtids.set(domain, gtid);
    this.#number = 0;
    const start = { file: this.#file, offset };
    this.#group = { start, timestamp, ...kind, touched: new Set(), transaction: undefined };
  }

  #beginMysql(head: EventHead, offset: number, mysqlGtid: MysqlGtid): void {
    const { source, number } = mysqlGtid;
    const unknown = { isStandalone: undefined, preparedXa: undefined, completedXa: undefined };
    this.#begin(head, offset, source, `${source}:${number}`, { mysqlGtid, ...unknown });
  }

  /** What a transaction of MySQL is, by its first statement. */
  #recognise(group: Group, text: Buffer): void {
    const xa = XA.exec(text.toString('latin1', 0, MOST_XA_BYTES));
    group.isStandalone = xa === null ? text.toString('latin1') !== 'BEGIN' : xa[1] !== 'START';
    if (xa?.[1] === 'START') group.preparedXa = xa[2];
    else group.completedXa = xa?.[2];
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
    if (group.isStandalone === undefined) this.#recognise(group, text);
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

  /** Prepared and committed in one: its rows were held back. */
  #commitAtOnce(): void {
    if (this.#group?.preparedXa === undefined) return;
    this.#group.preparedXa = undefined;
    this.#untold(this.#group.touched);
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
    group.transaction ??= new Transaction(group);
    this.#pieces.add(group.transaction, { table, number, kind, line, oldKey, missing, refused });
  }
}

/** Of pre-release servers, of MySQL where it writes parts of values, and those that MariaDB compresses as MySQL's. */
function isOfRows(type: number): boolean {
  return (type >= 20 && type <= 22) || type === 39 || (type >= 169 && type <= 171);
}
