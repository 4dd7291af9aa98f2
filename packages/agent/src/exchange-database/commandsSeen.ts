/**
 * Commands of the hub that this node began to carry out: an id is good once, also across a restart. An expired command is refused by its
 * time; the newest ids are kept nevertheless, for a clock that leapt ahead may come back within the life of a command.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

const TAKE = 'INSERT INTO command_seen (id, expires_at_ms) VALUES (?, ?) ON CONFLICT (id) DO NOTHING';
/** More than a hub gives within the life of a command. */
const KEPT = 10_000;
export const FORGET_COMMANDS = `DELETE FROM command_seen WHERE expires_at_ms < ? AND expires_at_ms <
 (SELECT expires_at_ms FROM command_seen WHERE expires_at_ms >= 0 ORDER BY expires_at_ms DESC LIMIT 1 OFFSET ${KEPT - 1})`;

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
