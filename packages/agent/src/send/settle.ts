/**
 * What ends a delivery: a receipt, a void, the end of its epoch or lane. This file moves the answer of deliveries together
 * with their parcels, their lane's counters and the books, always in one transaction; it sends nothing.
 */
import { Outcome } from '@qiao/contract/counts';
import { type Receipt, Settlement } from '@qiao/contract/receipt';
import { Signed } from '@qiao/contract/signed';
import { idText, parseId, sameBytes } from '@qiao/exchange';
import type { Answer, DeliveryOut, ExchangeDatabase, LaneOut, LanePlace } from '../exchange-database/index.ts';
import type { ReceiptRecord, SendPorts } from './ports.ts';

export type SettlePorts = Pick<SendPorts, 'database' | 'desired' | 'signer' | 'clock'>;

/** Final outcomes of rows that the destination has not got. */
const NOT_TAKEN: ReadonlySet<Outcome> = new Set([Outcome.ABANDONED, Outcome.CANCELLED, Outcome.KEPT_TARGET]);

/** Deliveries looked at in one query while a whole epoch is closed. */
const PAGE = 500;

/** Takes a verified receipt: keeps the newest revision, frees the window, lets the parcel go when all its lanes are settled. */
export function recordReceipt(ports: SettlePorts, receipt: Receipt, signed: Signed): ReceiptRecord {
  const { database, clock } = ports;
  const epoch = receipt.epoch;
  if (epoch === undefined) return 'unknownDelivery';
  return database.transaction(() => {
    const place: LanePlace = { lane: receipt.laneId, epoch: epoch.ordinal, sequence: receipt.sequence };
    const lane = database.lanesOut.get(place.lane);
    if (lane === undefined || !sameBytes(lane.receiver, receipt.receiverId)) return 'unknownDelivery';
    const isPresent = lane.epoch === epoch.ordinal;
    if (isPresent && !sameBytes(lane.nonce, epoch.nonce)) return 'unknownDelivery';
    const delivery = database.deliveriesOut.get(place);
    if (delivery === undefined) {
      if (!isPresent || place.sequence <= lane.lastSequence) return 'unknownDelivery';
      // This database is an old copy: what was sent since stands at the destination, and nothing here would ever take it back.
      return stickForked(
        ports,
        lane,
        `the destination answered delivery ${place.epoch}/${place.sequence}, which was never sent from here`,
      );
    }
    if (!sameBytes(contentHashOf(database, delivery), receipt.contentHash)) {
      // A late answer about an epoch that forked is no fork of the one that took its place.
      if (!isPresent) return 'unknownDelivery';
      return stickForked(
        ports,
        lane,
        `the destination answered delivery ${place.epoch}/${place.sequence} with another content hash than was sent`,
      );
    }
    const atMs = clock.nowMs();
    // What the destination did not take as it was sent: a row that differs there need not have been changed there.
    if (receipt.outcomes.some(({ outcome }) => NOT_TAKEN.has(outcome))) database.jobs.noteLoss(place.lane, place.epoch);
    const isNew = database.receiptsIn.put({
      ...place,
      revision: receipt.revision,
      settled: receipt.settled,
      receipt: Signed.encode(signed).finish(),
      receivedAtMs: atMs,
    });
    database.deliveriesOut.answeredAgain(delivery);
    if (!isNew) return 'known';
    database.deliveriesOut.cancelResend(delivery);
    // A delivery that we closed ourselves stays closed; its receipt is kept all the same, for it names what really happened.
    if (delivery.answer !== 'closed') moveAnswer(database, delivery, receipt.settled ? 'settled' : 'open', atMs);
    if (lane.pausedUntilMs !== 0 || lane.refusalsInRow !== 0) database.lanesOut.pause(lane.lane, 0, 0);
    if (lane.phase === 'suspended' && place.epoch === lane.epoch) database.lanesOut.setPhase(lane.lane, 'loading');
    if (delivery.role === 'rows') database.lanesOut.forgetTries(lane.lane);
    advanceSettled(database, lane);
    return 'recorded';
  });
}

