/** The events of the binary log: their kinds, heads and checksums, and what the smaller of them say (MariaDB's knowledge base, "Replication Protocol"). */
import { crc32, inflateSync } from 'node:zlib';
import { QiaoError } from '@qiao/exchange';

export const EVENT = {
  query: 2,
  rotate: 4,
  format: 15,
  xid: 16,
  tableMap: 19,
  writeRows: 23,
  updateRows: 24,
  deleteRows: 25,
  incident: 26,
  heartbeat: 27,
  /** Of MySQL, whose rows have more in front of them. */
  writeRows2: 30,
  updateRows2: 31,
  deleteRows2: 32,
  mysqlGtid: 33,
  anonymous: 34,
  xaPrepare: 38,
  payload: 40,
  taggedGtid: 42,
  gtid: 162,
  gtidList: 163,
  queryCompressed: 165,
  writeRowsCompressed: 166,
  updateRowsCompressed: 167,
  deleteRowsCompressed: 168,
} as const;

export const HEAD_BYTES = 19;
const ARTIFICIAL = 0x20;
const CHECKSUM_BYTES = 4;
/** max_allowed_packet is no larger. */
const MOST_INFLATED_BYTES = 2 ** 30;

/** One event in a packet. */
export interface EventHead {
  readonly type: number;
  readonly timestamp: number;
  /** The low half of where it ends in its file; 0: not said. */
  readonly nextOffset: number;
  /** Not in the file: the server made it for whoever reads. */
  readonly isArtificial: boolean;
}

export function readHead(bytes: Buffer, at: number): EventHead {
  return {
    timestamp: bytes.readUInt32LE(at),
    type: bytes[at + 4] as number,
    nextOffset: bytes.readUInt32LE(at + 13),
    isArtificial: (bytes.readUInt16LE(at + 17) & ARTIFICIAL) !== 0,
  };
}

/** Where the event ends without its checksum. Throws LOG_INVALID for one that was damaged. */
export function checkedEnd(bytes: Buffer, at: number, end: number, hasChecksum: boolean): number {
  if (!hasChecksum) return end;
  const bodyEnd = end - CHECKSUM_BYTES;
  if (crc32(bytes.subarray(at, bodyEnd)) !== bytes.readUInt32LE(bodyEnd))
    throw unreadable('an event whose checksum is another');
  return bodyEnd;
}

/** Whether the events that follow a format description carry checksums. */
export function announcesChecksum(bytes: Buffer, end: number): boolean {
  return bytes[end - CHECKSUM_BYTES - 1] === 1;
}

export interface GtidEvent {
  readonly domain: string;
  readonly gtid: string;
  /** One statement alone, which ends it. */
  readonly isStandalone: boolean;
  readonly isPreparedXa: boolean;
  readonly isCompletedXa: boolean;
  /** Of an XA transaction. */
  readonly xid: string;
}

export function readGtid(bytes: Buffer, eventAt: number): GtidEvent {
  const at = eventAt + HEAD_BYTES;
  const server = bytes.readUInt32LE(eventAt + 5);
  const sequence = bytes.readBigUInt64LE(at);
  const domain = String(bytes.readUInt32LE(at + 8));
  const flags = bytes[at + 12] as number;
  const isXa = (flags & 0xc0) !== 0;
  // Behind the number of a group commit, or behind six bytes that mean nothing.
  const xidAt = at + ((flags & 2) !== 0 ? 21 : 13);
  return {
    domain,
    gtid: `${domain}-${server}-${sequence}`,
    isStandalone: (flags & 1) !== 0,
    isPreparedXa: (flags & 0x40) !== 0,
    isCompletedXa: (flags & 0x80) !== 0,
    xid: isXa
      ? bytes.toString('hex', xidAt, xidAt + 6 + (bytes[xidAt + 4] as number) + (bytes[xidAt + 5] as number))
      : '',
  };
}

/** The last transaction of each domain before the file. */
export function readGtidList(bytes: Buffer, eventAt: number): [domain: string, gtid: string][] {
  let at = eventAt + HEAD_BYTES;
  const count = bytes.readUInt32LE(at) & 0x0fffffff;
  at += 4;
  if (16 * count > bytes.length - at) throw unreadable('a list of transactions that ends too early');
  return Array.from({ length: count }, (_, index) => {
    const each = at + 16 * index;
    const domain = String(bytes.readUInt32LE(each));
    return [domain, `${domain}-${bytes.readUInt32LE(each + 4)}-${bytes.readBigUInt64LE(each + 8)}`];
  });
}

export interface QueryEvent {
  readonly database: string;
  readonly text: Buffer;
}

export function readQuery(bytes: Buffer, eventAt: number, end: number, isCompressed: boolean): QueryEvent {
  const at = eventAt + HEAD_BYTES;
  const databaseBytes = bytes[at + 8] as number;
  const databaseAt = at + 13 + bytes.readUInt16LE(at + 11);
  const textAt = databaseAt + databaseBytes + 1;
  return {
    database: bytes.toString('utf8', databaseAt, databaseAt + databaseBytes),
    text: isCompressed ? inflated(bytes, textAt, end) : bytes.subarray(textAt, end),
  };
}

/** Bytes that compressed ones stand for. */
export function inflatedBytes(bytes: Buffer, at: number): number {
  return bytes.readUIntBE(at + 1, (bytes[at] as number) & 7);
}

/** zlib, behind its length. */
export function inflated(bytes: Buffer, at: number, end: number): Buffer {
  const length = inflatedBytes(bytes, at);
  if (length > MOST_INFLATED_BYTES) throw unreadable('compressed rows of more bytes than an event may have');
  const compressed = bytes.subarray(at + 1 + ((bytes[at] as number) & 7), end);
  let found: Buffer;
  try {
    found = inflateSync(compressed, { maxOutputLength: Math.max(1, length) });
  } catch {
    throw unreadable('compressed rows that cannot be inflated');
  }
  if (found.length !== length) throw unreadable('compressed rows of another length');
  return found;
}

export function unreadable(found: string): QiaoError {
  return new QiaoError('LOG_INVALID', `found ${found} in the binary log`);
}
