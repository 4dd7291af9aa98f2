/** Receipts that we gave: the newest revision of each, kept to answer again word for word until the sender settled it. */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
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
const REMOVE_RUN = `DELETE FROM receipt_out WHERE lane = @lane AND epoch = @epoch AND sequence BETWEEN @first AND @last AND settled = 1
 AND sequence < (SELECT max(sequence) FROM receipt_out WHERE lane = @lane AND epoch = @epoch)`;
const REMOVE_EPOCHS_BEFORE = 'DELETE FROM receipt_out WHERE lane = ? AND epoch < ? AND settled = 1';

const OPEN_OF = 'SELECT * FROM receipt_out WHERE lane = ? AND settled = 0 ORDER BY epoch, sequence';
const REMOVE_LANE = 'DELETE FROM receipt_out WHERE lane = ?';

export class ReceiptOutStore {
  readonly #put: Statement;
  readonly #get: Statement<[Uint8Array, bigint, bigint], Row>;
  readonly #removeSettled: Statement;
  readonly #removeRun: Statement;
  readonly #removeEpochsBefore: Statement;
  readonly #openOf: Statement<[Uint8Array], Row & { lane: Buffer; epoch: number; sequence: number }>;
  readonly #removeLane: Statement;

  constructor(sqlite: Sqlite) {
    this.#put = sqlite.prepare(PUT);
    this.#get = sqlite.prepare(GET);
    this.#removeSettled = sqlite.prepare(REMOVE_SETTLED);
    this.#openOf = sqlite.prepare(OPEN_OF);
    this.#removeLane = sqlite.prepare(REMOVE_LANE);
    this.#removeRun = sqlite.prepare(REMOVE_RUN);
    this.#removeEpochsBefore = sqlite.prepare(REMOVE_EPOCHS_BEFORE);
  }

  /** Keeps this receipt in place of any older one of the same delivery. */
  put(receipt: ReceiptOut): void {
    this.#put.run({ ...receipt, settled: receipt.settled ? 1 : 0 });
  }

  get(place: LanePlace): ReceiptOut | undefined {
    const row = this.#get.get(place.lane, place.epoch, place.sequence);
    return row && receiptOut(place, row);
  }

  /** Receipts of a lane that name open rows, every epoch. */
  openOf(lane: Uint8Array): ReceiptOut[] {
    return this.#openOf
      .all(lane)
      .map((row) => receiptOut({ lane: row.lane, epoch: BigInt(row.epoch), sequence: BigInt(row.sequence) }, row));
  }

  removeLane(lane: Uint8Array): void {
    this.#removeLane.run(lane);
  }

  /** Forgets settled receipts that the sender holds; the newest of the epoch always stays. Returns how many. */
  removeSettledThrough(lane: Uint8Array, epoch: bigint, sequence: bigint): number {
    return this.#removeSettled.run({ lane, epoch, sequence }).changes;
  }

  /** The same for a run of deliveries that the sender settled behind an early open one. */
  removeSettledRun(lane: Uint8Array, epoch: bigint, run: { readonly first: bigint; readonly last: bigint }): number {
    return this.#removeRun.run({ lane, epoch, first: run.first, last: run.last }).changes;
  }

  removeEpochsBefore(lane: Uint8Array, epoch: bigint): number {
    return this.#removeEpochsBefore.run(lane, epoch).changes;
  }
}

function receiptOut({ lane, epoch, sequence }: LanePlace, row: Row): ReceiptOut {
  return {
    lane,
    epoch,
    sequence,
    nonce: row.nonce,
    contentHash: row.content_hash,
    revision: row.revision,
    settled: row.settled === 1,
    receipt: row.receipt,
    appliedAtMs: row.applied_at_ms,
  };
}
