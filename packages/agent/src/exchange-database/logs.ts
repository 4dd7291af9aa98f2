/** How far each bridge has taken its source's log, and what is kept in databases for it. */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

/** Positions and what a snapshot sees are the adapter's words: opaque here. */
export interface LogState {
  readonly bridge: Uint8Array;
  /** Data source. */
  readonly source: string;
  /** The adapter's word for server and database, and for the tables: under another one the position means nothing. */
  readonly identity: string;
  readonly tables: string;
  /** Every transaction before it is in the outbox, or was seen by a scan. */
  readonly position: string;
  /** Of the transaction behind the position, which stands at `part.of`: so many of its changes are in the outbox too. */
  readonly part: LogPart | undefined;
  /** What the snapshot of the last scan saw: transactions that it saw are passed over. */
  readonly seen: string | undefined;
  /** Why the tables have to be scanned before the log goes on; undefined while it is followed. */
  readonly owes: LogOwes | undefined;
  /** Rises each time that a scan becomes due. */
  readonly owesNumber: number;
  /** When history was lost last; 0 for never. */
  readonly gapAtMs: number;
}

export interface LogPart {
  readonly of: string;
  readonly changes: number;
}

export interface LogOwes {
  readonly code: LogOwesCode;
  readonly message: string;
}

/**
 * LOG_NEW: never scanned. LOG_GAP: history was lost. LOG_TABLES: the bridge's tables are others, or have other columns. LOG_TRUNCATED: a table was emptied.
 * LOG_GUARD: more rows were deleted than the bridge's deleteGuard lets through. LOG_ROWS: rows that the log alone does not give.
 */
export type LogOwesCode = 'LOG_NEW' | 'LOG_GAP' | 'LOG_TABLES' | 'LOG_TRUNCATED' | 'LOG_GUARD' | 'LOG_ROWS';

export interface HeldPosition {
  readonly bridge: Uint8Array;
  readonly position: string;
  readonly owes: LogOwesCode | null;
  readonly owesNumber: number;
}

interface Row {
  bridge: Buffer;
  source: string;
  identity: string;
  tables: string;
  position: string;
  part_of: string | null;
  part_changes: number;
  seen: string | null;
  owes_code: LogOwesCode | null;
  owes_message: string;
  owes_number: number;
  gap_at_ms: number;
}

const GET = 'SELECT * FROM capture_log WHERE bridge = ?';
const OF_SOURCE =
  'SELECT bridge, position, owes_code AS owes, owes_number AS owesNumber FROM capture_log WHERE source = ?';
const LOSE = `UPDATE capture_log SET owes_code = 'LOG_GAP', owes_message = @message, owes_number = owes_number + 1, gap_at_ms = @atMs
 WHERE bridge = @bridge`;
const BEGIN = `INSERT OR REPLACE INTO capture_log (bridge, source, identity, tables, position, owes_code, owes_message, owes_number, gap_at_ms)
 VALUES (@bridge, @source, @identity, @tables, @position, @code, @message,
  coalesce((SELECT owes_number + 1 FROM capture_log WHERE bridge = @bridge), 0), @gapAtMs)`;
const ADVANCE =
  'UPDATE capture_log SET position = @position, part_of = @of, part_changes = @changes WHERE bridge = @bridge';
const OWE = `UPDATE capture_log SET owes_number = owes_number + 1,
 owes_message = CASE WHEN owes_code IS NULL THEN @message ELSE owes_message END, owes_code = coalesce(owes_code, @code) WHERE bridge = @bridge`;
const SCANNED = `UPDATE capture_log SET seen = @seen, owes_code = CASE WHEN owes_number = @number THEN NULL ELSE owes_code END
 WHERE bridge = @bridge`;
const KNOW_GAP = `UPDATE capture_log SET gap_at_ms = 0 WHERE bridge = ? AND owes_code IS NOT 'LOG_GAP'`;
const REMOVE = 'DELETE FROM capture_log WHERE bridge = ?';
const KEPT = 'SELECT source, name FROM kept_log';
const KEEP = 'INSERT OR REPLACE INTO kept_log (source, name) VALUES (?, ?)';
const RELEASE = 'DELETE FROM kept_log WHERE source = ?';

