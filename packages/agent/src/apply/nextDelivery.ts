// What a lane does next, decided from its point and its inbox alone: apply the next delivery, open the next epoch, answer a
// place that the target knows already, ask for what is missing, or wait. Pure decisions over the stores; nothing is changed.

import type { ExchangeDatabase, InboxDelivery, LaneIn } from '../exchange-database/index.ts';

export type NextStep =
  | { readonly kind: 'apply'; readonly delivery: InboxDelivery }
  | {
      readonly kind: 'missing';
      readonly epoch: bigint;
      readonly nonce: Uint8Array;
      readonly first: bigint;
      readonly last: bigint;
    }
  | { readonly kind: 'wait' };

export type InboxView = Pick<ExchangeDatabase['inbox'], 'get' | 'lowestFrom' | 'firstOfNewestEpoch'>;

/** The next step of a lane; `onlyNewEpoch` for lanes that stopped at a fork or a replaced target. */
export function nextStep(state: LaneIn, inbox: InboxView, onlyNewEpoch: boolean): NextStep {
  const newest = inbox.firstOfNewestEpoch(state.lane, state.epoch);
  if (newest !== undefined) {
    // The opening goes first: its sender has closed what was not receipted of the epochs before, also those whose opening was
    // lost and which it cannot send again.
    if (newest.sequence === 0n) return { kind: 'apply', delivery: newest };
    return missing(newest, 0n, newest.sequence - 1n);
  }
  if (onlyNewEpoch) return { kind: 'wait' };
  const lowest = state.epoch === 0n ? undefined : inbox.lowestFrom(state.lane, state.epoch, 0n);
  if (lowest === undefined) return owed(state);
  const expected = state.appliedSequence + 1n;
  if (lowest.sequence > expected) return missing(lowest, expected, lowest.sequence - 1n);
  // At the place expected, or at a known one that has lost its receipt: the target's mark answers both.
  const complete = inbox.get(lowest);
  return complete === undefined ? { kind: 'wait' } : { kind: 'apply', delivery: complete };
}

/** The target had more before it was restored, and has it not again. */
export function isLost({ epoch, appliedSequence, owed }: Pick<LaneIn, 'epoch' | 'appliedSequence' | 'owed'>): boolean {
  return owed.epoch > epoch || (owed.epoch === epoch && owed.sequence > appliedSequence);
}

/** What the target had before it was restored, if it is not there again. */
function owed(state: LaneIn): NextStep {
  if (!isLost(state)) return { kind: 'wait' };
  const { epoch, appliedSequence, owed } = state;
  const first = owed.epoch === epoch ? appliedSequence + 1n : 0n;
  return { kind: 'missing', epoch: owed.epoch, nonce: owed.nonce, first, last: 0n };
}

function missing(found: InboxDelivery, first: bigint, last: bigint): NextStep {
  return { kind: 'missing', epoch: found.epoch, nonce: found.nonce, first, last };
}
