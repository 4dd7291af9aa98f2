/**
 * Lanes that begin at this node: epoch, place, phase, and what stops them. Counters of what is under way are moved by
 * deliveriesOut.ts together with the deliveries that they count.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
import { type StuckColumns, type StuckReason, stuckReason } from './lanePlace.ts';

/**
 * loading: the next scan packs every row for this lane. streaming: it gets changes. suspended: its budget ran out; it waits
 * for the destination to answer the new epoch's opening. ended: unbound, nothing goes on.
 */
export type LanePhase = 'loading' | 'streaming' | 'suspended' | 'ended';

/** Rows that were cancelled and will be brought again. */
export interface OwedRows {
  readonly code: string;
  readonly reason: string;
  readonly sinceMs: number;
  /** Epoch whose rows are owed: a load of a later one pays. */
  readonly epoch: bigint;
  /** Epochs that were opened to pay since rows last arrived. */
  readonly tries: number;
}

export interface LaneOut {
  readonly lane: Uint8Array;
  readonly bridge: Uint8Array;
  readonly receiver: Uint8Array;
  readonly epoch: bigint;
  readonly nonce: Uint8Array;
  readonly phase: LanePhase;
  /** Scan whose load was begun on this lane; 0 for none. */
  readonly loadScan: number;
  readonly lastSequence: bigint;
  /** Chain value of the last sequence: 32 bytes. */
  readonly chain: Uint8Array;
  /** -1 before the opening is settled. */
  readonly settledThrough: bigint;
  readonly onBusBytes: number;
  readonly onBusCount: number;
  readonly waitingBytes: number;
  readonly waitingCount: number;
  readonly pausedUntilMs: number;
  readonly refusalsInRow: number;
  readonly stuck: StuckReason | undefined;
  readonly stuckVersion: number;
  readonly stuckAtMs: number;
  readonly owes: OwedRows | undefined;
  /** When it ended; 0 while it lives. */
  readonly goneAtMs: number;
  readonly openedAtMs: number;
}

interface Row extends StuckColumns {
  lane: Buffer;
  bridge: Buffer;
  receiver: Buffer;
  epoch: number;
  nonce: Buffer;
  phase: LanePhase;
  load_scan: number;
  last_sequence: number;
  chain: Buffer;
  settled_through: number;
  on_bus_bytes: number;
  on_bus_count: number;
  waiting_bytes: number;
  waiting_count: number;
  paused_until_ms: number;
  refusals_in_row: number;
  stuck_version: number;
  stuck_at_ms: number;
  owes_code: string | null;
  owes_reason: string;
  owes_since_ms: number;
  owes_epoch: number;
  owes_tries: number;
  gone_at_ms: number;
  opened_at_ms: number;
}

export const GET_LANE_OUT = 'SELECT * FROM lane_out WHERE lane = ?';
export const LANES_OUT_OF_BRIDGE = 'SELECT * FROM lane_out WHERE bridge = ? ORDER BY lane';
const ALL = 'SELECT * FROM lane_out ORDER BY lane';
const OPEN = `INSERT INTO lane_out (lane, bridge, receiver, epoch, nonce, phase, last_sequence, chain, opened_at_ms)
 VALUES (@lane, @bridge, @receiver, @epoch, @nonce, @phase, 0, @chain, @atMs)
 ON CONFLICT (lane) DO UPDATE SET epoch = excluded.epoch, nonce = excluded.nonce,
 phase = excluded.phase, load_scan = 0, last_sequence = 0, chain = excluded.chain, settled_through = -1,
 on_bus_bytes = 0, on_bus_count = 0, waiting_bytes = 0, waiting_count = 0, paused_until_ms = 0, refusals_in_row = 0,
 stuck_code = NULL, stuck_message = NULL, stuck_hint = NULL, stuck_version = 0, stuck_at_ms = 0, gone_at_ms = 0, opened_at_ms = excluded.opened_at_ms`;
