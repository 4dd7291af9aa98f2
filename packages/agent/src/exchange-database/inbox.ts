/**
 * The inbox: deliveries received and not yet applied. A header is kept as it was signed, parts stay sealed on disk. The bus
 * may be acknowledged once `receive` returned, because its transaction is on disk by then.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
import type { LanePlace } from './lanePlace.ts';

export interface ReceivedPart extends LanePlace {
  readonly nonce: Uint8Array;
  readonly contentHash: Uint8Array;
  /** Encoded Signed (the header). */
  readonly header: Uint8Array;
  /** SHA-256 of the header's payload: parts of two sealings are never mixed. */
  readonly headerHash: Uint8Array;
  /** Parts of the whole body; 0 for a delivery without one. */
  readonly parts: number;
  readonly part: number;
  readonly body: Uint8Array;
  readonly receivedAtMs: number;
}

/** stored: more parts are missing. complete: it was the last. known: nothing new. fork: the place holds another content. */
export type Received = 'stored' | 'complete' | 'known' | 'fork';

export interface InboxDelivery extends LanePlace {
  readonly number: number;
  readonly nonce: Uint8Array;
  readonly contentHash: Uint8Array;
  /** Encoded Signed. */
  readonly header: Uint8Array;
  readonly parts: number;
  readonly bytes: number;
  readonly receivedAtMs: number;
}

interface Row {
  number: number;
  lane: Buffer;
  epoch: number;
  sequence: number;
  nonce: Buffer;
  content_hash: Buffer;
  header: Buffer;
  header_hash: Buffer;
  parts: number;
  parts_held: number;
  bytes: number;
  received_at_ms: number;
}

export const FIND_INBOX = 'SELECT * FROM inbox WHERE lane = ? AND epoch = ? AND sequence = ?';
const ADD = `INSERT INTO inbox (lane, epoch, sequence, nonce, content_hash, header, header_hash, parts, parts_held, bytes,
 received_at_ms) VALUES (@lane, @epoch, @sequence, @nonce, @contentHash, @header, @headerHash, @parts, 0, length(@header), @receivedAtMs)
 RETURNING number`;
const ADD_PART = 'INSERT OR IGNORE INTO inbox_part (inbox, part, body) VALUES (?, ?, ?)';
const COUNT_PART = `UPDATE inbox SET parts_held = parts_held + 1, bytes = bytes + ?, received_at_ms = ? WHERE number = ?`;
export const LOWEST = `SELECT * FROM inbox WHERE lane = ? AND epoch = ? AND sequence >= ? ORDER BY sequence LIMIT 1`;
export const NEWEST_EPOCH = `SELECT * FROM inbox WHERE lane = ? AND epoch = (SELECT max(epoch) FROM inbox WHERE lane = ?)
 AND epoch > ? ORDER BY sequence LIMIT 1`;
const BODY = 'SELECT body FROM inbox_part WHERE inbox = ? ORDER BY part';
const REMOVE = 'DELETE FROM inbox WHERE lane = ? AND epoch = ? AND sequence = ?';
export const REMOVE_BEFORE =
  'DELETE FROM inbox WHERE lane = @lane AND (epoch < @epoch OR (epoch = @epoch AND sequence < @sequence))';
const REMOVE_LANE = 'DELETE FROM inbox WHERE lane = ?';
export const WAITING = 'SELECT count(*) AS deliveries, coalesce(sum(bytes), 0) AS bytes FROM inbox WHERE lane = ?';
const TOTAL = 'SELECT count(*) AS deliveries, coalesce(sum(bytes), 0) AS bytes FROM inbox';
const LANES = 'SELECT DISTINCT lane FROM inbox';

export class InboxStore {
  readonly #sqlite: Sqlite;
  readonly #find: Statement<[Uint8Array, bigint, bigint], Row>;
  readonly #add: Statement<[object], number>;
  readonly #addPart: Statement;
  readonly #countPart: Statement;
  readonly #lowest: Statement<[Uint8Array, bigint, bigint], Row>;
  readonly #newestEpoch: Statement<[Uint8Array, Uint8Array, bigint], Row>;
  readonly #body: Statement<[number], Buffer>;
  readonly #remove: Statement;
  readonly #removeBefore: Statement;
  readonly #removeLane: Statement;
  readonly #waiting: Statement<[Uint8Array], { deliveries: number; bytes: number }>;
  readonly #total: Statement<[], { deliveries: number; bytes: number }>;
  readonly #lanes: Statement<[], Buffer>;

