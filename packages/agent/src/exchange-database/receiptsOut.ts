/** Receipts that we gave: the newest revision of each, kept to answer again word for word until the sender settled it. */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './database.ts';
import type { LanePlace } from './lanePlace.ts';

export interface ReceiptOut extends LanePlace {
  readonly nonce: Uint8Array;
  readonly contentHash: Uint8Array;
  readonly revision: number;
  readonly settled: boolean;
  /** Encoded Signed. */
  readonly receipt: Uint8Array;
  readonly appliedAtMs: number;
}

interface Row {
  nonce: Buffer;
  content_hash: Buffer;
  revision: number;
  settled: number;
  receipt: Buffer;
  applied_at_ms: number;
}

const PUT = `INSERT OR REPLACE INTO receipt_out (lane, epoch, sequence, nonce, content_hash, revision, settled, receipt,
 applied_at_ms) VALUES (@lane, @epoch, @sequence, @nonce, @contentHash, @revision, @settled, @receipt, @appliedAtMs)`;
const GET = `SELECT nonce, content_hash, revision, settled, receipt, applied_at_ms FROM receipt_out
 WHERE lane = ? AND epoch = ? AND sequence = ?`;
export const REMOVE_SETTLED = `DELETE FROM receipt_out WHERE lane = @lane AND epoch = @epoch AND sequence <= @sequence AND settled = 1
 AND sequence < (SELECT max(sequence) FROM receipt_out WHERE lane = @lane AND epoch = @epoch)`;
const REMOVE_EPOCHS_BEFORE = 'DELETE FROM receipt_out WHERE lane = ? AND epoch < ? AND settled = 1';

export class ReceiptOutStore {
  readonly #put: Statement;
  readonly #get: Statement<[Uint8Array, bigint, bigint], Row>;
  readonly #removeSettled: Statement;
  readonly #removeEpochsBefore: Statement;

  constructor(sqlite: Sqlite) {
    this.#put = sqlite.prepare(PUT);
    this.#get = sqlite.prepare(GET);
    this.#removeSettled = sqlite.prepare(REMOVE_SETTLED);
    this.#removeEpochsBefore = sqlite.prepare(REMOVE_EPOCHS_BEFORE);
  }

  /** Keeps this receipt in place of any older one of the same delivery. */
  put(receipt: ReceiptOut): void {
    this.#put.run({ ...receipt, settled: receipt.settled ? 1 : 0 });
  }

  get(place: LanePlace): ReceiptOut | undefined {
    const row = this.#get.get(place.lane, place.epoch, place.sequence);
    return (
      row && {
        ...place,
        nonce: row.nonce,
        contentHash: row.content_hash,
        revision: row.revision,
        settled: row.settled === 1,
        receipt: row.receipt,
        appliedAtMs: row.applied_at_ms,
      }
    );
  }

  /** Forgets settled receipts that the sender holds; the newest of the epoch always stays. Returns how many. */
  removeSettledThrough(lane: Uint8Array, epoch: bigint, sequence: bigint): number {
    return this.#removeSettled.run({ lane, epoch, sequence }).changes;
  }

  removeEpochsBefore(lane: Uint8Array, epoch: bigint): number {
    return this.#removeEpochsBefore.run(lane, epoch).changes;
  }
}
