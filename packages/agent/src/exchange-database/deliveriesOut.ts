/**
 * Deliveries that begin here: a parcel (or an opening) at its place in a lane. What we did with it (`bus`) and what the
 * other side said of it (`answer`) are two columns; the lane's counters and the parcel's open deliveries move with them.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
import type { LanePlace } from './lanePlace.ts';

export type DeliveryRole = 'opening' | 'rows' | 'void';
export type BusState = 'recorded' | 'onBus';
/** awaited: no receipt. open: a receipt with open rows. settled: no open row. closed: ended by our own settlement. */
export type Answer = 'awaited' | 'open' | 'settled' | 'closed';

export interface NewDelivery extends LanePlace {
  readonly role: 'opening' | 'rows';
  /** The parcel's number; undefined for an opening. */
  readonly parcel: number | undefined;
  readonly bridgeVersion: number;
  readonly previousChain: Uint8Array;
  readonly chain: Uint8Array;
  readonly sealedAtMs: number;
  readonly loadBegins: boolean;
  readonly loadEnds: boolean;
  readonly allowedDeletes: bigint;
  /** With loadEnds: tables of which the load could not name every row. */
  readonly incompleteTables: readonly string[];
  /** Encoded Opening; undefined for rows. */
  readonly opening: Uint8Array | undefined;
  /** Stored bytes of the parcel, for the lane's budget. */
  readonly storedBytes: number;
}

export interface DeliveryOut extends Omit<NewDelivery, 'role'> {
  readonly role: DeliveryRole;
  readonly voidCode: string;
  readonly voidReason: string;
  readonly bus: BusState;
  readonly answer: Answer;
  readonly sentBytes: number;
  readonly attempts: number;
  /** How often it was asked for again, or changed its role: what was read before an ask is not the last word. */
  readonly asks: number;
  /** Answered, and asked for again since: counted as one that is awaited until it is answered once more. */
  readonly asked: boolean;
  /** On the bus: when to publish again without a receipt. */
  readonly dueAtMs: number;
  /** SHA-256 of the sealing key it was last sealed for; empty before, and for deliveries without a body. */
  readonly sealedFor: Uint8Array;
}

interface Row {
  lane: Buffer;
  epoch: number;
  sequence: number;
  role: DeliveryRole;
  parcel: number | null;
  bridge_version: number;
  previous_chain: Buffer;
  chain: Buffer;
  sealed_at_ms: number;
  load_begins: number;
  load_ends: number;
  allowed_deletes: number;
  incomplete_tables: string;
  opening: Buffer | null;
  void_code: string | null;
  void_reason: string | null;
  bus: BusState;
  answer: Answer;
  stored_bytes: number;
  sent_bytes: number;
  attempts: number;
  asks: number;
  asked: number;
  due_at_ms: number;
  sealed_for: Buffer;
}

const ADD = `INSERT INTO delivery_out (lane, epoch, sequence, role, parcel, bridge_version, previous_chain, chain, sealed_at_ms,
 load_begins, load_ends, allowed_deletes, incomplete_tables, opening, bus, answer, stored_bytes) VALUES (@lane, @epoch, @sequence, @role, @parcel,
 @bridgeVersion, @previousChain, @chain, @sealedAtMs, @loadBegins, @loadEnds, @allowedDeletes, @incompleteTables, @opening, 'recorded', 'awaited',
 @storedBytes)`;
const GET = 'SELECT * FROM delivery_out WHERE lane = ? AND epoch = ? AND sequence = ?';
export const NEXT_RECORDED = `SELECT * FROM delivery_out WHERE lane = ? AND epoch = ? AND bus = 'recorded' AND answer <> 'closed'
 ORDER BY sequence LIMIT ?`;
export const NEXT_DUE = `SELECT * FROM delivery_out WHERE lane = ? AND bus = 'onBus' AND answer = 'awaited'
 ORDER BY due_at_ms LIMIT 1`;
