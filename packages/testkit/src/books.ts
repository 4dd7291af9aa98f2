// What a story asks of the books: reads them over the monitor's own service, as `qiao reconcile --json` prints them, and waits.
// One connection is kept: a story that waits would otherwise start a CLI many times a second and slow what it watches.

import type { Board, ReconcileResponse } from '@qiao/contract/monitor';
import type { Platform } from './platform.ts';

/** How often a waiting story looks again, milliseconds. */
const LOOK_EVERY_MS = 100;

export interface BooksLine {
  readonly bridge: string;
  readonly sourceNode: string;
  readonly destinationNode: string;
  readonly verdict: string;
  readonly sent: SideCounts;
  readonly received: SideCounts;
  readonly outcomes: readonly { table: string; sent: string; outcome: string; rows: number }[];
  readonly origins: readonly { origin: string; rows: number }[];
  readonly extras: readonly { table: string; deleted: number; kept: number }[];
  readonly deliveries: number;
  readonly receipted: number;
  readonly inFlightDeliveries: number;
  readonly forgottenDeliveries: number;
  readonly openRows: number;
  readonly remarks: readonly string[];
}

export interface SideCounts {
  readonly total: number;
  readonly inserts: number;
  readonly updates: number;
  readonly deletes: number;
}

/** The books, of one bridge or of all. */
export interface Books {
  readonly verdict: string;
  readonly lines: BooksLine[];
  /** Somebody was not heard, or the monitor has not got all that it was told once. */
  readonly incomplete: boolean;
}

export async function readBooks(platform: Platform, bridge = ''): Promise<Books> {
  const request = { bridge, fromDay: '', toDay: '', fromDepartment: '', toDepartment: '', byDay: false };
  return plain(await platform.books.reconcile(request)) as Books;
}

export interface BoardState {
  readonly lanes: readonly {
    books?: { bridge: string };
    capture: string;
    send: string;
    apply: string;
    code: string;
    lastAppliedAtMs: number;
  }[];
  readonly alerts: readonly { code: string; subject: string }[];
}

/** The health board: the state of every lane, and the open alerts. */
export async function readBoard(platform: Platform): Promise<BoardState> {
  return plain(await platform.books.getBoard({})) as BoardState;
}

/** As the CLI prints it for programs: counts as numbers, bytes as hexadecimal text. */
function plain(message: ReconcileResponse | Board): unknown {
  const text = JSON.stringify(message, (_key, value: unknown) => {
    if (typeof value === 'bigint') return Number(value);
    return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
  });
  return JSON.parse(text);
}

/**
 * Asks `condition` again and again, as an operator watching would, until it answers something else than undefined or false.
 * Throws with the last state and every log past the deadline.
 */
export async function until<T>(
  platform: Platform | undefined,
  what: string,
  condition: () => Promise<T | undefined | false> | T | undefined | false,
  deadlineMs = 90_000,
): Promise<T> {
  const endsAt = Date.now() + deadlineMs;
  let lastError: unknown;
  while (Date.now() < endsAt) {
    try {
      const answer = await condition();
      if (answer !== undefined && answer !== false) return answer;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  const why =
    lastError === undefined
      ? ''
      : `\nlast error: ${lastError instanceof Error ? lastError.message : String(lastError)}`;
  const log = platform === undefined ? '' : `\n${platform.logs}`;
  throw new Error(`not within ${deadlineMs} ms: ${what}${why}${log}`);
}
