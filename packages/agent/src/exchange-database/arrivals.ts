/**
 * The last word of another node, by key: the digest of the row that it sent, or that it has none, and the tables that the change had passed. A
 * change found here that says the same is that word, landed: it goes on with its path, and never to a table that it passed. One per key: what
 * was sent from here since makes it void. Where one node's word comes over another's, what the destination said stays beside it; where it comes
 * over one of its own that landed and was not found yet, that one is kept, too: the log tells of both in turn.
 *
 * A word that landed, and whose change a whole scan may have taken with it, is looked at by its key.
 */
import type { Path } from '@qiao/exchange';
import type { Statement } from 'better-sqlite3';
import { ArrivalPaths } from './arrivalPaths.ts';
import type { Sqlite } from './connection.ts';

/** In place of a digest: the row was deleted. */
export const GONE = 'gone';
/** Words of one step through a table. */
const PAGE = 10_000;

export interface Arrival {
  readonly key: string;
  /** As the digests have it, or GONE. */
  readonly digest: string;
  /** What the destination said last, where this is another's word over it: a digest, or GONE. */
  readonly there?: string | undefined;
  /** What was said before by the same way and may be found yet: digests or GONE, the oldest first. */
  readonly earlier?: readonly string[];
}

/** What was said of one row. */
export interface Word extends Omit<Arrival, 'key'> {
  readonly path: Path;
  /**
   * The row is in the target as it says; or a look at what is there was put off until it would land, and it was answered otherwise. Else it may be
   * about to land, or it waits, or the row here stayed against it.
   */
  readonly isLanded: boolean;
  readonly earlier: readonly string[];
}

export const ARRIVED = `SELECT digest, there, landed, earlier, format, path FROM arrival JOIN arrival_path ON id = path_id
 WHERE table_id = ? AND key = ?`;
export const ANY_ARRIVED = 'SELECT 1 FROM arrival WHERE table_id = ? LIMIT 1';
export const ARRIVAL_OVER = 'DELETE FROM arrival WHERE table_id = ? AND key = ? AND digest = ?';
export const THERE_OVER = 'UPDATE arrival SET there = NULL WHERE table_id = ? AND key = ? AND there = ?';
const KEY_OVER = 'DELETE FROM arrival WHERE table_id = ? AND key = ?';
export const LANDED = 'UPDATE arrival SET landed = 1 WHERE table_id = ? AND key = ? AND digest = ?';
export const STAYED = `${LANDED} AND look = 1`;
export const LOOK = 'UPDATE arrival SET look = 1 WHERE table_id = ? AND key = ? AND digest = ?';
export const EARLIER_FOUND = 'UPDATE arrival SET earlier = ?, look = 1 WHERE table_id = ? AND key = ?';
export const LOOKED = 'UPDATE arrival SET look = 0 WHERE table_id = ? AND key = ?';
export const DUE = 'SELECT key, digest FROM arrival WHERE table_id = ? AND landed = 1 AND look = 1 LIMIT ?';
const ANY_DUE = 'SELECT 1 FROM arrival WHERE landed = 1 AND look = 1 LIMIT 1';
export const SEEN_UNKNOWN = `SELECT count(*) FROM arrival AS a WHERE table_id = ? AND look = 2 AND digest <> '${GONE}'
 AND NOT EXISTS (SELECT 1 FROM row_digest AS d WHERE d.table_id = a.table_id AND d.key = a.key)`;
export const PAGE_END = `SELECT max(key) FROM
 (SELECT key FROM arrival WHERE table_id = ? AND key > ? ORDER BY key LIMIT ${PAGE})`;
const IN_PAGE = 'table_id = @tableId AND key > @after AND key <= @through';
/** What is done to a page of words. */
export const PAGES = {
  seen: `UPDATE arrival SET look = 3 - landed WHERE ${IN_PAGE}`,
  look: `UPDATE arrival SET look = 1, earlier = '' WHERE ${IN_PAGE} AND look > 1`,
  sentOver: `DELETE FROM arrival WHERE ${IN_PAGE} AND EXISTS
 (SELECT 1 FROM row_digest AS d WHERE d.table_id = arrival.table_id AND d.key = arrival.key AND d.sent = 1)`,
  over: `DELETE FROM arrival WHERE ${IN_PAGE}`,
} as const;
const PUT = `INSERT INTO arrival (table_id, key, digest, path_id, there, earlier) VALUES (?, ?, ?, ?, ?, ?)
 ON CONFLICT (table_id, key) DO UPDATE SET digest = excluded.digest, path_id = excluded.path_id, there = excluded.there,
 earlier = excluded.earlier, landed = 0`;

export type Pages = keyof typeof PAGES;

interface WordRow {
  digest: string;
  there: string | null;
  landed: number;
  earlier: string;
  format: number;
  path: string;
}

export class ArrivalStore {
  readonly #paths: ArrivalPaths;
  readonly #get: Statement<[number, string], WordRow>;
  readonly #any: Statement<[number], number>;
  readonly #put: Statement<[number, string, string, number, string | null, string]>;
  readonly #over: Statement<[number, string, string]>;
  readonly #thereOver: Statement<[number, string, string]>;
  readonly #keyOver: Statement<[number, string]>;
  readonly #landed: Statement<[number, string, string]>;
  readonly #stayed: Statement<[number, string, string]>;
  readonly #look: Statement<[number, string, string]>;
  readonly #earlierFound: Statement<[string, number, string]>;
  readonly #looked: Statement<[number, string]>;
  readonly #due: Statement<[number, number], Arrival>;
  readonly #anyDue: Statement<[], number>;
  readonly #seenUnknown: Statement<[number], number>;
  readonly #pageEnd: Statement<[number, string], string | null>;
  readonly #pages: Readonly<Record<Pages, Statement<[{ tableId: number; after: string; through: string }]>>>;