export const NEXT_ASKED_DUE = `SELECT * FROM delivery_out WHERE lane = ? AND bus = 'onBus' AND asked = 1 ORDER BY due_at_ms LIMIT 1`;
export const FIRST_UNSETTLED = `SELECT sequence FROM delivery_out WHERE lane = ? AND epoch = ? AND answer IN ('awaited', 'open')
 ORDER BY sequence LIMIT 1`;
export const UNSETTLED_BETWEEN = `SELECT sequence FROM delivery_out WHERE lane = ? AND epoch = ? AND answer IN ('awaited', 'open')
 AND sequence > ? AND sequence < ? ORDER BY sequence LIMIT ?`;
export const UNSETTLED = `SELECT * FROM delivery_out WHERE lane = ? AND epoch = ? AND answer IN ('awaited', 'open')
 AND sequence > ? ORDER BY sequence LIMIT ?`;
export const RANGE_OUT = `SELECT * FROM delivery_out WHERE lane = ? AND epoch = ? AND sequence BETWEEN ? AND ?
 ORDER BY sequence LIMIT ?`;
export const SEALED_BETWEEN = `SELECT * FROM delivery_out WHERE lane = ? AND sealed_at_ms BETWEEN ? AND ?
 AND (epoch, sequence) > (?, ?) ORDER BY epoch, sequence LIMIT ?`;
const ON_BUS = `UPDATE delivery_out SET bus = 'onBus', sent_bytes = @bytes, attempts = attempts + 1, due_at_ms = @dueAtMs,
 sealed_for = @sealedFor
 WHERE lane = @lane AND epoch = @epoch AND sequence = @sequence`;
/** Awaited and open are asked together: the partial index needs its own words. */
export const OLDEST_AWAITED = `SELECT sealed_at_ms FROM delivery_out WHERE lane = ? AND epoch = ? AND answer IN ('awaited', 'open')
 AND answer = 'awaited' AND role <> 'opening' ORDER BY sequence LIMIT 1`;
export const OPEN_OUT = `SELECT * FROM delivery_out WHERE lane = ? AND epoch = ? AND answer IN ('awaited', 'open')
 AND answer = 'open' AND sequence > ? ORDER BY sequence LIMIT ?`;
export const SEALED_OTHERWISE = `SELECT * FROM delivery_out WHERE lane = ? AND epoch = ? AND answer IN ('awaited', 'open')
 AND answer = 'awaited' AND bus = 'onBus' AND length(sealed_for) > 0 AND sealed_for <> ? ORDER BY sequence`;
const RECORDED = `UPDATE delivery_out SET bus = 'recorded', asks = asks + 1, asked = answer <> 'awaited'
 WHERE lane = ? AND epoch = ? AND sequence = ?`;
const SENT_BEFORE = "UPDATE delivery_out SET bus = 'onBus', asked = 0 WHERE lane = ? AND epoch = ? AND sequence = ?";
const ANSWERED_AGAIN = 'UPDATE delivery_out SET asked = 0 WHERE lane = ? AND epoch = ? AND sequence = ?';
const ASKED_ON_BUS = `SELECT coalesce(sum(sent_bytes), 0) AS bytes, count(*) AS count FROM delivery_out
 WHERE lane = ? AND bus = 'onBus' AND asked = 1`;
const FORGET_ASKED = 'UPDATE delivery_out SET asked = 0 WHERE lane = ? AND asked = 1';
const ANSWER =
  'UPDATE delivery_out SET answer = @answer WHERE lane = @lane AND epoch = @epoch AND sequence = @sequence';
const VOID = `UPDATE delivery_out SET role = 'void', asks = asks + 1, void_code = @code, void_reason = @reason
 WHERE lane = @lane AND epoch = @epoch AND sequence = @sequence AND role = 'rows'`;
