/** How far each table that is read by a cursor was read: its proven position and the one that waits for its proof. */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';

/** Of a table that was read whole at least once under this plan. Values are canonical text. */
export interface CursorState {
  /** Digest of what is read, and how. */
  readonly plan: string;
  /** The adapter's word for this very table. */
  readonly identity: string;
  /** Every row below it was read, and none will come any more. */
  readonly position: string | undefined;
  /** Becomes the position with the first scan that begins when nobody of the horizon is open. */
  readonly candidate: string | undefined;
  /** The adapter's word for who may still commit below the candidate; undefined for nobody. */
  readonly horizon: string | undefined;
  readonly candidateAtMs: number;
  /** The candidate's time, once a scan found somebody of the horizon open. */
  readonly heldSinceMs: number | undefined;
  /** The run in which the source was found behind the position, until a person has asked for another. */
  readonly wentBackRun: bigint | undefined;
}

/** What a person should know of a table's cursor. */
export interface CursorTrouble {
  readonly name: string;
  readonly wentBack: boolean;
  /** Since when somebody's open transaction keeps the position where it is; undefined when nobody does. */
  readonly heldSinceMs: number | undefined;
}

interface CursorRow {
  plan: string;
  identity: string;
  position: string | null;
  candidate: string | null;
  horizon: string | null;
  candidate_at_ms: number;
  held_since_ms: number | null;
  went_back_run: number | null;
}

const GET = 'SELECT * FROM capture_cursor WHERE table_id = ?';
const SET = `INSERT OR REPLACE INTO capture_cursor
 (table_id, plan, identity, position, candidate, horizon, candidate_at_ms, held_since_ms, went_back_run)
 VALUES (@tableId, @plan, @identity, @position, @candidate, @horizon, @candidateAtMs, @heldSinceMs, @wentBackRun)`;
// Another plan each time: a scan that is under way meanwhile must find out that it has to be done again.
const FORGET = `INSERT INTO capture_cursor (table_id, plan, identity, candidate_at_ms) VALUES (?, '!', '', 0)
 ON CONFLICT (table_id) DO UPDATE SET plan = plan || '!'`;
const TROUBLES = `SELECT name, went_back_run IS NOT NULL AS wentBack, held_since_ms AS heldSinceMs
 FROM capture_cursor JOIN capture_table ON capture_table.id = table_id
 WHERE bridge = @bridge AND (went_back_run IS NOT NULL OR held_since_ms < @heldBeforeMs) ORDER BY name`;

export class CursorStore {
  readonly #get: Statement<[number], CursorRow>;
  readonly #set: Statement;
  readonly #forget: Statement<[number]>;
  readonly #troubles: Statement<
    [{ bridge: Uint8Array; heldBeforeMs: number }],
    { name: string; wentBack: number; heldSinceMs: number | null }
  >;

  constructor(sqlite: Sqlite) {
    this.#get = sqlite.prepare(GET);
    this.#set = sqlite.prepare(SET);
    this.#forget = sqlite.prepare(FORGET);
    this.#troubles = sqlite.prepare(TROUBLES);
  }

  get(tableId: number): CursorState | undefined {
    const row = this.#get.get(tableId);
    if (row === undefined) return undefined;
    return {
      plan: row.plan,
      identity: row.identity,
      position: row.position ?? undefined,
      candidate: row.candidate ?? undefined,
      horizon: row.horizon ?? undefined,
      candidateAtMs: row.candidate_at_ms,
      heldSinceMs: row.held_since_ms ?? undefined,
      wentBackRun: row.went_back_run === null ? undefined : BigInt(row.went_back_run),
    };
  }

  /** Called in the transaction that makes the last of what was read durable. */
  set(tableId: number, state: CursorState): void {
    const { position = null, candidate = null, horizon = null, heldSinceMs = null, wentBackRun = null } = state;
    this.#set.run({ ...state, tableId, position, candidate, horizon, heldSinceMs, wentBackRun });
  }

  /** The next scan that begins reads the table whole. */
  forget(tableId: number): void {
    this.#forget.run(tableId);
  }

  /** Tables whose source went back, or whose position somebody has held since before `heldBeforeMs`. */
  troubles(bridge: Uint8Array, heldBeforeMs: number): CursorTrouble[] {
    return this.#troubles.all({ bridge, heldBeforeMs }).map(({ name, wentBack, heldSinceMs }) => ({
      name,
      wentBack: wentBack === 1,
      heldSinceMs: heldSinceMs !== null && heldSinceMs < heldBeforeMs ? heldSinceMs : undefined,
    }));
  }
}
