/** What is owed of tables that are captured by trigger: keys of rows to be read, and whether the whole table must be. */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

export type EntryKind = 'inserts' | 'updates' | 'deletes';

/** How often a key was noted, by operation. */
export type EntryCounts = Readonly<Record<EntryKind, number>>;

export interface NotedKey extends EntryCounts {
  /** Row text of the source's key, without LF. */
  readonly key: string;
}

/** When the whole table was read last; it must be again when more is owed than was read. */
export interface TriggerReading {
  /** Digest of what is read, and how. */
  readonly plan: string;
  /** The adapter's word for these very triggers. */
  readonly identity: string;
  readonly wholeAtMs: number;
  readonly owed: number;
  readonly read: number;
}

export interface TriggerGap {
  readonly name: string;
  readonly reason: string;
}

const REGISTER = `INSERT INTO capture_trigger (table_id, changes, is_plain) VALUES (@tableId, @changes, @isPlain)
 ON CONFLICT (table_id) DO UPDATE SET changes = excluded.changes, is_plain = excluded.is_plain`;
const GET = `SELECT plan, identity, whole_at_ms AS wholeAtMs, owed, read FROM capture_trigger WHERE table_id = ?`;
const OWE = 'UPDATE capture_trigger SET owed = owed + 1 WHERE table_id = ?';
const OWE_ALL = 'UPDATE capture_trigger SET owed = owed + 1 WHERE changes = ?';
// A table that was never read has lost nothing.
const GAP = `UPDATE capture_trigger SET owed = owed + 1, gap_reason = CASE WHEN read > 0 THEN @reason ELSE gap_reason END,
 gap_run = CASE WHEN table_id = @tableId THEN @run ELSE
  (SELECT run_number FROM capture JOIN capture_table USING (bridge) WHERE capture_table.id = table_id) END
 WHERE changes = @changes`;
const SET_READ = `UPDATE capture_trigger SET plan = @plan, identity = @identity, whole_at_ms = @wholeAtMs, read = @read
 WHERE table_id = @tableId`;
const GAPS = `SELECT name, gap_reason AS reason FROM capture_trigger JOIN capture_table ON capture_table.id = table_id
 WHERE bridge = ? AND gap_reason IS NOT NULL ORDER BY name`;
const CLEAR_GAPS = `UPDATE capture_trigger SET gap_reason = NULL, gap_run = NULL WHERE gap_run < @run
 AND table_id IN (SELECT id FROM capture_table WHERE bridge = @bridge)`;
const NOTE = `INSERT INTO noted_key (table_id, key, look, inserts, updates, deletes)
 SELECT table_id, @key, CASE table_id WHEN @seenBy THEN @seenLook ELSE @look END, @inserts, @updates, @deletes
 FROM capture_trigger WHERE changes = @changes
 ON CONFLICT (table_id, key) DO UPDATE SET look = max(look, excluded.look),
  inserts = inserts + excluded.inserts, updates = updates + excluded.updates, deletes = deletes + excluded.deletes`;
const TAKEN = 'SELECT id FROM taken_entry WHERE changes = ?';
const TAKE = 'INSERT OR IGNORE INTO taken_entry VALUES (?, ?)';
const UNTAKE = 'DELETE FROM taken_entry WHERE changes = ? AND id = ?';
const WANT = `INSERT INTO noted_key (table_id, key, look) SELECT table_id, @key, @look FROM capture_trigger
 WHERE table_id = @tableId AND is_plain = 1 ON CONFLICT (table_id, key) DO UPDATE SET look = max(look, excluded.look)`;
const LOOK = 'UPDATE capture_look SET number = number + 1 RETURNING number';
export const AFTER = `SELECT key, inserts, updates, deletes FROM noted_key
 WHERE table_id = ? AND look <= ? AND key > ? ORDER BY key LIMIT ?`;
const HAS = 'SELECT EXISTS (SELECT 1 FROM noted_key WHERE table_id = ?)';
export const REMOVE_SOME = `DELETE FROM noted_key WHERE table_id = @tableId AND key IN
 (SELECT key FROM noted_key WHERE table_id = @tableId AND look <= @look LIMIT @limit)`;

export class TriggerStore {
  readonly #register: Statement;
  readonly #get: Statement<[number], TriggerReading>;
  readonly #owe: Statement<[number]>;
  readonly #oweAll: Statement<[string]>;
  readonly #isTaken: Statement<[string], string>;
  readonly #take: Statement<[string, string]>;
  readonly #untake: Statement<[string, string]>;
  readonly #gap: Statement;
  readonly #setRead: Statement;
  readonly #gaps: Statement<[Uint8Array], TriggerGap>;
  readonly #clearGaps: Statement<[{ bridge: Uint8Array; run: bigint }]>;
  readonly #note: Statement;
  readonly #want: Statement;
  readonly #look: Statement<[], number>;
  readonly #after: Statement<[number, number, string, number], NotedKey>;
  readonly #has: Statement<[number], number>;
  readonly #removeSome: Statement<[{ tableId: number; look: number; limit: number }]>;