const ADVANCE = 'UPDATE lane_out SET last_sequence = ?, chain = ? WHERE lane = ? AND last_sequence = ? - 1';
/** A load that is packed in a later epoch pays what was owed: from then on the outbox keeps it. */
const PHASE = `UPDATE lane_out SET phase = @phase,
 owes_code = CASE WHEN @phase = 'ended' OR (@phase = 'streaming' AND epoch > owes_epoch) THEN NULL ELSE owes_code END
 WHERE lane = @lane`;
const OWE = `UPDATE lane_out SET owes_code = @code, owes_reason = @reason, owes_epoch = epoch,
 owes_since_ms = CASE WHEN owes_code IS NULL THEN @atMs ELSE owes_since_ms END WHERE lane = @lane`;
const TRIED = 'UPDATE lane_out SET owes_tries = owes_tries + 1 WHERE lane = ?';
const ARRIVED = 'UPDATE lane_out SET owes_tries = 0 WHERE lane = ? AND owes_tries > 0 AND owes_code IS NULL';
const CLEAR_GONE = "UPDATE lane_out SET gone_at_ms = 0 WHERE lane = ? AND phase <> 'ended'";
const GONE = 'UPDATE lane_out SET gone_at_ms = ? WHERE lane = ? AND gone_at_ms = 0';
const BEGIN_LOAD = 'UPDATE lane_out SET load_scan = ? WHERE lane = ?';
const PAUSE = 'UPDATE lane_out SET paused_until_ms = ?, refusals_in_row = ? WHERE lane = ?';
const STICK = `UPDATE lane_out SET stuck_code = @code, stuck_message = @message, stuck_hint = @hint, stuck_version = @version,
 stuck_at_ms = CASE WHEN stuck_code IS @code THEN stuck_at_ms ELSE @atMs END WHERE lane = @lane`;
const UNSTICK = 'UPDATE lane_out SET stuck_code = NULL, stuck_message = NULL, stuck_hint = NULL WHERE lane = ?';
const SETTLED_THROUGH = 'UPDATE lane_out SET settled_through = ? WHERE lane = ? AND settled_through < ?';
const REMOVE = 'DELETE FROM lane_out WHERE lane = ?';

export class LaneOutStore {
  readonly #get: Statement<[Uint8Array], Row>;
  readonly #ofBridge: Statement<[Uint8Array], Row>;
  readonly #all: Statement<[], Row>;
  readonly #open: Statement;
  readonly #advance: Statement;
  readonly #phase: Statement;
  readonly #owe: Statement;
  readonly #tried: Statement;
  readonly #arrived: Statement;
  readonly #gone: Statement;
  readonly #clearGone: Statement;
  readonly #beginLoad: Statement;
  readonly #pause: Statement;
  readonly #stick: Statement;
  readonly #unstick: Statement;
  readonly #settledThrough: Statement;
  readonly #remove: Statement;

  constructor(sqlite: Sqlite) {
    this.#get = sqlite.prepare(GET_LANE_OUT);
    this.#ofBridge = sqlite.prepare(LANES_OUT_OF_BRIDGE);
    this.#all = sqlite.prepare(ALL);
    this.#open = sqlite.prepare(OPEN);
    this.#advance = sqlite.prepare(ADVANCE);
    this.#phase = sqlite.prepare(PHASE);
    this.#owe = sqlite.prepare(OWE);
    this.#tried = sqlite.prepare(TRIED);
    this.#arrived = sqlite.prepare(ARRIVED);
    this.#gone = sqlite.prepare(GONE);
    this.#clearGone = sqlite.prepare(CLEAR_GONE);
    this.#beginLoad = sqlite.prepare(BEGIN_LOAD);
    this.#pause = sqlite.prepare(PAUSE);
    this.#stick = sqlite.prepare(STICK);
    this.#unstick = sqlite.prepare(UNSTICK);
    this.#settledThrough = sqlite.prepare(SETTLED_THROUGH);
    this.#remove = sqlite.prepare(REMOVE);
  }

  get(lane: Uint8Array): LaneOut | undefined {
    const row = this.#get.get(lane);
    return row && laneOut(row);
  }