export class LogStore {
  readonly #get: Statement<[Uint8Array], Row>;
  readonly #ofSource: Statement<[string], HeldPosition>;
  readonly #lose: Statement<[{ bridge: Uint8Array; message: string; atMs: number }]>;
  readonly #begin: Statement;
  readonly #advance: Statement;
  readonly #owe: Statement<[{ bridge: Uint8Array } & LogOwes]>;
  readonly #scanned: Statement<[{ bridge: Uint8Array; seen: string; number: number }]>;
  readonly #knowGap: Statement<[Uint8Array]>;
  readonly #remove: Statement<[Uint8Array]>;
  readonly #kept: Statement<[], { source: string; name: string }>;
  readonly #keep: Statement<[string, string]>;
  readonly #release: Statement<[string]>;

  constructor(sqlite: Sqlite) {
    this.#get = sqlite.prepare(GET);
    this.#ofSource = sqlite.prepare(OF_SOURCE);
    this.#lose = sqlite.prepare(LOSE);
    this.#begin = sqlite.prepare(BEGIN);
    this.#advance = sqlite.prepare(ADVANCE);
    this.#owe = sqlite.prepare(OWE);
    this.#scanned = sqlite.prepare(SCANNED);
    this.#knowGap = sqlite.prepare(KNOW_GAP);
    this.#remove = sqlite.prepare(REMOVE);
    this.#kept = sqlite.prepare(KEPT);
    this.#keep = sqlite.prepare(KEEP);
    this.#release = sqlite.prepare(RELEASE);
  }

  get(bridge: Uint8Array): LogState | undefined {
    const row = this.#get.get(bridge);
    if (row === undefined) return undefined;
    return {
      bridge: row.bridge,
      source: row.source,
      identity: row.identity,
      tables: row.tables,
      position: row.position,
      part: row.part_of === null ? undefined : { of: row.part_of, changes: row.part_changes },
      seen: row.seen ?? undefined,
      owes: row.owes_code === null ? undefined : { code: row.owes_code, message: row.owes_message },
      owesNumber: row.owes_number,
      gapAtMs: row.gap_at_ms,
    };
  }

  /** Every bridge that has a position in this data source's log. */
  ofSource(source: string): HeldPosition[] {
    return this.#ofSource.all(source);
  }

  /** History is lost from now on, whatever was owed before. */
  lose(bridge: Uint8Array, message: string, atMs: number): void {
    this.#lose.run({ bridge, message, atMs });
  }

  /** A position from nowhere: the scan that is owed makes it mean something. */
  begin(
    state: Pick<LogState, 'bridge' | 'source' | 'identity' | 'tables' | 'position' | 'gapAtMs'> & { owes: LogOwes },
  ): void {
    const { owes, ...rest } = state;
    this.#begin.run({ ...rest, ...owes });
  }

  /** In the transaction that makes the changes before the position durable. */
  advance(bridge: Uint8Array, position: string, part: LogPart | undefined): void {
    this.#advance.run({ bridge, position, of: part?.of ?? null, changes: part?.changes ?? 0 });
  }

  /** What is owed already stays what it is. */
  owe(bridge: Uint8Array, { code, message }: LogOwes): void {
    this.#owe.run({ bridge, code, message });
  }

  /** A person asked for a run after the gap was scanned: they know. */
  knowGap(bridge: Uint8Array): void {
    this.#knowGap.run(bridge);
  }

  /** In the transaction that finishes a scan; `number` is what `owesNumber` was when it began. */
  scanned(bridge: Uint8Array, seen: string, number: number): void {
    this.#scanned.run({ bridge, seen, number });
  }

  remove(bridge: Uint8Array): void {
    this.#remove.run(bridge);
  }

  /** Data sources whose database keeps its log for this node, and under which name. */
  kept(): { source: string; name: string }[] {
    return this.#kept.all();
  }

  keep(source: string, name: string): void {
    this.#keep.run(source, name);
  }

  release(source: string): void {
    this.#release.run(source);
  }
}