const COUNT = `UPDATE lane_out SET on_bus_bytes = on_bus_bytes + @onBusBytes, on_bus_count = on_bus_count + @onBusCount,
 waiting_bytes = waiting_bytes + @waitingBytes, waiting_count = waiting_count + @waitingCount WHERE lane = @lane`;
export const OF_PARCEL = 'SELECT lane, epoch, sequence FROM delivery_out WHERE parcel = ?';
const REMOVE = 'DELETE FROM delivery_out WHERE lane = ? AND epoch = ? AND sequence = ? RETURNING *';
const HAS_PARCELS = 'SELECT 1 FROM delivery_out WHERE lane = ? AND parcel IS NOT NULL LIMIT 1';
const PARCELS_OF = `SELECT parcel FROM delivery_out WHERE lane = ? AND epoch = ? AND answer = 'closed' AND parcel IS NOT NULL`;
/** What has no parcel any more: openings, for the rest goes with its parcel. */
export const REMOVE_OF_LANE = 'DELETE FROM delivery_out WHERE lane = ? AND parcel IS NULL';
export const REMOVE_OPENINGS = `DELETE FROM delivery_out WHERE lane = ? AND epoch < ? AND sequence = 0`;

interface CounterChange {
  lane: Uint8Array;
  onBusBytes?: number;
  onBusCount?: number;
  waitingBytes?: number;
  waitingCount?: number;
}

export class DeliveryOutStore {
  readonly #sqlite: Sqlite;
  readonly #add: Statement;
  readonly #get: Statement<[Uint8Array, bigint, bigint], Row>;
  readonly #nextRecorded: Statement<[Uint8Array, bigint, number], Row>;
  readonly #nextDue: Statement<[Uint8Array], Row>;
  readonly #firstUnsettled: Statement<[Uint8Array, bigint], number>;
  readonly #unsettledBetween: Statement<[Uint8Array, bigint, bigint, bigint, number], number>;
  readonly #unsettled: Statement<[Uint8Array, bigint, bigint, number], Row>;
  readonly #oldestAwaited: Statement<[Uint8Array, bigint], number>;
  readonly #open: Statement<[Uint8Array, bigint, bigint, number], Row>;
  readonly #sealedOtherwise: Statement<[Uint8Array, bigint, Uint8Array], Row>;
  readonly #parcelsOf: Statement<[Uint8Array, bigint], number>;
  readonly #hasParcels: Statement<[Uint8Array], number>;
  readonly #removeOfLane: Statement;
  readonly #range: Statement<[Uint8Array, bigint, bigint, bigint, number], Row>;
  readonly #sealedBetween: Statement<[Uint8Array, number, number, bigint, bigint, number], Row>;
  readonly #onBus: Statement;
  readonly #recorded: Statement;
  readonly #sentBefore: Statement;
  readonly #answer: Statement;
  readonly #void: Statement;
  readonly #count: Statement;
  readonly #ofParcel: Statement<[number], { lane: Buffer; epoch: number; sequence: number }>;
  readonly #remove: Statement<[Uint8Array, bigint, bigint], Row>;
  readonly #nextAskedDue: Statement<[Uint8Array], Row>;
  readonly #answeredAgain: Statement;
  readonly #askedOnBus: Statement<[Uint8Array], { bytes: number; count: number }>;
  readonly #forgetAsked: Statement;
  readonly #removeOpenings: Statement;

