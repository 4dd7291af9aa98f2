/**
 * What capture remembers per bridge and per table between scans: numbers of scans and runs, layouts, whether it is stuck.
 * The digests themselves are in digests.ts.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
import { type StuckColumns, type StuckReason, stuckReason } from './lanePlace.ts';

export interface CaptureState {
  readonly bridge: Uint8Array;
  readonly version: number;
  readonly startedScan: number;
  readonly finishedScan: number;
  /** Newest manual run that was answered by a finished scan. */
  readonly runNumber: bigint;
  /** 0 for never. */
  readonly lastRunAtMs: number;
  readonly stuck: StuckReason | undefined;
}

/** The columns that were last packed, and those of the key with their encodings. */
export interface TableLayouts {
  readonly layout: string;
  readonly keyLayout: string;
  /** The bridge's version that they belong to; 0 for none that is known. */
  readonly layoutVersion: number;
}

/** One table of a captured bridge. */
export interface CaptureTable extends TableLayouts {
  readonly id: number;
  readonly digestCount: number;
  /** Rows the adapter could not carry in the last reading of the whole table, and those that its parts added since. */
  readonly refused: number;
  /** Rows it could not carry in the last part. */
  readonly refusedOfPart: number;
  /** Rows without a cursor's value in the last reading, whole or not. */
  readonly valueless: number;
  /** Deletes that the last scan held. */
  readonly heldDeletes: number;
}

/** What a finished scan found at a table that it read whole. */
export interface TableFindings {
  /** Rows the adapter could not carry. */
  readonly refused: number;
  /** Rows without a usable key, those included: while there are any, no row may be called deleted. */
  readonly nameless: number;
  readonly heldDeletes: number;
}

interface CaptureRow extends StuckColumns {
  bridge: Buffer;
  version: number;
  started_scan: number;
  finished_scan: number;
  run_number: number;
  last_run_at_ms: number;
}

const GET = 'SELECT * FROM capture WHERE bridge = ?';
const BEGIN_SCAN = `INSERT INTO capture (bridge, version, started_scan) VALUES (@bridge, @version, 1)
 ON CONFLICT (bridge) DO UPDATE SET version = excluded.version, started_scan = started_scan + 1 RETURNING started_scan`;
const FINISH_SCAN = `UPDATE capture SET finished_scan = @scan, run_number = max(run_number, @run), last_run_at_ms = @atMs,
 stuck_code = NULL, stuck_message = NULL, stuck_hint = NULL WHERE bridge = @bridge`;
const STICK = `INSERT INTO capture (bridge, version, run_number, stuck_code, stuck_message, stuck_hint)
 VALUES (@bridge, @version, @run, @code, @message, @hint)
 ON CONFLICT (bridge) DO UPDATE SET version = excluded.version, run_number = max(run_number, excluded.run_number),
 stuck_code = excluded.stuck_code, stuck_message = excluded.stuck_message, stuck_hint = excluded.stuck_hint`;
const FREE = 'UPDATE capture SET stuck_code = NULL, stuck_message = NULL, stuck_hint = NULL WHERE bridge = ?';
const TABLE = `SELECT id, layout, key_layout AS keyLayout, layout_version AS layoutVersion, digest_count AS digestCount, refused,
 refused_of_part AS refusedOfPart, valueless, held_deletes AS heldDeletes
 FROM capture_table WHERE bridge = ? AND name = ?`;
const ADD_TABLE = `INSERT INTO capture_table (bridge, name, layout, key_layout, layout_version) VALUES (?, ?, ?, ?, ?)
 RETURNING id`;
const SET_LAYOUT = 'UPDATE capture_table SET layout = ?, key_layout = ?, layout_version = ? WHERE id = ?';
const COUNT_DIGESTS = 'UPDATE capture_table SET digest_count = digest_count + ? WHERE id = ?';
const SET_FOUND = 'UPDATE capture_table SET refused = ?, valueless = ?, nameless = ?, held_deletes = ? WHERE id = ?';
const SET_FOUND_IN_PART = `UPDATE capture_table SET refused = refused + max(0, @refused - refused_of_part),
 refused_of_part = @refused, valueless = @valueless WHERE id = @tableId`;