  constructor(sqlite: Sqlite) {
    this.#sqlite = sqlite;
    this.#find = sqlite.prepare(FIND_INBOX);
    this.#add = sqlite.prepare<[object], number>(ADD).pluck();
    this.#addPart = sqlite.prepare(ADD_PART);
    this.#countPart = sqlite.prepare(COUNT_PART);
    this.#lowest = sqlite.prepare(LOWEST);
    this.#newestEpoch = sqlite.prepare(NEWEST_EPOCH);
    this.#body = sqlite.prepare<[number], Buffer>(BODY).pluck();
    this.#remove = sqlite.prepare(REMOVE);
    this.#removeBefore = sqlite.prepare(REMOVE_BEFORE);
    this.#removeLane = sqlite.prepare(REMOVE_LANE);
    this.#waiting = sqlite.prepare(WAITING);
    this.#total = sqlite.prepare(TOTAL);
    this.#lanes = sqlite.prepare<[], Buffer>(LANES).pluck();
  }

  /** Keeps one part, idempotently, in a transaction of its own (or the caller's). */
  receive(part: ReceivedPart): Received {
    const work = (): Received => {
      let row = this.#find.get(part.lane, part.epoch, part.sequence);
      if (row) {
        if (!row.nonce.equals(part.nonce) || !row.content_hash.equals(part.contentHash)) return 'fork';
        if (row.parts_held >= row.parts) return 'known';
        if (!row.header_hash.equals(part.headerHash)) {
          // The sender sealed it again: what is held of the older sealing can never be completed with the newer.
          this.#remove.run(part.lane, part.epoch, part.sequence);
          row = undefined;
        }
      }
      const number = row?.number ?? this.#add.get(addable(part));
      const held = row?.parts_held ?? 0;
      if (part.parts === 0) return 'complete';
      if (this.#addPart.run(number, part.part, part.body).changes === 0) return 'known';
      this.#countPart.run(part.body.byteLength, part.receivedAtMs, number);
      return held + 1 === part.parts ? 'complete' : 'stored';
    };
    return this.#sqlite.inTransaction ? work() : this.#sqlite.transaction(work).immediate();
  }

  /** The complete delivery at this place. */
  get(place: LanePlace): InboxDelivery | undefined {
    const row = this.#find.get(place.lane, place.epoch, place.sequence);
    return row && row.parts_held >= row.parts ? inboxDelivery(row) : undefined;
  }

  /** The lowest sequence held (complete or not) from `sequence` on: what shows a gap. */
  lowestFrom(lane: Uint8Array, epoch: bigint, sequence: bigint): InboxDelivery | undefined {
    const row = this.#lowest.get(lane, epoch, sequence);
    return row && inboxDelivery(row);
  }

  /** The first delivery of the newest epoch held, when that is above `epoch`: its opening waits, or is missing. */
  firstOfNewestEpoch(lane: Uint8Array, epoch: bigint): InboxDelivery | undefined {
    const row = this.#newestEpoch.get(lane, lane, epoch);
    return row && inboxDelivery(row);
  }

  /** The whole sealed body, or undefined when it has none. */
  body(delivery: InboxDelivery): Uint8Array | undefined {
    const parts = this.#body.all(delivery.number);
    if (parts.length === 0) return undefined;
    return parts.length === 1 ? parts[0] : Buffer.concat(parts);
  }

  remove(place: LanePlace): void {
    this.#remove.run(place.lane, place.epoch, place.sequence);
  }

  /** Drops everything before this place, older epochs included; returns how many deliveries. */
  removeBefore(place: LanePlace): number {
    return this.#removeBefore.run({ lane: place.lane, epoch: place.epoch, sequence: place.sequence }).changes;
  }

  removeLane(lane: Uint8Array): number {
    return this.#removeLane.run(lane).changes;
  }

  waiting(lane: Uint8Array): { deliveries: number; bytes: number } {
    return this.#waiting.get(lane) ?? { deliveries: 0, bytes: 0 };
  }

  total(): { deliveries: number; bytes: number } {
    return this.#total.get() ?? { deliveries: 0, bytes: 0 };
  }

  /** Lanes that have something in the inbox. */
  lanes(): Uint8Array[] {
    return this.#lanes.all();
  }
}

function addable(part: ReceivedPart): object {
  const { lane, epoch, sequence, nonce, contentHash, header, headerHash, parts, receivedAtMs } = part;
  return { lane, epoch, sequence, nonce, contentHash, header, headerHash, parts, receivedAtMs };
}

function inboxDelivery(row: Row): InboxDelivery {
  return {
    number: row.number,
    lane: row.lane,
    epoch: BigInt(row.epoch),
    sequence: BigInt(row.sequence),
    nonce: row.nonce,
    contentHash: row.content_hash,
    header: row.header,
    parts: row.parts,
    bytes: row.bytes,
    receivedAtMs: row.received_at_ms,
  };
}
