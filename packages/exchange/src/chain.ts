import type { KindCount } from './counts.ts';
export const CHAIN_BYTES = 32;
/** The chain value before the opening: 32 zero bytes. */
export const NO_CHAIN: Uint8Array = new Uint8Array(CHAIN_BYTES);
export interface ChainLink {
  previousChain: Uint8Array;
  laneId: Uint8Array;
  epoch: { ordinal: bigint; nonce: Uint8Array };
  sequence: bigint;
  contentHash: Uint8Array;
  counts: readonly (KindCount | { table: string; inserts: bigint; updates: bigint; deletes: bigint })[];
}
export function chainOf(link: ChainLink): Uint8Array {
  throw new Error(String(link));
}
