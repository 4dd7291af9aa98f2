/**
 * Lanes that end at this node: how far the target database was when we last looked at its mark, and what stops them. The
 * mark in the target database is the truth; this row is a memory of it.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
import { type StuckColumns, type StuckReason, stuckReason } from './lanePlace.ts';

export interface LaneIn {
  readonly lane: Uint8Array;
  readonly bridge: Uint8Array;
  readonly sender: Uint8Array;
  /** 0 before the first opening was applied. */
  readonly epoch: bigint;
  readonly nonce: Uint8Array;
  /** -1 before the opening was applied. */
  readonly appliedSequence: bigint;
  readonly chain: Uint8Array;
  readonly targetId: string | undefined;
  readonly fencingToken: bigint;
  /** As the sender last said; -1 when it never did. */
  readonly settledThrough: bigint;
  /** The highest place that the target held before it was restored from a backup; epoch 0 for none. */
  readonly owed: { readonly epoch: bigint; readonly nonce: Uint8Array; readonly sequence: bigint };
  /** Its load has begun in this epoch, and not ended. */
  readonly isLoading: boolean;
  /** When a gap was last asked for; 0 for never. */
  readonly resendAskedMs: number;
  readonly ended: boolean;
  readonly stuck: StuckReason | undefined;
  readonly stuckVersion: number;
  readonly appliedAtMs: number;
  /** When it ended or left the snapshot; 0 while it lives. */
  readonly goneAtMs: number;
}

interface Row extends StuckColumns {
  lane: Buffer;
  bridge: Buffer;
  sender: Buffer;
  epoch: number;
  nonce: Buffer;
  applied_sequence: number;
  chain: Buffer;
  target_id: string | null;
  fencing_token: number;
  settled_through: number;
  owed_epoch: number;
  owed_nonce: Buffer;
  owed_sequence: number;
  loading: number;
  resend_asked_ms: number;
  ended: number;
  stuck_version: number;
  applied_at_ms: number;
  gone_at_ms: number;
}

const GET = 'SELECT * FROM lane_in WHERE lane = ?';
const ALL = 'SELECT * FROM lane_in ORDER BY lane';
const ENSURE = 'INSERT INTO lane_in (lane, bridge, sender) VALUES (?, ?, ?) ON CONFLICT (lane) DO NOTHING';
const SET_POINT = `UPDATE lane_in SET epoch = @epoch, nonce = @nonce, applied_sequence = @sequence, chain = @chain,
 applied_at_ms = @atMs WHERE lane = @lane`;
const SET_TARGET = 'UPDATE lane_in SET target_id = ? WHERE lane = ?';
const SEE_TOKEN = 'UPDATE lane_in SET fencing_token = max(fencing_token, ?) WHERE lane = ?';
const SEE_SETTLED = 'UPDATE lane_in SET settled_through = ? WHERE lane = ?';
const OWE = `UPDATE lane_in SET owed_epoch = @epoch, owed_nonce = @nonce, owed_sequence = @sequence WHERE lane = @lane
 AND (owed_epoch, owed_sequence) < (@epoch, @sequence)`;
const LOADING = 'UPDATE lane_in SET loading = ? WHERE lane = ?';
const RESEND_ASKED = 'UPDATE lane_in SET resend_asked_ms = ? WHERE lane = ?';
const END = 'UPDATE lane_in SET ended = 1 WHERE lane = ?';
const STICK = `UPDATE lane_in SET stuck_code = @code, stuck_message = @message, stuck_hint = @hint, stuck_version = @version
 WHERE lane = @lane`;
const UNSTICK = 'UPDATE lane_in SET stuck_code = NULL, stuck_message = NULL, stuck_hint = NULL WHERE lane = ?';
const GONE = 'UPDATE lane_in SET gone_at_ms = ? WHERE lane = ?';
const REMOVE = 'DELETE FROM lane_in WHERE lane = ?';

export class LaneInStore {
  readonly #get: Statement<[Uint8Array], Row>;
  readonly #all: Statement<[], Row>;
  readonly #ensure: Statement;
  readonly #setPoint: Statement;
  readonly #setTarget: Statement;
  readonly #seeToken: Statement;
  readonly #seeSettled: Statement;
  readonly #owe: Statement;
  readonly #loading: Statement;
  readonly #resendAsked: Statement;
  readonly #end: Statement;
  readonly #stick: Statement;
  readonly #unstick: Statement;
  readonly #gone: Statement;
  readonly #remove: Statement;

