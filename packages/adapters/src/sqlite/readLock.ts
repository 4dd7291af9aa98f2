/**
 * The read transaction of a snapshot, and when it is given up so that nobody who writes is harmed.
 *
 * In WAL mode one read transaction is held for the whole snapshot: writers go on, the reader sees one state. In rollback-journal mode a
 * read transaction stops every commit, so it is held for at most half a second, given up for a moment, and taken again; the scan goes on by
 * key. If nobody committed in the meantime the whole is still one snapshot; if somebody did, `consistency` turns to 'chunks': every row is
 * as committed at some moment of the scan, no row is torn, a row that stays is seen exactly once, and a row that was inserted, deleted or given another key
 * meanwhile may be seen or not; the next scan brings it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Connection, failure, isWal, patiently } from './session.ts';

/** How long writers of a rollback-journal database may find it locked by us, and how long they then have for themselves. */
const HOLD_MS = 500;
const PAUSE_MS = 50;

/** The read transaction, and when it has to be given up. */
export class ReadLock {
  readonly #db: Connection;
  readonly #file: string;
  readonly #signal: AbortSignal;
  readonly #isWal: boolean;
  #timer: NodeJS.Timeout | undefined;
  #version: unknown;
  #isTorn = false;
  #mustPause = false;

  constructor(db: Connection, file: string, signal: AbortSignal) {
    this.#db = db;
    this.#file = file;
    this.#signal = signal;
    this.#isWal = isWal(db);
  }

  get isTorn(): boolean {
    return this.#isTorn;
  }

  /** Makes sure that a transaction is open. */
  async take(): Promise<void> {
    if (this.#db.inTransaction) return;
    if (this.#mustPause) {
      this.#mustPause = false;
      await sleep(PAUSE_MS, undefined, { signal: this.#signal });
    }
    await patiently(() => {
      this.#db.exec('BEGIN');
      try {
        // BEGIN alone takes nothing: the first read does.
        const version = this.#db.pragma('data_version', { simple: true });
        this.#db.prepare('SELECT count(*) FROM sqlite_schema').get();
        if (this.#version !== undefined && version !== this.#version) this.#isTorn = true;
        this.#version = version;
      } catch (error) {
        this.#db.exec('ROLLBACK');
        throw error;
      }
    }, this.#signal);
    if (this.#isWal) return;
    // A timer and not a check between chunks: whoever reads us may take its time over one chunk.
    this.#timer = setTimeout(() => this.#giveUp(), HOLD_MS);
    this.#timer.unref();
  }

  release(): void {
    clearTimeout(this.#timer);
    if (!this.#db.open || !this.#db.inTransaction) return;
    this.#mustPause = true;
    try {
      this.#db.exec('COMMIT');
    } catch (error) {
      throw failure(error, 'SOURCE_UNAVAILABLE', this.#file);
    }
  }

  /** For the timer, which has nobody to throw to: what fails here fails again when the lock is next used or closed. */
  #giveUp(): void {
    try {
      this.release();
    } catch {
      this.#mustPause = true;
    }
  }
}
