/** Control messages that wait for the bus: receipts, resend requests, refusals, actual state. Small, in order, durable. */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

export interface ControlOut {
  readonly number: number;
  /** Encoded ControlMessage. */
  readonly message: Uint8Array;
  readonly madeAtMs: number;
}

const ADD = 'INSERT OR REPLACE INTO control_out (topic, message, made_at_ms) VALUES (?, ?, ?)';
const NEXT = 'SELECT number, message, made_at_ms AS madeAtMs FROM control_out ORDER BY number LIMIT ?';
const SENT = 'DELETE FROM control_out WHERE number = ?';
const COUNT = 'SELECT count(*) FROM control_out';

export class ControlOutStore {
  readonly #add: Statement;
  readonly #next: Statement<[number], ControlOut>;
  readonly #sent: Statement;
  readonly #count: Statement<[], number>;

  constructor(sqlite: Sqlite) {
    this.#add = sqlite.prepare(ADD);
    this.#next = sqlite.prepare(NEXT);
    this.#sent = sqlite.prepare(SENT);
    this.#count = sqlite.prepare<[], number>(COUNT).pluck();
  }

  /**
   * Queues a message; may run inside a caller's transaction. With a `topic`, one that still waits under the same topic is
   * replaced (a receipt's newer revision, a newer actual state), so that the queue is bounded by its topics.
   */
  add(message: Uint8Array, madeAtMs: number, topic?: string): void {
    this.#add.run(topic ?? null, message, madeAtMs);
  }

  /** The oldest messages, at most `limit`. */
  next(limit: number): ControlOut[] {
    return this.#next.all(limit);
  }

  /** The bus holds it. */
  sent(number: number): void {
    this.#sent.run(number);
  }

  count(): number {
    return this.#count.get() ?? 0;
  }
}