  constructor(sqlite: Sqlite) {
    this.#register = sqlite.prepare(REGISTER);
    this.#get = sqlite.prepare(GET);
    this.#owe = sqlite.prepare(OWE);
    this.#oweAll = sqlite.prepare(OWE_ALL);
    this.#isTaken = sqlite.prepare<[string], string>(TAKEN).pluck();
    this.#take = sqlite.prepare(TAKE);
    this.#untake = sqlite.prepare(UNTAKE);
    this.#gap = sqlite.prepare(GAP);
    this.#setRead = sqlite.prepare(SET_READ);
    this.#gaps = sqlite.prepare(GAPS);
    this.#clearGaps = sqlite.prepare(CLEAR_GAPS);
    this.#note = sqlite.prepare(NOTE);
    this.#want = sqlite.prepare(WANT);
    this.#look = sqlite.prepare<[], number>(LOOK).pluck();
    this.#after = sqlite.prepare(AFTER);
    this.#has = sqlite.prepare<[number], number>(HAS).pluck();
    this.#removeSome = sqlite.prepare(REMOVE_SOME);
  }

  /** From now on what is noted in `changes` (data source and change table) is noted for this table. `isPlain`: its key leaves as it is. */
  register(tableId: number, changes: string, isPlain: boolean): void {
    this.#register.run({ tableId, changes, isPlain: isPlain ? 1 : 0 });
  }

  get(tableId: number): TriggerReading | undefined {
    return this.#get.get(tableId);
  }

  /** The next scan reads the table whole; nothing was lost. */
  owe(tableId: number): void {
    this.#owe.run(tableId);
  }

  /** Every table that is captured by these triggers is read whole by its next scan. */
  oweAll(changes: string): void {
    this.#oweAll.run(changes);
  }

  /** Ids of entries that were noted and are not known to be forgotten by the source. */
  taken(changes: string): Set<string> {
    return new Set(this.#isTaken.all(changes));
  }

  /** In the transaction that notes the last of them. */
  take(changes: string, ids: Iterable<string>): void {
    for (const id of ids) this.#take.run(changes, id);
  }

  /** The source has forgotten them. */
  untake(changes: string, ids: Iterable<string>): void {
    for (const id of ids) this.#untake.run(changes, id);
  }

  /**
   * History was lost: every table that is captured by these triggers is read whole, and a person is told. `run`: the newest one of the
   * bridge that found it.
   */
  gap(changes: string, found: { readonly tableId: number; readonly reason: string; readonly run: bigint }): void {
    this.#gap.run({ changes, ...found });
  }

  /** In the transaction that finishes the scan. */
  setRead(tableId: number, reading: Omit<TriggerReading, 'owed'>): void {
    this.#setRead.run({ tableId, ...reading });
  }

  gaps(bridge: Uint8Array): TriggerGap[] {
    return this.#gaps.all(bridge);
  }

  /** Gaps that a person has seen: they asked for a run after them. */
  acknowledge(bridge: Uint8Array, run: bigint): void {
    this.#clearGaps.run({ bridge, run });
  }

  /** A number for what is noted from now on; rises. */
  nextLook(): number {
    return this.#look.get() as number;
  }

  /** `seen`: the table whose scan under way sees the change already, and the look at which that scan reads. */
  note(
    changes: string,
    look: number,
    { key, inserts, updates, deletes }: NotedKey,
    seen?: { readonly by: number; readonly look: number },
  ): void {
    const [seenBy, seenLook] = [seen?.by ?? null, seen?.look ?? null];
    this.#note.run({ changes, look, key, inserts, updates, deletes, seenBy, seenLook });
  }

  /** A destination asked for the row. A key that leaves otherwise than it came lets the table be read whole. */
  want(tableId: number, key: string): void {
    if (this.#want.run({ tableId, key, look: this.nextLook() }).changes === 0) this.owe(tableId);
  }

  /** Keys noted up to a look, in order, at most `limit`. */
  after(tableId: number, look: number, key: string, limit: number): NotedKey[] {
    return this.#after.all(tableId, look, key, limit);
  }

  hasKeys(tableId: number): boolean {
    return this.#has.get(tableId) === 1;
  }

  /** Forgets keys that were read; returns how many. A key that was noted again later stays. */
  removeSome(tableId: number, look: number, limit: number): number {
    return this.#removeSome.run({ tableId, look, limit }).changes;
  }
}
