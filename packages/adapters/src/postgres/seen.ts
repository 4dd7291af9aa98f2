/**
 * What a snapshot sees of the log's transactions (G8 of adapter.ts).
 *
 * A transaction is visible when its number lies below the snapshot's end and is not among those that were running (manual, 9.27.9, "Transaction
 * ID and Snapshot Information Functions"). The log gives the lower half of the top transaction's number, and a snapshot names top transactions only. The
 * upper half follows from the snapshot's, for numbers that are in use at one time lie within half a round. That holds for a transaction near
 * the snapshot, not for one of years later: what commits behind the place where the log ended when the snapshot was taken is not visible.
 */
import { QiaoError } from '@qiao/exchange';
import { parseLsn } from './lsn.ts';
import type { Session } from './session.ts';

const HALF_ROUND = 1n << 31n;
const ROUND = 1n << 32n;

// The end of the log is read in a later statement than the one that took the snapshot: nobody visible in it commits behind that place.
const SEEN = 'SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.pg_current_wal_insert_lsn()::text';

interface Seen {
  readonly end: bigint;
  readonly running: ReadonlySet<bigint>;
  /** The snapshot's end of numbers. */
  readonly next: bigint;
}

/** In a snapshot that was taken before. */
export async function readSeen(session: Session): Promise<string> {
  const [row] = await session.rows(SEEN);
  return `${row?.[0]} ${row?.[1]}`;
}

let parsedLast: { readonly text: string; readonly seen: Seen } | undefined;

/** `at`: where the transaction's commit stands in the log. Throws LOG_POSITION_INVALID. */
export function isSeen(text: string, at: bigint, xid: number): boolean {
  if (parsedLast?.text !== text) parsedLast = { text, seen: parse(text) };
  const { end, running, next } = parsedLast.seen;
  if (at >= end) return false;
  const number = wholeNumber(xid, next);
  return number < next && !running.has(number);
}

/** The number that has this lower half and lies nearest to `near`. */
function wholeNumber(xid: number, near: bigint): bigint {
  const same = (near & ~(ROUND - 1n)) | BigInt(xid);
  if (same - near > HALF_ROUND) return same - ROUND;
  return near - same > HALF_ROUND ? same + ROUND : same;
}

function parse(text: string): Seen {
  const found = /^(\d+):(\d+):([\d,]*) (\S+)$/.exec(text);
  if (found === null)
    throw new QiaoError('LOG_POSITION_INVALID', 'found a snapshot that was not written by the PostgreSQL adapter');
  const running = (found[3] ?? '').split(',').filter((each) => each !== '');
  return { next: BigInt(found[2] ?? ''), running: new Set(running.map(BigInt)), end: parseLsn(found[4] ?? '') };
}
