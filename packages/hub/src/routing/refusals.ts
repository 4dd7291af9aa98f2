// Owns the closed table of refusals: what each code tells the sender to do, and the next command for a person. The road that
// leads to a refusal is verifyDelivery.ts; writing them down is refusalBook.ts.

import { type Refusal, RefusalFate } from '@qiao/contract/control';
import type { DeliveryHeader } from '@qiao/contract/delivery';

/**
 * - MESSAGE_UNREADABLE: the bytes are no delivery; damaged on the way, the sender's timer brings it again.
 * - SENDER_MISMATCH: the header names another sender than the subject it came on.
 * - NODE_REVOKED: the sender's rights were ended, or it never joined.
 * - CERTIFICATE_EXPIRED: the sender's certificate is past its end.
 * - SIGNATURE_INVALID: no signature of this sender covers these bytes for this purpose.
 * - HEADER_INVALID: signed, but outside the contract's limits.
 * - PLATFORM_UNKNOWN: signed for another platform.
 * - FENCED: a newer start of the sender exists.
 * - BRIDGE_UNKNOWN: this hub does not know the bridge; senders know only what it signed, so it may have been restored.
 * - VERSION_UNKNOWN: the bridge never had that version deployed.
 * - NOT_THE_SOURCE: the sender is not the bridge's source.
 * - DESTINATION_NOT_BOUND: the lane is not one of this bridge to this receiver.
 * - LANE_ENDED: the destination was unbound or the bridge retired.
 * - EPOCH_TOO_LOW: a higher epoch of the lane is known, or another one of the same ordinal.
 * - BODY_TAMPERED: the sealed bytes are not those that the header signs.
 * - NOT_ALLOWED: the catalog does not let these rows travel.
 * - DESTINATION_REVOKED: the receiver's rights were ended; it may join again.
 * - DESTINATION_BUSY: the receiver's share of the bus is full.
 */
const REFUSALS = {
  MESSAGE_UNREADABLE: { fate: RefusalFate.RESEND, hint: 'qiao bridge refusals' },
  SENDER_MISMATCH: { fate: RefusalFate.STOP, hint: 'qiao node list  # is this identity used on two machines?' },
  NODE_REVOKED: { fate: RefusalFate.STOP, hint: 'qiao node list' },
  CERTIFICATE_EXPIRED: { fate: RefusalFate.RESEND, hint: 'qiao node invite CODE  # then join again' },
  SIGNATURE_INVALID: { fate: RefusalFate.RESEND, hint: 'qiao node show CODE  # compare the fingerprint' },
  HEADER_INVALID: { fate: RefusalFate.STOP, hint: 'compare the versions of hub and agent' },
  PLATFORM_UNKNOWN: { fate: RefusalFate.STOP, hint: 'join the agent to this platform' },
  FENCED: { fate: RefusalFate.STOP, hint: 'stop the other process that runs under this node’s identity' },
  BRIDGE_UNKNOWN: { fate: RefusalFate.RESEND, hint: 'qiao bridge list --all' },
  VERSION_UNKNOWN: { fate: RefusalFate.VOID, hint: 'qiao bridge show NAME' },
  NOT_THE_SOURCE: { fate: RefusalFate.STOP, hint: 'qiao bridge show NAME' },
  DESTINATION_NOT_BOUND: { fate: RefusalFate.VOID, hint: 'qiao bridge bind NAME -f DESTINATION' },
  LANE_ENDED: { fate: RefusalFate.VOID, hint: 'qiao bridge show NAME' },
  EPOCH_TOO_LOW: { fate: RefusalFate.NEW_EPOCH, hint: 'the sender opens a new epoch by itself' },
  BODY_TAMPERED: { fate: RefusalFate.RESEND, hint: 'qiao bridge refusals' },
  NOT_ALLOWED: { fate: RefusalFate.VOID, hint: 'renew the grant in the catalog' },
  DESTINATION_REVOKED: { fate: RefusalFate.RESEND, hint: 'qiao node invite CODE, or qiao bridge unbind NAME CODE' },
  DESTINATION_BUSY: { fate: RefusalFate.RESEND, hint: 'qiao node show CODE  # does the destination run?' },
} as const satisfies Record<string, { fate: RefusalFate; hint: string }>;

type RefusalCode = keyof typeof REFUSALS;

/** What a refusal keeps of a header: where the delivery lies in its lane, and which attempt at it this was. */
export type DeliveryPlace = Pick<DeliveryHeader, 'laneId' | 'epoch' | 'sequence' | 'contentHash'>;

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Undefined for a header too odd to be written down and echoed. */
export function placeOf({ laneId, epoch, sequence, contentHash }: DeliveryHeader): DeliveryPlace | undefined {
  const isPlaced =
    laneId.length === 16 &&
    sequence <= MAX_SAFE &&
    (epoch === undefined || (epoch.ordinal <= MAX_SAFE && epoch.nonce.length === 16)) &&
    contentHash.length <= 32;
  return isPlaced ? { laneId, epoch, sequence, contentHash } : undefined;
}

export interface RefusalFacts {
  readonly code: RefusalCode;
  readonly message: string;
  /** Of the delivery refused; undefined when its header was unreadable or not the sender's, and so was never part of a lane. */
  readonly place?: DeliveryPlace | undefined;
  /** With NEW_EPOCH. */
  readonly highestEpoch?: bigint;
  /** Another fate than the table's, with its reason where it is decided. */
  readonly fate?: RefusalFate;
}

/** The refusal as the sender gets it. */
export function contractRefusal({ code, message, place, highestEpoch = 0n, fate }: RefusalFacts): Refusal {
  return {
    laneId: place?.laneId ?? new Uint8Array(),
    epoch: place?.epoch,
    sequence: place?.sequence ?? 0n,
    code,
    message: message.slice(0, 1_000),
    hint: REFUSALS[code].hint,
    fate: fate ?? REFUSALS[code].fate,
    highestEpoch,
    contentHash: place?.contentHash ?? new Uint8Array(),
    fencingToken: 0n,
  };
}
