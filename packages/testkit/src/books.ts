// What a story asks of the books: waits until they are at rest, and reads them as the CLI prints them for programs.

import type { Platform } from './platform.ts';

export interface BooksLine {
  readonly bridge: string;
  readonly sourceNode: string;
  readonly destinationNode: string;
  readonly verdict: string;
  readonly sent: SideCounts;
  readonly received: SideCounts;
  readonly outcomes: readonly { table: string; sent: string; outcome: string; rows: number }[];
  readonly extras: readonly { table: string; deleted: number; kept: number }[];
  readonly deliveries: number;
  readonly receipted: number;
  readonly inFlightDeliveries: number;
  readonly openRows: number;
  readonly remarks: readonly string[];
}

export interface SideCounts {
  readonly total: number;
  readonly inserts: number;
  readonly updates: number;
  readonly deletes: number;
}

/** The books as `qiao reconcile --json` gives them. */
export async function readBooks(platform: Platform, bridge?: string): Promise<{ verdict: string; lines: BooksLine[] }> {
  const answer = await platform.qiao('reconcile', ...(bridge === undefined ? [] : [bridge]), '--json');
  return JSON.parse(answer.stdout) as { verdict: string; lines: BooksLine[] };
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
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const why =
    lastError === undefined
      ? ''
      : `\nlast error: ${lastError instanceof Error ? lastError.message : String(lastError)}`;
  const log = platform === undefined ? '' : `\n${platform.logs}`;
  throw new Error(`not within ${deadlineMs} ms: ${what}${why}${log}`);
}