/** Two histories of the lane met: it stops, and begins a new epoch once that was shown. */
export function stickForked(
  { database, desired, clock }: Pick<SettlePorts, 'database' | 'desired' | 'clock'>,
  { lane, bridge }: LaneOut,
  message: string,
): 'fork' {
  const version = desired.current()?.bridges.get(idText(bridge))?.version ?? 0;
  const hint = 'look for a copied node or a restored exchange database; the lane begins a new epoch by itself';
  database.lanesOut.stick(lane, version, { code: 'LANE_FORKED', message, hint }, clock.nowMs());
  return 'fork';
}

/** Moves a delivery's answer and its parcel's count of open deliveries together. Call it inside a transaction. */
export function moveAnswer(database: ExchangeDatabase, delivery: DeliveryOut, answer: Answer, atMs: number): void {
  database.deliveriesOut.setAnswer(delivery, answer);
  if (delivery.parcel === undefined || isOver(delivery.answer) === isOver(answer)) return;
  database.parcels.countOpen(delivery.parcel, isOver(answer) ? -1 : 1, atMs);
}

/** Moves `settledThrough` of the lane's present epoch up to the delivery before the first unsettled one. */
export function advanceSettled(
  database: ExchangeDatabase,
  lane: Pick<LaneOut, 'lane' | 'epoch' | 'lastSequence'>,
): void {
  const first = database.deliveriesOut.firstUnsettled(lane.lane, lane.epoch);
  database.lanesOut.setSettledThrough(lane.lane, first === undefined ? lane.lastSequence : first - 1n);
}

/**
 * Closes every delivery of the lane's present epoch that is not settled, with one settlement in the books per run of
 * deliveries that never had a receipt. Call it inside a transaction. Returns how many were closed.
 */
export function closeEpoch(ports: SettlePorts, lane: LaneOut, code: string, reason: string): number {
  const { database, clock } = ports;
  const atMs = clock.nowMs();
  let closed = 0;
  let run: { first: bigint; last: bigint } | undefined;
  for (let after = -1n; ; ) {
    const page = database.deliveriesOut.unsettledAfter(lane.lane, lane.epoch, after, PAGE);
    for (const delivery of page) {
      after = delivery.sequence;
      moveAnswer(database, delivery, 'closed', atMs);
      closed += 1;
      // An opening holds no rows, and a receipt (even an open one) speaks for itself: neither needs our word.
      if (delivery.answer !== 'awaited' || delivery.role !== 'rows') continue;
      if (run !== undefined && run.last + 1n === delivery.sequence) run.last = delivery.sequence;
      else {
        if (run !== undefined) bookSettlement(ports, lane, run.first, run.last, code, reason);
        run = { first: delivery.sequence, last: delivery.sequence };
      }
    }
    if (page.length < PAGE) break;
  }
  if (run !== undefined) bookSettlement(ports, lane, run.first, run.last, code, reason);
  database.deliveriesOut.forgetAsked(lane.lane);
  return closed;
}

/** Writes a signed settlement for these sequences of the lane's present epoch into the books. */
export function bookSettlement(
  ports: SettlePorts,
  lane: LaneOut,
  first: bigint,
  last: bigint,
  code: string,
  reason: string,
): void {
  const { database, desired, signer, clock } = ports;
  const now = desired.current();
  database.jobs.noteLoss(lane.lane, lane.epoch);
  if (now === undefined) throw new Error('a settlement needs the platform and node that only a snapshot names');
  const settlement = Settlement.encode({
    platformId: parseId(now.platformId),
    laneId: lane.lane,
    bridgeId: lane.bridge,
    senderId: parseId(now.nodeId),
    receiverId: lane.receiver,
    epoch: { ordinal: lane.epoch, nonce: lane.nonce },
    firstSequence: first,
    lastSequence: last,
    code: code.slice(0, 64),
    reason: reason.slice(0, 1_000),
    atMs: BigInt(clock.nowMs()),
  }).finish();
  database.books.append({ $case: 'settlement', value: signer.sign('qiao.settlement.v1', settlement) }, clock.nowMs());
}

/** What a receipt for this delivery must echo: empty for an opening. */
export function contentHashOf(database: ExchangeDatabase, delivery: DeliveryOut): Uint8Array {
  if (delivery.parcel === undefined) return new Uint8Array(0);
  return database.parcels.get(delivery.parcel)?.contentHash ?? new Uint8Array(0);
}

function isOver(answer: Answer): boolean {
  return answer === 'settled' || answer === 'closed';
}