  constructor(sqlite: Sqlite) {
    this.#sqlite = sqlite;
    this.#add = sqlite.prepare(ADD);
    this.#get = sqlite.prepare(GET);
    this.#nextRecorded = sqlite.prepare(NEXT_RECORDED);
    this.#nextDue = sqlite.prepare(NEXT_DUE);
    this.#firstUnsettled = sqlite.prepare<[Uint8Array, bigint], number>(FIRST_UNSETTLED).pluck();
    this.#unsettledBetween = sqlite
      .prepare<[Uint8Array, bigint, bigint, bigint, number], number>(UNSETTLED_BETWEEN)
      .pluck();
    this.#unsettled = sqlite.prepare(UNSETTLED);
    this.#oldestAwaited = sqlite.prepare<[Uint8Array, bigint], number>(OLDEST_AWAITED).pluck();
    this.#open = sqlite.prepare(OPEN_OUT);
    this.#sealedOtherwise = sqlite.prepare(SEALED_OTHERWISE);
    this.#parcelsOf = sqlite.prepare<[Uint8Array, bigint], number>(PARCELS_OF).pluck();
    this.#hasParcels = sqlite.prepare<[Uint8Array], number>(HAS_PARCELS).pluck();
    this.#removeOfLane = sqlite.prepare(REMOVE_OF_LANE);
    this.#range = sqlite.prepare(RANGE_OUT);
    this.#sealedBetween = sqlite.prepare(SEALED_BETWEEN);
    this.#onBus = sqlite.prepare(ON_BUS);
    this.#recorded = sqlite.prepare(RECORDED);
    this.#sentBefore = sqlite.prepare(SENT_BEFORE);
    this.#answer = sqlite.prepare(ANSWER);
    this.#void = sqlite.prepare(VOID);
    this.#count = sqlite.prepare(COUNT);
    this.#ofParcel = sqlite.prepare(OF_PARCEL);
    this.#remove = sqlite.prepare(REMOVE);
    this.#nextAskedDue = sqlite.prepare(NEXT_ASKED_DUE);
    this.#answeredAgain = sqlite.prepare(ANSWERED_AGAIN);
    this.#askedOnBus = sqlite.prepare(ASKED_ON_BUS);
    this.#forgetAsked = sqlite.prepare(FORGET_ASKED);
    this.#removeOpenings = sqlite.prepare(REMOVE_OPENINGS);
  }

