/**
 * The chain that ties each delivery of an epoch to the one before it: SHA-256 over a fixed encoding of what the sender
 * may never change in a resend. A void has the counts and content hash of the delivery it closes, so the chain goes on.
 */
import { createHash } from 'node:crypto';
import { QiaoError } from './errors.ts';
import { ID_BYTES } from './ids.ts';

/** Bytes of a chain value. */
export const CHAIN_BYTES = 32;

/** The value before an opening: 32 zero bytes. */
export const NO_CHAIN: Uint8Array = new Uint8Array(CHAIN_BYTES);

/** What one chain value covers. Counts may be the house's or the contract's; their order does not matter. */
export interface ChainLink {
  previousChain: Uint8Array;
  laneId: Uint8Array;
  epoch: { ordinal: bigint; nonce: Uint8Array };
  sequence: bigint;
  /** 32 bytes, or none for an opening. */
  contentHash: Uint8Array;
  counts: readonly { table: string; inserts: number | bigint; updates: number | bigint; deletes: number | bigint }[];
}

const LABEL = Buffer.from('qiao.chain.v1\0');

/**
 * The chain value of a delivery: 32 bytes. The encoding is label, previous chain, lane, ordinal (u64), nonce, sequence
 * (u64), hash length (u8) and hash, tables (u32), and per table in byte order its name's length (u32), name and three
 * counts (u64); all big-endian. Throws CHAIN_INVALID for parts of another length.
 */
export function chainOf(link: ChainLink): Uint8Array {
  expectLength('previous chain', link.previousChain, CHAIN_BYTES);
  expectLength('lane', link.laneId, ID_BYTES);
  expectLength('epoch nonce', link.epoch.nonce, ID_BYTES);
  if (link.contentHash.length !== 0) expectLength('content hash', link.contentHash, 32);

  const hash = createHash('sha256');
  hash.update(LABEL);
  hash.update(link.previousChain);
  hash.update(link.laneId);
  hash.update(u64(link.epoch.ordinal));
  hash.update(link.epoch.nonce);
  hash.update(u64(link.sequence));
  hash.update(Uint8Array.of(link.contentHash.length));
  hash.update(link.contentHash);
  const tables = link.counts
    .map((count) => ({ name: Buffer.from(count.table), count }))
    .sort((a, b) => Buffer.compare(a.name, b.name));
  hash.update(u32(tables.length));
  for (const { name, count } of tables) {
    hash.update(u32(name.length));
    hash.update(name);
    hash.update(u64(count.inserts));
    hash.update(u64(count.updates));
    hash.update(u64(count.deletes));
  }
  return new Uint8Array(hash.digest());
}

function expectLength(what: string, bytes: Uint8Array, length: number): void {
  if (bytes.length !== length) {
    throw new QiaoError('CHAIN_INVALID', `Found a ${what} of ${bytes.length} bytes; expected ${length}.`);
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function u64(value: number | bigint): Buffer {
  const whole = BigInt(value);
  if (whole < 0n || whole > 0xffff_ffff_ffff_ffffn) {
    throw new QiaoError('CHAIN_INVALID', `Found ${whole}; expected a number of 64 bits.`);
  }
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(whole);
  return bytes;
}
