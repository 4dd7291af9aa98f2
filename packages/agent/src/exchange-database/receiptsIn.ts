/** Receipts that came for our deliveries: the newest revision of each, as its receiver signed it. */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
import type { LanePlace } from './lanePlace.ts';

export interface ReceiptIn extends LanePlace {
  readonly revision: number;
  readonly settled: boolean;
  /** Encoded Signed. */
  readonly receipt: Uint8Array;
  readonly receivedAtMs: number;
}

const PUT = `INSERT INTO receipt_in (lane, epoch, sequence, revision, settled, receipt, received_at_ms)
 VALUES (@lane, @epoch, @sequence, @revision, @settled, @receipt, @receivedAtMs)
 ON CONFLICT (lane, epoch, sequence) DO UPDATE SET revision = excluded.revision, settled = excluded.settled,
 receipt = excluded.receipt, received_at_ms = excluded.received_at_ms WHERE excluded.revision > receipt_in.revision`;
const GET = `SELECT revision, settled, receipt, received_at_ms AS receivedAtMs FROM receipt_in
 WHERE lane = ? AND epoch = ? AND sequence = ?`;
const REMOVE = 'DELETE FROM receipt_in WHERE lane = ? AND epoch = ? AND sequence = ?';

const REMOVE_LANE = 'DELETE FROM receipt_in WHERE lane = ?';

export class ReceiptInStore {
  readonly #put: Statement;
  readonly #get: Statement<
    [Uint8Array, bigint, bigint],
    { revision: number; settled: number; receipt: Buffer; receivedAtMs: number }
  >;
  readonly #remove: Statement;
  readonly #removeLane: Statement;

  constructor(sqlite: Sqlite) {
    this.#put = sqlite.prepare(PUT);
    this.#get = sqlite.prepare(GET);
    this.#remove = sqlite.prepare(REMOVE);
    this.#removeLane = sqlite.prepare(REMOVE_LANE);
  }

  /** Keeps the receipt when it is newer than the one held; false when it is not. */
  put(receipt: ReceiptIn): boolean {
    return this.#put.run({ ...receipt, settled: receipt.settled ? 1 : 0 }).changes === 1;
  }

  get(place: LanePlace): ReceiptIn | undefined {
    const row = this.#get.get(place.lane, place.epoch, place.sequence);
    return row && { ...place, ...row, settled: row.settled === 1 };
  }

  remove(place: LanePlace): void {
    this.#remove.run(place.lane, place.epoch, place.sequence);
  }

  removeLane(lane: Uint8Array): void {
    this.#removeLane.run(lane);
  }
}
