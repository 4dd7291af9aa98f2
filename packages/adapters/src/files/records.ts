/**
 * A text file as a run of records: whole records are cut out of the bytes, decoded, and given to a format. Memory is bounded by the longest
 * record. What belongs to a format is in csv.ts and jsonLines.ts.
 */
import { MAX_ROW_BYTES, QiaoError } from '@qiao/exchange';
import type { FilesTable } from '../adapter.ts';
import { TextReader } from './encodings.ts';
import { quotedName } from './folder.ts';

const LF = 0x0a;
const QUOTE = 0x22;

/** Why a record is left out; never with its contents. */
export interface LeftOut {
  readonly code: string;
  readonly column: string;
}

/** One row of a file: values in the order of the wanted columns, or why it is left out. */
export interface FileRecord {
  /** Of the file's first line 1; of a sheet its row. */
  readonly line: number;
  readonly fields: readonly (string | null)[] | undefined;
  readonly leftOut?: LeftOut | undefined;
}

/** What reads the lines of one format; made for one file. */
export interface TextFormat {
  /** A quoted field may hold line ends. */
  readonly quotes: boolean;
  /** Whole records, the first of them at `line`. Throws FILE_BROKEN. */
  read(text: string, line: number): FileRecord[];
  /** A record that is not of the encoding, with U+FFFD where it is not. */
  undecodable(text: string, line: number): FileRecord[];
  /** Behind the last record. Throws FILE_BROKEN. */
  end(): void;
}

/** The records of a file, some at a time. Throws FILE_BROKEN with name and line. */
export async function* textRecords(
  name: string,
  blocks: AsyncIterable<Buffer>,
  encoding: FilesTable['encoding'],
  format: TextFormat,
): AsyncGenerator<FileRecord[], void, undefined> {
  const reader = new TextReader(encoding);
  const cutter = new RecordCutter(format.quotes);
  let line = 1;
  const take = (bytes: Buffer): FileRecord[] => {
    const text = reader.read(bytes);
    const records = text === undefined ? eachAlone(bytes) : format.read(text, line);
    line += countLines(bytes);
    return records;
  };
  const eachAlone = (bytes: Buffer): FileRecord[] => {
    const records: FileRecord[] = [];
    let at = line;
    for (const record of eachRecord(bytes, format.quotes)) {
      const own = reader.read(record);
      records.push(...(own === undefined ? format.undecodable(reader.locate(record), at) : format.read(own, at)));
      at += countLines(record);
    }
    return records;
  };
  for await (const block of withoutBom(name, blocks)) {
    const whole = cutter.cut(block);
    if (whole.length > 0) yield take(whole);
    if (cutter.waiting > 2 * MAX_ROW_BYTES) {
      throw broken(name, line, 'the row that begins here does not end', 'look for a quote that is not closed');
    }
  }
  if (cutter.isQuoted) {
    throw broken(name, line, 'a quote in the row that begins here is not closed', 'write the file anew');
  }
  if (cutter.waiting > 0) yield take(cutter.rest());
  format.end();
}

/** Transient: with the next file, or the mended one, the scan goes on by itself. */
/** A file without anything is what a full disk or a copy that broke off leaves: never an empty table. */
export function noHeader(name: string): QiaoError {
  return broken(name, 1, 'the file has no header', 'write the header into a file without rows, too');
}

export function broken(name: string, line: number, what: string, hint: string): QiaoError {
  return new QiaoError('FILE_BROKEN', `${quotedName(name)}, line ${line}: ${what}`, { fate: 'transient', hint });
}

/** The blocks of the file behind its BOM. Throws FILE_BROKEN for UTF-16. */
async function* withoutBom(name: string, blocks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const block of blocks) {
    if (head === undefined) {
      yield block;
      continue;
    }
    head = Buffer.concat([head, block]);
    if (head.length < 3) continue;
    yield behindBom(name, head);
    head = undefined;
  }
  if (head !== undefined && head.length > 0) yield behindBom(name, head);
}

function behindBom(name: string, bytes: Buffer): Buffer {
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    throw broken(name, 1, 'the file is UTF-16', 'save it as UTF-8, GBK or GB18030');
  }
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
}

/** Cuts blocks where records end. Each byte is looked at once, however long a record is. */
class RecordCutter {
  readonly #quotes: boolean;
  #rest: Buffer[] = [];
  /** Bytes of the record that has not ended. */
  waiting = 0;
  /** A quote of it is open. */
  isQuoted = false;

  constructor(quotes: boolean) {
    this.#quotes = quotes;
  }

  /** The records that end in the block, with what waited of the first of them. */
  cut(block: Buffer): Buffer {
    const end = this.#lastEnd(block);
    const whole = end === 0 ? Buffer.alloc(0) : Buffer.concat([...this.#rest, block.subarray(0, end)]);
    if (end > 0) {
      this.#rest = [];
      this.waiting = 0;
    }
    if (end < block.length) this.#rest.push(block.subarray(end));
    this.waiting += block.length - end;
    return whole;
  }

  rest(): Buffer {
    return Buffer.concat(this.#rest);
  }

  /** Behind the last LF that ends a record; 0 when there is none. */
  #lastEnd(block: Buffer): number {
    if (!this.#quotes) return block.lastIndexOf(LF) + 1;
    let end = 0;
    for (let at = 0; at <= block.length; ) {
      const quote = block.indexOf(QUOTE, at);
      const until = quote === -1 ? block.length : quote;
      if (!this.isQuoted && until > at) end = Math.max(end, lastBetween(block, at, until) + 1);
      if (quote === -1) break;
      this.isQuoted = !this.isQuoted;
      at = quote + 1;
    }
    return end;
  }
}

/** Place of the last LF in a part of the block, or -1. */
function lastBetween(block: Buffer, from: number, to: number): number {
  const found = block.subarray(from, to).lastIndexOf(LF);
  return found === -1 ? -1 : from + found;
}

function* eachRecord(bytes: Buffer, quotes: boolean): Generator<Buffer> {
  let from = 0;
  let isQuoted = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (quotes && byte === QUOTE) isQuoted = !isQuoted;
    else if (byte === LF && !isQuoted) {
      yield bytes.subarray(from, at + 1);
      from = at + 1;
    }
  }
  if (from < bytes.length) yield bytes.subarray(from);
}

function countLines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(LF); at !== -1; at = bytes.indexOf(LF, at + 1)) count++;
  return count;
}