  constructor(sqlite: Sqlite) {
    this.#paths = new ArrivalPaths(sqlite);
    this.#get = sqlite.prepare(ARRIVED);
    this.#any = sqlite.prepare<[number], number>(ANY_ARRIVED).pluck();
    this.#put = sqlite.prepare(PUT);
    this.#over = sqlite.prepare(ARRIVAL_OVER);
    this.#thereOver = sqlite.prepare(THERE_OVER);
    this.#keyOver = sqlite.prepare(KEY_OVER);
    this.#landed = sqlite.prepare(LANDED);
    this.#stayed = sqlite.prepare(STAYED);
    this.#look = sqlite.prepare(LOOK);
    this.#earlierFound = sqlite.prepare(EARLIER_FOUND);
    this.#looked = sqlite.prepare(LOOKED);
    this.#due = sqlite.prepare(DUE);
    this.#anyDue = sqlite.prepare<[], number>(ANY_DUE).pluck();
    this.#seenUnknown = sqlite.prepare<[number], number>(SEEN_UNKNOWN).pluck();
    this.#pageEnd = sqlite.prepare<[number, string], string | null>(PAGE_END).pluck();
    this.#pages = {
      seen: sqlite.prepare(PAGES.seen),
      look: sqlite.prepare(PAGES.look),
      sentOver: sqlite.prepare(PAGES.sentOver),
      over: sqlite.prepare(PAGES.over),
    };
  }

  /** All came by this path; none has landed yet. */
  put(tableId: number, arrivals: readonly Arrival[], path: Path): void {
    if (arrivals.length === 0) return;
    const pathId = this.#paths.idOf(path);
    for (const { key, digest, there, earlier } of arrivals)
      this.#put.run(tableId, key, digest, pathId, there ?? null, (earlier ?? []).join(' '));
  }

  hasAny(tableId: number): boolean {
    return this.#any.get(tableId) !== undefined;
  }

  /** Those of these keys that there are, by key. */
  getMany(tableId: number, keys: readonly string[]): Map<string, Word> {
    const found = new Map<string, Word>();
    if (!this.hasAny(tableId)) return found;
    for (const key of keys) {
      const word = this.#get.get(tableId, key);
      if (word === undefined) continue;
      const { digest, there, landed, earlier, format, path } = word;
      found.set(key, {
        digest,
        path: this.#paths.read(format, path),
        there: there ?? undefined,
        isLanded: landed === 1,
        earlier: earlier === '' ? [] : earlier.split(' '),
      });
    }
    return found;
  }

  /** Their deliveries are in the target, and their rows are neither open nor kept. */
  landed(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#landed.run(tableId, key, digest);
  }

  /** Their deliveries are answered, and some of them stayed off: whatever was put off until they would land is due now. */
  stayed(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#stayed.run(tableId, key, digest);
  }

  /** Forgets these; of one that a later word has replaced, what it says of the destination, where that is not later, too. */
  forget(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest, there } of arrivals) {
      this.#over.run(tableId, key, digest);
      if (there !== undefined) this.#thereOver.run(tableId, key, there);
    }
  }

  /** Forgets whatever was said of these rows. */
  forgetKeys(tableId: number, keys: readonly string[]): void {
    if (!this.hasAny(tableId)) return;
    for (const key of keys) this.#keyOver.run(tableId, key);
  }

  /** These rows are to be looked at once they have landed. */
  lookAt(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) this.#look.run(tableId, key, digest);
  }

  /** Of these rows an earlier word was found: it and those before it are over, and the row is looked at once the last word has landed. */
  earlierFound(tableId: number, arrivals: readonly Arrival[]): void {
    for (const { key, digest } of arrivals) {
      const earlier = this.#get.get(tableId, key)?.earlier.split(' ');
      if (earlier === undefined) continue;
      const rest = earlier.slice(earlier.indexOf(digest) + 1);
      this.#earlierFound.run(rest.join(' '), tableId, key);
    }
  }

  /** Of any table. */
  get isAnyDue(): boolean {
    return this.#anyDue.get() !== undefined;
  }

  /** Rows that are to be looked at and have landed; at most `limit`. */
  due(tableId: number, limit: number): Arrival[] {
    return this.#due.all(tableId, limit);
  }

  /** These rows need not be looked at any more; what was said of them stays. */
  looked(tableId: number, keys: readonly string[]): void {
    for (const key of keys) this.#looked.run(tableId, key);
  }

  /** Rows that had landed when a whole scan began, and that it did not meet: they are gone again. */
  countSeenUnknown(tableId: number): number {
    return this.#seenUnknown.get(tableId) ?? 0;
  }

  /**
   * Takes a page of the table's words: a whole scan begins that may see what they say (`seen`), and has ended (`look`); or they are forgotten,
   * those of rows that the destination was sent (`sentOver`) or all. Returns the key of the page's last one, undefined behind the last page.
   */
  page(tableId: number, after: string, what: Pages): string | undefined {
    const through = this.#pageEnd.get(tableId, after) ?? undefined;
    if (through !== undefined) this.#pages[what].run({ tableId, after, through });
    return through;
  }
}
