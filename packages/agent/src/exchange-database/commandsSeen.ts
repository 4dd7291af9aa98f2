/**
 * Commands of the hub that this node began to carry out: an id is good once, also across a restart. It is kept until the command
 * expires, for an expired one is refused by its time.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

const TAKE = 'INSERT INTO command_seen (id, expires_at_ms) VALUES (?, ?) ON CONFLICT (id) DO NOTHING';
export const FORGET_COMMANDS = 'DELETE FROM command_seen WHERE expires_at_ms < ?';

export class CommandSeenStore {
  readonly #take: Statement<[Uint8Array, number]>;
  readonly #forget: Statement<[number]>;

  constructor(sqlite: Sqlite) {
    this.#take = sqlite.prepare(TAKE);
    this.#forget = sqlite.prepare(FORGET_COMMANDS);
  }

  /** Notes the id as taken; false when it was before. */
  take(id: Uint8Array, expiresAtMs: number, nowMs: number): boolean {
    this.#forget.run(nowMs);
    return this.#take.run(id, expiresAtMs).changes === 1;
  }
}