const SET_PUT_BACK = 'UPDATE capture_table SET put_back = ? WHERE id = ?';
const IS_PUT_BACK = 'SELECT put_back FROM capture_table WHERE id = ?';
const HOLDING = `SELECT name, refused, nameless, held_deletes AS heldDeletes FROM capture_table
 WHERE bridge = ? AND held_deletes > 0 ORDER BY name`;
const TABLES = 'SELECT id, name FROM capture_table WHERE bridge = ?';
const REMOVE_TABLE = 'DELETE FROM capture_table WHERE id = ?';
const REMOVE_CURSOR = 'DELETE FROM capture_cursor WHERE table_id = ?';
const REMOVE = 'DELETE FROM capture WHERE bridge = ?';
const BRIDGES = 'SELECT bridge FROM capture UNION SELECT bridge FROM capture_table';

export class CaptureStore {
  readonly #get: Statement<[Uint8Array], CaptureRow>;
  readonly #beginScan: Statement<[{ bridge: Uint8Array; version: number }], number>;
  readonly #finishScan: Statement<[{ bridge: Uint8Array; scan: number; run: bigint; atMs: number }]>;
  readonly #stick: Statement<[{ bridge: Uint8Array; version: number; run: bigint } & StuckReason]>;
  readonly #free: Statement<[Uint8Array]>;
  readonly #table: Statement<[Uint8Array, string], CaptureTable>;
  readonly #addTable: Statement<[Uint8Array, string, string, string, number], number>;
  readonly #setLayout: Statement<[string, string, number, number]>;
  readonly #countDigests: Statement<[number, number]>;
  readonly #setFound: Statement<[number, number, number, number, number]>;
  readonly #setFoundInPart: Statement<[{ tableId: number; refused: number; valueless: number }]>;
  readonly #setPutBack: Statement<[number, number]>;
  readonly #isPutBack: Statement<[number], number>;
  readonly #holding: Statement<[Uint8Array], TableFindings & { name: string }>;
  readonly #tables: Statement<[Uint8Array], { id: number; name: string }>;
  readonly #removeTable: Statement<[number]>;
  readonly #removeCursor: Statement<[number]>;
  readonly #remove: Statement<[Uint8Array]>;
  readonly #bridges: Statement<[], Buffer>;

  constructor(sqlite: Sqlite) {
    this.#get = sqlite.prepare(GET);
    this.#beginScan = sqlite.prepare<[{ bridge: Uint8Array; version: number }], number>(BEGIN_SCAN).pluck();
    this.#finishScan = sqlite.prepare(FINISH_SCAN);
    this.#stick = sqlite.prepare(STICK);
    this.#free = sqlite.prepare(FREE);
    this.#table = sqlite.prepare(TABLE);
    this.#addTable = sqlite.prepare<[Uint8Array, string, string, string, number], number>(ADD_TABLE).pluck();
    this.#setLayout = sqlite.prepare(SET_LAYOUT);
    this.#countDigests = sqlite.prepare(COUNT_DIGESTS);
    this.#setFound = sqlite.prepare(SET_FOUND);
    this.#setFoundInPart = sqlite.prepare(SET_FOUND_IN_PART);
    this.#setPutBack = sqlite.prepare(SET_PUT_BACK);
    this.#isPutBack = sqlite.prepare<[number], number>(IS_PUT_BACK).pluck();
    this.#holding = sqlite.prepare(HOLDING);
    this.#tables = sqlite.prepare(TABLES);
    this.#removeTable = sqlite.prepare(REMOVE_TABLE);
    this.#removeCursor = sqlite.prepare(REMOVE_CURSOR);
    this.#bridges = sqlite.prepare<[], Buffer>(BRIDGES).pluck();
    this.#remove = sqlite.prepare(REMOVE);
  }

