// A node's heartbeat as it may be kept: what it says of itself stands beside what others say, and is added up, so one that claims
// too much, or a time past all time, is not taken.

import { Heartbeat } from '@qiao/contract/node';
import { QiaoError, readMessage } from '@qiao/exchange';

/** Services of 10,000 lanes, each with what it owes, and a thousand data sources. */
const MOST_IN_HEARTBEAT = 21_000;
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Throws MESSAGE_UNREADABLE, HEARTBEAT_INVALID. */
export function readHeartbeat(bytes: Uint8Array): Heartbeat {
  const heartbeat = readMessage(Heartbeat, bytes, 'heartbeat', MOST_IN_HEARTBEAT);
  // Sizes are shown as they are: some file systems call themselves larger than a number is exact.
  const { host, ...said } = heartbeat;
  if (!isSafe(said) || !isSafe(host?.cpuPercent)) {
    throw new QiaoError('HEARTBEAT_INVALID', 'found a moment or number outside 0 to 2^53, expected one within');
  }
  return heartbeat;
}

/** Whether every number in it is one that programs and people can reckon with. */
function isSafe(value: unknown): boolean {
  if (typeof value === 'bigint') return value >= 0n && value <= MAX_SAFE;
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return true;
  return Object.values(value).every(isSafe);
}
