/**
 * What MySQL alone writes into its binary log: the GTIDs of its transactions, with and without a tag, and whole transactions in one compressed event
 * (MySQL's manual of its source, "Gtid_event" and "Transaction_payload_event"). MariaDB's are in binlogEvent.ts.
 */
import { zstdDecompressSync } from 'node:zlib';
import { lost } from '../log/lost.ts';
import { HEAD_BYTES, unreadable } from './binlogEvent.ts';
import { readPacked } from './binlogTable.ts';

/** A transaction that is compressed is read in one piece. */
const MOST_PAYLOAD_BYTES = 64 * 1024 * 1024;
/** How the fields of a payload are numbered, and the one way it is compressed. */
const FIELD = { end: 0, payloadBytes: 1, compression: 2, wholeBytes: 3 } as const;
const ZSTD = 0;
const NOT_COMPRESSED = 255;

export interface MysqlGtid {
  /** `uuid`, or `uuid:tag`. */
  readonly source: string;
  readonly number: bigint;
}

/** Of a transaction without a tag. */
export function readMysqlGtid(bytes: Buffer, eventAt: number): MysqlGtid {
  const at = eventAt + HEAD_BYTES + 1;
  return { source: uuidText(bytes.subarray(at, at + 16)), number: bytes.readBigUInt64LE(at + 16) };
}

/** Of one with a tag: numbered fields, of which the first four are all that is needed. */
export function readTaggedGtid(bytes: Buffer, eventAt: number, end: number): MysqlGtid {
  const fields = new FieldReader(bytes, eventAt + HEAD_BYTES, end);
  // The version of the form, its bytes, and the last field that must be known.
  for (let skipped = 0; skipped < 3; skipped++) fields.number();
  let [uuid, tag, number] = ['', '', 0n];
  for (let field = fields.number(); ; field = fields.number()) {
    if (field === 0n) fields.number();
    else if (field === 1n) uuid = uuidText(Uint8Array.from({ length: 16 }, () => Number(fields.number() & 0xffn)));
    // The sign stands last.
    else if (field === 2n) number = fields.number() >> 1n;
    else if (field === 3n) {
      tag = fields.text();
      break;
    } else throw unreadable('a transaction whose GTID is written otherwise');
  }
  return { source: tag === '' ? uuid : `${uuid}:${tag}`, number };
}

/** Numbers whose first byte says by its lowest bits how many bytes they have: as many more as it has ones before its first zero. */
class FieldReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;

  constructor(bytes: Buffer, at: number, end: number) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
  }

  number(): bigint {
    if (this.#at >= this.#end) throw tooShort();
    const first = this.#bytes[this.#at] as number;
    let more = 0;
    while (more < 8 && ((first >> more) & 1) === 1) more += 1;
    if (this.#at + more >= this.#end) throw tooShort();
    let value = 0n;
    for (let index = more; index >= 0; index--) value = (value << 8n) | BigInt(this.#bytes[this.#at + index] as number);
    this.#at += more + 1;
    // Nine bytes: the first is nothing but the number of the others.
    return value >> BigInt(more === 8 ? 8 : more + 1);
  }

  text(): string {
    const length = Number(this.number());
    const end = this.#at + length;
    if (end > this.#end) throw tooShort();
    const text = this.#bytes.toString('latin1', this.#at, end);
    this.#at = end;
    return text;
  }
}

/** The events of a transaction that was written as one, one behind the other, without checksums. Throws LOG_LOST for one that is too large to be read so. */
export function readPayload(bytes: Buffer, eventAt: number, end: number): Buffer {
  let at = eventAt + HEAD_BYTES;
  let [compression, wholeBytes] = [NOT_COMPRESSED, 0];
  for (;;) {
    const [field, lengthAt] = readPacked(bytes, at);
    if (field === FIELD.end) {
      at = lengthAt;
      break;
    }
    const [length, valueAt] = readPacked(bytes, lengthAt);
    at = valueAt + length;
    if (at > end) throw tooShort();
    if (field === FIELD.compression) [compression] = readPacked(bytes, valueAt);
    else if (field === FIELD.wholeBytes) [wholeBytes] = readPacked(bytes, valueAt);
  }
  const payload = bytes.subarray(at, end);
  if (compression === NOT_COMPRESSED) return payload;
  if (compression !== ZSTD) throw unreadable(`a transaction that is compressed in an unknown way (${compression})`);
  if (wholeBytes > MOST_PAYLOAD_BYTES) {
    throw lost(
      `a compressed transaction of ${wholeBytes} bytes; at most ${MOST_PAYLOAD_BYTES} are read (SET GLOBAL binlog_transaction_compression = OFF)`,
    );
  }
  try {
    return zstdDecompressSync(payload, { maxOutputLength: Math.max(1, wholeBytes) });
  } catch {
    throw unreadable('a compressed transaction that cannot be decompressed');
  }
}

function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return [8, 12, 16, 20, 32].map((end, index, ends) => hex.slice(ends[index - 1] ?? 0, end)).join('-');
}

function tooShort() {
  return unreadable('an event that ends too early');
}