  get(bridge: Uint8Array): CaptureState | undefined {
    const row = this.#get.get(bridge);
    if (!row) return undefined;
    return {
      bridge: row.bridge,
      version: row.version,
      startedScan: row.started_scan,
      finishedScan: row.finished_scan,
      runNumber: BigInt(row.run_number),
      lastRunAtMs: row.last_run_at_ms,
      stuck: stuckReason(row),
    };
  }

  /** Gives the next scan's number: 1, 2, 3 … per bridge. */
  beginScan(bridge: Uint8Array, version: number): number {
    return this.#beginScan.get({ bridge, version }) ?? 1;
  }

  /** The scan saw its last row and everything it found is packed. Clears what was stuck. */
  finishScan(bridge: Uint8Array, scan: number, runNumber: bigint, atMs: number): void {
    this.#finishScan.run({ bridge, scan, run: runNumber, atMs });
  }

  /** A person must act before capture goes on; `runNumber` is the run that ended this way. */
  stick(bridge: Uint8Array, version: number, runNumber: bigint, reason: StuckReason): void {
    this.#stick.run({ bridge, version, run: runNumber, ...reason });
  }

  /** What it was stuck for is over: it goes on with its next scan. */
  free(bridge: Uint8Array): void {
    this.#free.run(bridge);
  }

  table(bridge: Uint8Array, name: string): CaptureTable | undefined {
    return this.#table.get(bridge, name);
  }

  addTable(bridge: Uint8Array, name: string, layouts: TableLayouts): CaptureTable {
    const { layout, keyLayout, layoutVersion } = layouts;
    const id = this.#addTable.get(bridge, name, layout, keyLayout, layoutVersion) as number;
    return { id, ...layouts, digestCount: 0, refused: 0, refusedOfPart: 0, valueless: 0, heldDeletes: 0 };
  }

  setLayout(tableId: number, { layout, keyLayout, layoutVersion }: TableLayouts): void {
    this.#setLayout.run(layout, keyLayout, layoutVersion, tableId);
  }

  /** Keeps the number of digests of a table in step; called in the transaction that adds or removes them. */
  countDigests(tableId: number, difference: number): void {
    if (difference !== 0) this.#countDigests.run(difference, tableId);
  }

  setFound(
    tableId: number,
    { refused, valueless, nameless, heldDeletes }: TableFindings & { readonly valueless: number },
  ): void {
    this.#setFound.run(refused, valueless, nameless, heldDeletes, tableId);
  }

  /** What a part shows stands for the whole only where it shows more than the part before. */
  setFoundInPart(tableId: number, { refused, valueless }: { refused: number; valueless: number }): void {
    this.#setFoundInPart.run({ tableId, refused, valueless });
  }

  /** Its history was lost, or rows that had landed in it: what it lacks may have been lost with them, until a person has said otherwise. */
  setPutBack(tableId: number, isPutBack: boolean): void {
    this.#setPutBack.run(isPutBack ? 1 : 0, tableId);
  }

  isPutBack(tableId: number): boolean {
    return this.#isPutBack.get(tableId) === 1;
  }

  /** Tables whose deletes the last scan held. */
  holding(bridge: Uint8Array): (TableFindings & { name: string })[] {
    return this.#holding.all(bridge);
  }

  tables(bridge: Uint8Array): { id: number; name: string }[] {
    return this.#tables.all(bridge);
  }

  removeTable(tableId: number): void {
    this.#removeCursor.run(tableId);
    this.#removeTable.run(tableId);
  }

  /** Every bridge that capture remembers anything of. */
  bridges(): Uint8Array[] {
    return this.#bridges.all();
  }

  remove(bridge: Uint8Array): void {
    this.#remove.run(bridge);
  }
}
