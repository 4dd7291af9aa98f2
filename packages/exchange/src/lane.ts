/**
 * What a receiver does with a delivery that arrives, and whether a sender may send one more: pure decisions of the lane
 * protocol. Signatures, storage and answers belong to the callers.
 */
import type { DeliveryHeader } from '@qiao/contract/delivery';
import { QiaoError } from './errors.ts';
import { sameBytes } from './ids.ts';

/** Where a receiver's lane stands: the last place applied. */
export interface LanePoint {
  epoch: bigint;
  nonce: Uint8Array;
  sequence: bigint;
  /** Chain value of that place: 32 bytes. */
  chain: Uint8Array;
}

export type Arrival =
  /** Apply it. */
  | { kind: 'next' }
  /** Apply the opening: what is left of the epoch before is cancelled. */
  | { kind: 'opensEpoch' }
  /** Answer again with the stored receipt. */
  | { kind: 'alreadyApplied' }
  /** Keep it and ask for what is missing from `expected` on. */
  | { kind: 'early'; expected: bigint }
  /** Answer that its epoch ended; never apply it. */
  | { kind: 'closedEpoch' }
  /** Keep it and ask for its epoch's opening. */
  | { kind: 'unknownEpoch' }
  /** Refuse it, stop the lane, open an alert. */
  | { kind: 'fork'; why: string };

/**
 * What an arrived header is to a lane at `point` (undefined: nothing was ever applied). `applied` is what the receiver
 * has stored for this very epoch and sequence, when it still has it. Throws HEADER_INVALID without an epoch.
 */
export function arrivalOf(
  point: LanePoint | undefined,
  header: DeliveryHeader,
  applied?: { contentHash: Uint8Array },
): Arrival {
  const epoch = header.epoch;
  if (epoch === undefined) throw new QiaoError('HEADER_INVALID', 'Found a header without an epoch.');
  const opens = header.role?.$case === 'opening';
  if (opens !== (header.sequence === 0n)) {
    throw new QiaoError(
      'HEADER_INVALID',
      `Found sequence ${header.sequence} on ${opens ? 'an opening' : 'a delivery'}.`,
      {
        hint: 'Openings have sequence 0, deliveries count from 1.',
      },
    );
  }

  if (point === undefined || epoch.ordinal > point.epoch) return { kind: opens ? 'opensEpoch' : 'unknownEpoch' };
  if (epoch.ordinal < point.epoch) return { kind: 'closedEpoch' };
  if (!sameBytes(epoch.nonce, point.nonce)) {
    return { kind: 'fork', why: `epoch ${epoch.ordinal} was opened twice: the sender was copied or restored` };
  }

  if (header.sequence <= point.sequence) {
    if (applied !== undefined && !sameBytes(applied.contentHash, header.contentHash)) {
      return { kind: 'fork', why: `sequence ${header.sequence} was applied with another content hash` };
    }
    return { kind: 'alreadyApplied' };
  }
  const expected = point.sequence + 1n;
  if (header.sequence > expected) return { kind: 'early', expected };
  if (!sameBytes(header.previousChain, point.chain)) {
    return { kind: 'fork', why: `sequence ${header.sequence} continues another history than the one applied` };
  }
  return { kind: 'next' };
}

/** Whether a lane may put `nextBytes` more on the bus. One delivery may always be under way, however large. */
export function sendable(window: { limitBytes: number; unreceiptedBytes: number }, nextBytes: number): boolean {
  return window.unreceiptedBytes === 0 || window.unreceiptedBytes + nextBytes <= window.limitBytes;
}