  add(delivery: NewDelivery): void {
    this.#inTransaction();
    this.#add.run({
      ...delivery,
      parcel: delivery.parcel ?? null,
      opening: delivery.opening ?? null,
      loadBegins: delivery.loadBegins ? 1 : 0,
      loadEnds: delivery.loadEnds ? 1 : 0,
      incompleteTables: JSON.stringify(delivery.incompleteTables),
    });
    this.#countLane({ lane: delivery.lane, waitingBytes: delivery.storedBytes, waitingCount: 1 });
  }

  get(place: LanePlace): DeliveryOut | undefined {
    const row = this.#get.get(place.lane, place.epoch, place.sequence);
    return row && delivery(row);
  }

  /** The lowest sequences of the epoch that wait to be published, at most `limit`. */
  nextRecorded(lane: Uint8Array, epoch: bigint, limit: number): DeliveryOut[] {
    return this.#nextRecorded.all(lane, epoch, limit).map(delivery);
  }

  /** The delivery on the bus whose receipt is due first; compare its `dueAtMs` with the clock. */
  nextDue(lane: Uint8Array): DeliveryOut | undefined {
    const awaited = this.#nextDue.get(lane);
    const asked = this.#nextAskedDue.get(lane);
    const isAskedFirst = asked !== undefined && asked.due_at_ms < (awaited?.due_at_ms ?? Infinity);
    const row = isAskedFirst ? asked : awaited;
    return row && delivery(row);
  }

  /** The lowest sequence without a settled receipt. */
  firstUnsettled(lane: Uint8Array, epoch: bigint): bigint | undefined {
    const sequence = this.#firstUnsettled.get(lane, epoch);
    return sequence === undefined ? undefined : BigInt(sequence);
  }

  /** Sequences without a settled receipt after `after` and before `before`, ascending, at most `limit`. */
  unsettledBetween(lane: Uint8Array, epoch: bigint, after: bigint, before: bigint, limit: number): bigint[] {
    return this.#unsettledBetween.all(lane, epoch, after, before, limit).map(BigInt);
  }

  unsettledAfter(lane: Uint8Array, epoch: bigint, sequence: bigint, limit: number): DeliveryOut[] {
    return this.#unsettled.all(lane, epoch, sequence, limit).map(delivery);
  }

  /** When the oldest rows without a receipt were packed, milliseconds since 1970 UTC. */
  oldestAwaitedMs(lane: Uint8Array, epoch: bigint): number | undefined {
    return this.#oldestAwaited.get(lane, epoch);
  }

  /** Deliveries whose receipt names open rows, in order, after `sequence`. */
  openAfter(lane: Uint8Array, epoch: bigint, sequence: bigint, limit: number): DeliveryOut[] {
    return this.#open.all(lane, epoch, sequence, limit).map(delivery);
  }

  /** On the bus, unanswered and sealed for another key than this one. No more than a window holds. */
  sealedOtherwise(lane: Uint8Array, epoch: bigint, key: Uint8Array): DeliveryOut[] {
    return this.#sealedOtherwise.all(lane, epoch, key).map(delivery);
  }

  range(lane: Uint8Array, epoch: bigint, first: bigint, last: bigint, limit: number): DeliveryOut[] {
    return this.#range.all(lane, epoch, first, last, limit).map(delivery);
  }

  /** Deliveries of a lane that were packed in this time (both ends included), after a place, oldest first, at most `limit`. */
  sealedBetween(place: LanePlace, fromMs: number, toMs: number, limit: number): DeliveryOut[] {
    const { lane, epoch, sequence } = place;
    return this.#sealedBetween.all(lane, fromMs, toMs, epoch, sequence, limit).map(delivery);
  }

  /** Published: counted in the window until a receipt comes, due again at `dueAtMs`. */
  markOnBus(place: DeliveryOut, sentBytes: number, dueAtMs: number, sealedFor: Uint8Array): void {
    this.#inTransaction();
    const { lane, epoch, sequence } = place;
    this.#onBus.run({ lane, epoch, sequence, bytes: sentBytes, dueAtMs, sealedFor });
    if (!isWaitedFor(place)) return;
    const was = inWindow(place);
    this.#countLane({ lane, onBusBytes: sentBytes - was.bytes, onBusCount: 1 - was.count });
  }

  /** To be published again: leaves the window. */
  markRecorded(place: DeliveryOut): void {
    this.#inTransaction();
    this.#recorded.run(place.lane, place.epoch, place.sequence);
    this.#leaveWindow(place);
  }

  /** What was asked for again on the bus needs no further wait: it was answered once more, refused, or is asked for anew if it is lacking. */
  answeredAgain(place: DeliveryOut): void {
    this.#inTransaction();
    if (!place.asked || place.bus !== 'onBus') return;
    this.#answeredAgain.run(place.lane, place.epoch, place.sequence);
    this.#leaveWindow(place);
  }

  /** The epoch is over: nobody waits for what was asked for again in it. */
  forgetAsked(lane: Uint8Array): void {
    this.#inTransaction();
    const { bytes, count } = this.#askedOnBus.get(lane) ?? { bytes: 0, count: 0 };
    this.#forgetAsked.run(lane);
    this.#countLane({ lane, onBusBytes: -bytes, onBusCount: -count });
  }

  /** An answer came before it was published again: there is nothing to publish any more. */
  cancelResend(place: DeliveryOut): void {
    this.#inTransaction();
    if (place.bus === 'recorded' && place.attempts > 0) this.#sentBefore.run(place.lane, place.epoch, place.sequence);
  }

  /** The other side answered (or we closed it). Counters follow; the caller moves the parcel's open deliveries. */
  setAnswer(place: DeliveryOut, answer: Answer): void {
    this.#inTransaction();
    if (place.answer === answer) return;
    this.#answer.run({ lane: place.lane, epoch: place.epoch, sequence: place.sequence, answer });
    if (place.answer !== 'awaited') return;
    const { bytes, count } = inWindow(place);
    this.#countLane({
      lane: place.lane,
      waitingBytes: -place.storedBytes,
      waitingCount: -1,
      onBusBytes: -bytes,
      onBusCount: -count,
    });
  }

  /** Turns a delivery of rows into a void at the same place. False when it is none (any more). */
  makeVoid(place: LanePlace, code: string, reason: string): boolean {
    return (
      this.#void.run({ lane: place.lane, epoch: place.epoch, sequence: place.sequence, code, reason }).changes === 1
    );
  }

  ofParcel(parcel: number): LanePlace[] {
    return this.#ofParcel.all(parcel).map((row) => ({
      lane: row.lane,
      epoch: BigInt(row.epoch),
      sequence: BigInt(row.sequence),
    }));
  }

  /** Parcels of the deliveries of an epoch that were closed without a receipt. */
  parcelsOf(lane: Uint8Array, epoch: bigint): number[] {
    return this.#parcelsOf.all(lane, epoch);
  }

  /** Whether any delivery of the lane still has a parcel. */
  hasParcels(lane: Uint8Array): boolean {
    return this.#hasParcels.get(lane) !== undefined;
  }

  remove(place: LanePlace): void {
    const removed = this.#remove.get(place.lane, place.epoch, place.sequence);
    if (removed?.asked === 1) this.#leaveWindow(delivery(removed));
  }

  /** Forgets the openings of epochs before `epoch`. */
  removeOpeningsBefore(lane: Uint8Array, epoch: bigint): void {
    this.#removeOpenings.run(lane, epoch);
  }

  /** Forgets what a lane has left when its parcels are gone. */
  removeOfLane(lane: Uint8Array): void {
    this.#removeOfLane.run(lane);
  }

  #leaveWindow(place: DeliveryOut): void {
    const { bytes, count } = inWindow(place);
    if (count > 0) this.#countLane({ lane: place.lane, onBusBytes: -bytes, onBusCount: -count });
  }

  #countLane(change: CounterChange): void {
    this.#count.run({ onBusBytes: 0, onBusCount: 0, waitingBytes: 0, waitingCount: 0, ...change });
  }

  /** The delivery and the counters that stand for it move together or not at all. */
  #inTransaction(): void {
    if (!this.#sqlite.inTransaction) throw new Error('a delivery moves only inside a transaction');
  }
}

