// A sender asks for receipts that the bus lost, or that were revised since: what is stored goes out again, and what this node
// never stored (its exchange database is a new one) is asked for as a delivery, so that the target's mark can answer.
//
// It also asks to find out whether one of the two ends was put back: see send/place.ts.

import type { KnownReceipt, ReceiptsWanted } from '@qiao/contract/control';
import { parseId, sameBytes } from '@qiao/exchange';
import type { ExchangeDatabase, LaneIn } from '../exchange-database/index.ts';
import type { Answers } from './answer.ts';
import type { Asker } from './ask.ts';

export interface GiveReceiptsPorts {
  readonly answers: Answers;
  readonly ask: Asker;
  readonly database: Pick<ExchangeDatabase, 'lanesIn'>;
}

/** Answers a verified question. Returns how many receipts go out. */
export function giveReceipts(wanted: ReceiptsWanted, senderId: string, ports: GiveReceiptsPorts): number {
  const { answers, ask, database } = ports;
  const { laneId: lane, epoch } = wanted;
  if (epoch === undefined) return 0;
  const state = database.lanesIn.get(lane);
  let given = 0;
  let missing: { first: bigint; last: bigint } | undefined;
  for (const known of wanted.known) {
    const { sequence, revision } = known;
    const place = { lane, epoch: epoch.ordinal, nonce: epoch.nonce, sequence };
    const answer = answers.giveNewer(place, revision, parseId(senderId));
    if (answer === 'given') given += 1;
    if (answer !== 'unknown') continue;
    // One request for a range: what lies between is known, and answered from what is stored.
    if (revision > 0 && !known.settled) missing = { first: missing?.first ?? sequence, last: sequence };
    else if (state?.targetId !== undefined) comparePlaces(known, { ...wanted, epoch }, state, senderId, ask);
  }
  if (missing !== undefined) {
    const { first, last } = missing;
    ask.resend({ lane, senderId, epoch: epoch.ordinal, nonce: epoch.nonce, first, last, reason: 'receipt lost' });
  }
  return given;
}

/** A delivery that should not be here is, or one that should be is not. */
function comparePlaces(
  { sequence, settled }: KnownReceipt,
  { laneId: lane, epoch }: ReceiptsWanted & { epoch: NonNullable<ReceiptsWanted['epoch']> },
  state: LaneIn,
  senderId: string,
  ask: Asker,
): void {
  const isSame = state.epoch === epoch.ordinal && sameBytes(state.nonce, epoch.nonce);
  const isHere = isSame && sequence <= state.appliedSequence;
  if (isHere && !settled) ask.sayPlace(state, senderId);
  if (isHere || !settled || (!isSame && state.epoch >= epoch.ordinal)) return;
  const first = isSame ? state.appliedSequence + 1n : 0n;
  ask.resend({
    lane,
    senderId,
    epoch: epoch.ordinal,
    nonce: epoch.nonce,
    first,
    last: 0n,
    reason: 'this end was put back',
  });
}
