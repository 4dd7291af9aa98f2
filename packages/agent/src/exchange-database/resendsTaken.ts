/**
 * Resend requests that were carried out, so that one the bus brings again is no news. Only the newest of each lane are kept: its
 * receiver decides how many it sends, and may not fill this file with them.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

/** The bus brings again what was not acknowledged, and a receiver asks for one lane once in seconds: far more than are under way. */
export const RESENDS_KEPT = 64;

export const HAS_RESEND = 'SELECT 1 FROM resend_taken WHERE lane = ? AND request = ?';
const ADD = 'INSERT INTO resend_taken (lane, request) VALUES (?, ?) ON CONFLICT (lane, request) DO NOTHING';
export const KEEP_NEWEST_RESENDS = `DELETE FROM resend_taken WHERE lane = ? AND number <=
 (SELECT number FROM resend_taken WHERE lane = ? ORDER BY number DESC LIMIT 1 OFFSET ${RESENDS_KEPT})`;
export const FORGET_RESENDS = 'DELETE FROM resend_taken WHERE lane = ?';

export class ResendTakenStore {
  readonly #has: Statement<[Uint8Array, Uint8Array], number>;
  readonly #add: Statement;
  readonly #keepNewest: Statement;
  readonly #forget: Statement;

  constructor(sqlite: Sqlite) {
    this.#has = sqlite.prepare<[Uint8Array, Uint8Array], number>(HAS_RESEND).pluck();
    this.#add = sqlite.prepare(ADD);
    this.#keepNewest = sqlite.prepare(KEEP_NEWEST_RESENDS);
    this.#forget = sqlite.prepare(FORGET_RESENDS);
  }

  has(lane: Uint8Array, request: Uint8Array): boolean {
    return this.#has.get(lane, request) !== undefined;
  }

  /** Notes it; the oldest of the lane gives way. */
  add(lane: Uint8Array, request: Uint8Array): void {
    this.#add.run(lane, request);
    this.#keepNewest.run(lane, lane);
  }

  removeLane(lane: Uint8Array): void {
    this.#forget.run(lane);
  }
}