function isWaitedFor({ answer, asked }: DeliveryOut): boolean {
  return answer === 'awaited' || asked;
}

/** What the delivery counts for in its lane's window. */
function inWindow(place: DeliveryOut): { bytes: number; count: number } {
  return place.bus === 'onBus' && isWaitedFor(place) ? { bytes: place.sentBytes, count: 1 } : { bytes: 0, count: 0 };
}

function delivery(row: Row): DeliveryOut {
  return {
    lane: row.lane,
    epoch: BigInt(row.epoch),
    sequence: BigInt(row.sequence),
    role: row.role,
    parcel: row.parcel ?? undefined,
    bridgeVersion: row.bridge_version,
    previousChain: row.previous_chain,
    chain: row.chain,
    sealedAtMs: row.sealed_at_ms,
    loadBegins: row.load_begins === 1,
    loadEnds: row.load_ends === 1,
    allowedDeletes: BigInt(row.allowed_deletes),
    incompleteTables: JSON.parse(row.incomplete_tables) as string[],
    opening: row.opening ?? undefined,
    voidCode: row.void_code ?? '',
    voidReason: row.void_reason ?? '',
    bus: row.bus,
    answer: row.answer,
    storedBytes: row.stored_bytes,
    sentBytes: row.sent_bytes,
    attempts: row.attempts,
    asks: row.asks,
    asked: row.asked === 1,
    dueAtMs: row.due_at_ms,
    sealedFor: row.sealed_for,
  };
}
