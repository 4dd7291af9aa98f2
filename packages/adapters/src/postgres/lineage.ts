/**
 * Whether the log that is read now is the one that was read before. A position names the last transaction that was taken before it, so that a
 * server put back to an earlier state is known also when it has written past the position since: another transaction stands there, or none.
 */
import { QiaoError } from '@qiao/exchange';
import { lost } from '../log/lost.ts';
import { lsnText, parseLsn } from './lsn.ts';

/** The last transaction of the slot's: where its commit stands, and its number; without a number, nothing came since. */
interface Last {
  readonly at: bigint;
  readonly xid: number | undefined;
}

interface Position {
  readonly lsn: bigint;
  readonly last: Last | undefined;
}

/** Reads a position: a place alone (`16/B374D848`), with the transaction before it (`…@16/B374D000:731`) or without one since (`…@16/B374D000`). Throws LOG_POSITION_INVALID. */
export function parsePosition(text: string): Position {
  const [place = '', proof] = text.split('@', 2);
  const lsn = parseLsn(place);
  if (proof === undefined) return { lsn, last: undefined };
  const [at = '', xid] = proof.split(':', 2);
  if (xid !== undefined && !/^\d{1,10}$/.test(xid))
    throw new QiaoError('LOG_POSITION_INVALID', 'found a position with a transaction that has no number');
  return { lsn, last: { at: parseLsn(at), xid: xid === undefined ? undefined : Number(xid) } };
}

/** Negative when `a` lies before `b`. */
export function comparePositions(a: string, b: string): number {
  if (a === b) return 0;
  const [first, second] = [placeOf(a), placeOf(b)];
  return first < second ? -1 : first > second ? 1 : 0;
}

/** The place alone, of a position. Throws LOG_POSITION_INVALID. */
export function placeOf(position: string): bigint {
  const end = position.indexOf('@');
  return parseLsn(end < 0 ? position : position.slice(0, end));
}

export class Lineage {
  /** Where reading begins: at the transaction that must be there. */
  readonly begin: string;
  readonly #from: Position;
  #last: Last;
  /** The slot still has the last transaction, so it must come. */
  #isDue = false;
  #hasCome = false;
  #hasPassed = false;

  constructor(from: string) {
    this.#from = parsePosition(from);
    this.#last = this.#from.last ?? { at: this.#from.lsn, xid: undefined };
    this.begin = lsnText(this.#last.at);
  }

  /** The slot has everything that committed at this place or behind it. Throws LOG_LOST. */
  keptFrom(lsn: bigint): void {
    this.#isDue = this.#from.last?.xid !== undefined && lsn <= this.#from.last.at;
    this.#judge();
  }

  /** A transaction whose commit stands there. Throws LOG_LOST. */
  transaction(at: bigint, xid: number): void {
    const { last, lsn } = this.#from;
    if (last !== undefined && at < lsn) {
      if (at !== last.at || xid !== last.xid) throw anotherLog();
      this.#hasCome = true;
    }
    this.reached(at);
    this.#last = { at, xid };
  }

  /** Everything that committed before this place has come. Throws LOG_LOST. */
  reached(lsn: bigint): void {
    if (this.#hasPassed || lsn <= this.#last.at) return;
    this.#hasPassed = true;
    this.#judge();
  }

  /** The position at this place, behind everything that has come. */
  positionAt(lsn: bigint): string {
    const { at, xid } = this.#last;
    return `${lsnText(lsn)}@${lsnText(at)}${xid === undefined ? '' : `:${xid}`}`;
  }

  #judge(): void {
    if (this.#isDue && this.#hasPassed && !this.#hasCome) throw anotherLog();
  }
}

function anotherLog(): QiaoError {
  return lost(
    'what stands in its log is not what was taken from it: the database was put back, and has written more since',
  );
}
