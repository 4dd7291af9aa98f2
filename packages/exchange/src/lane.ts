import type { DeliveryHeader } from '@qiao/contract/delivery';
/** Where a receiver's lane stands. */
export interface LanePoint {
  epoch: bigint;
  nonce: Uint8Array;
  sequence: bigint;
  chain: Uint8Array;
}
export type Arrival =
  | { kind: 'next' }
  | { kind: 'opensEpoch' }
  | { kind: 'alreadyApplied' }
  | { kind: 'early'; expected: bigint }
  | { kind: 'closedEpoch' }
  | { kind: 'unknownEpoch' }
  | { kind: 'fork'; why: string };
export function arrivalOf(
  point: LanePoint | undefined,
  header: DeliveryHeader,
  applied?: { contentHash: Uint8Array },
): Arrival {
  throw new Error(String([point, header, applied]));
}
export function sendable(window: { limitBytes: number; unreceiptedBytes: number }, nextBytes: number): boolean {
  throw new Error(String([window, nextBytes]));
}