  ofBridge(bridge: Uint8Array): LaneOut[] {
    return this.#ofBridge.all(bridge).map(laneOut);
  }

  all(): LaneOut[] {
    return this.#all.all().map(laneOut);
  }

  /** Begins an epoch at sequence 0; `chain` is the opening's chain value. Counters and what was stuck start anew. */
  open(lane: {
    lane: Uint8Array;
    bridge: Uint8Array;
    receiver: Uint8Array;
    epoch: bigint;
    nonce: Uint8Array;
    phase: LanePhase;
    chain: Uint8Array;
    atMs: number;
  }): void {
    this.#open.run(lane);
  }

  /** Gives out `sequence`, the next one. Throws when it is not the next: a place is never given twice. */
  advance(lane: Uint8Array, sequence: bigint, chain: Uint8Array): void {
    if (this.#advance.run(sequence, chain, lane, sequence).changes !== 1) {
      throw new Error(`sequence ${sequence} is not the next of its lane`);
    }
  }

  setPhase(lane: Uint8Array, phase: LanePhase): void {
    this.#phase.run({ phase, lane });
  }

  /** Rows of the present epoch were cancelled: a load of a later one brings them again. The newest cause is told. */
  owe(lane: Uint8Array, cause: { code: string; reason: string }, atMs: number): void {
    this.#owe.run({ lane, atMs, ...cause });
  }

  /** An epoch was opened to pay: the next try waits longer. */
  countTry(lane: Uint8Array): void {
    this.#tried.run(lane);
  }

  /** Rows arrived and nothing is owed: the next debt is paid without a pause. */
  forgetTries(lane: Uint8Array): void {
    this.#arrived.run(lane);
  }

  /** It is named again. */
  clearGone(lane: Uint8Array): void {
    this.#clearGone.run(lane);
  }

  /** Notes once when it ended, or left the snapshot. */
  setGone(lane: Uint8Array, atMs: number): void {
    this.#gone.run(atMs, lane);
  }

  beginLoad(lane: Uint8Array, scan: number): void {
    this.#beginLoad.run(scan, lane);
  }

  /** Sends nothing on the lane before `untilMs`; 0 goes on at once. */
  pause(lane: Uint8Array, untilMs: number, refusalsInRow: number): void {
    this.#pause.run(untilMs, refusalsInRow, lane);
  }

  /** The time of the first of the same cause stays. */
  stick(lane: Uint8Array, bridgeVersion: number, reason: StuckReason, atMs: number): void {
    this.#stick.run({ lane, version: bridgeVersion, atMs, ...reason });
  }

  unstick(lane: Uint8Array): void {
    this.#unstick.run(lane);
  }

  setSettledThrough(lane: Uint8Array, sequence: bigint): void {
    this.#settledThrough.run(sequence, lane, sequence);
  }

  remove(lane: Uint8Array): void {
    this.#remove.run(lane);
  }
}

function laneOut(row: Row): LaneOut {
  return {
    lane: row.lane,
    bridge: row.bridge,
    receiver: row.receiver,
    epoch: BigInt(row.epoch),
    nonce: row.nonce,
    phase: row.phase,
    loadScan: row.load_scan,
    lastSequence: BigInt(row.last_sequence),
    chain: row.chain,
    settledThrough: BigInt(row.settled_through),
    onBusBytes: row.on_bus_bytes,
    onBusCount: row.on_bus_count,
    waitingBytes: row.waiting_bytes,
    waitingCount: row.waiting_count,
    pausedUntilMs: row.paused_until_ms,
    refusalsInRow: row.refusals_in_row,
    stuck: stuckReason(row),
    stuckVersion: row.stuck_version,
    stuckAtMs: row.stuck_at_ms,
    owes:
      row.owes_code === null
        ? undefined
        : {
            code: row.owes_code,
            reason: row.owes_reason,
            sinceMs: row.owes_since_ms,
            epoch: BigInt(row.owes_epoch),
            tries: row.owes_tries,
          },
    goneAtMs: row.gone_at_ms,
    openedAtMs: row.opened_at_ms,
  };
}