  constructor(sqlite: Sqlite) {
    this.#get = sqlite.prepare(GET);
    this.#all = sqlite.prepare(ALL);
    this.#ensure = sqlite.prepare(ENSURE);
    this.#setPoint = sqlite.prepare(SET_POINT);
    this.#setTarget = sqlite.prepare(SET_TARGET);
    this.#seeToken = sqlite.prepare(SEE_TOKEN);
    this.#seeSettled = sqlite.prepare(SEE_SETTLED);
    this.#owe = sqlite.prepare(OWE);
    this.#loading = sqlite.prepare(LOADING);
    this.#resendAsked = sqlite.prepare(RESEND_ASKED);
    this.#end = sqlite.prepare(END);
    this.#stick = sqlite.prepare(STICK);
    this.#unstick = sqlite.prepare(UNSTICK);
    this.#gone = sqlite.prepare(GONE);
    this.#remove = sqlite.prepare(REMOVE);
  }

  get(lane: Uint8Array): LaneIn | undefined {
    const row = this.#get.get(lane);
    return row && laneIn(row);
  }

  all(): LaneIn[] {
    return this.#all.all().map(laneIn);
  }

  /** Makes the row of a lane that the snapshot names; changes nothing when it is there. */
  ensure(lane: Uint8Array, bridge: Uint8Array, sender: Uint8Array): void {
    this.#ensure.run(lane, bridge, sender);
  }

  /** Remembers the mark's point after the target database committed. */
  setPoint(
    lane: Uint8Array,
    point: { epoch: bigint; nonce: Uint8Array; sequence: bigint; chain: Uint8Array },
    atMs: number,
  ): void {
    this.#setPoint.run({ lane, ...point, atMs });
  }

  setTargetId(lane: Uint8Array, targetId: string): void {
    this.#setTarget.run(targetId, lane);
  }

  /** Notes a fencing token from a verified header; the newest stays. */
  seeFencingToken(lane: Uint8Array, token: bigint): void {
    this.#seeToken.run(token, lane);
  }

  setSettledThrough(lane: Uint8Array, sequence: bigint): void {
    this.#seeSettled.run(sequence, lane);
  }

  /** Remembers a place that the target lost; a higher one stays. */
  owe(lane: Uint8Array, place: LaneIn['owed']): void {
    this.#owe.run({ lane, ...place });
  }

  setLoading(lane: Uint8Array, isLoading: boolean): void {
    this.#loading.run(isLoading ? 1 : 0, lane);
  }

  setResendAsked(lane: Uint8Array, atMs: number): void {
    this.#resendAsked.run(atMs, lane);
  }

  end(lane: Uint8Array): void {
    this.#end.run(lane);
  }

  stick(lane: Uint8Array, bridgeVersion: number, reason: StuckReason): void {
    this.#stick.run({ lane, version: bridgeVersion, ...reason });
  }

  unstick(lane: Uint8Array): void {
    this.#unstick.run(lane);
  }

  /** Since when it is gone; 0 when it lives again. */
  setGone(lane: Uint8Array, atMs: number): void {
    this.#gone.run(atMs, lane);
  }

  remove(lane: Uint8Array): void {
    this.#remove.run(lane);
  }
}

function laneIn(row: Row): LaneIn {
  return {
    lane: row.lane,
    bridge: row.bridge,
    sender: row.sender,
    epoch: BigInt(row.epoch),
    nonce: row.nonce,
    appliedSequence: BigInt(row.applied_sequence),
    chain: row.chain,
    targetId: row.target_id ?? undefined,
    fencingToken: BigInt(row.fencing_token),
    settledThrough: BigInt(row.settled_through),
    owed: { epoch: BigInt(row.owed_epoch), nonce: row.owed_nonce, sequence: BigInt(row.owed_sequence) },
    isLoading: row.loading === 1,
    resendAskedMs: row.resend_asked_ms,
    ended: row.ended === 1,
    stuck: stuckReason(row),
    stuckVersion: row.stuck_version,
    appliedAtMs: row.applied_at_ms,
    goneAtMs: row.gone_at_ms,
  };
}
