/**
 * What people (and the agent itself) decide about rows that wait: tried again, given up. A decision is durable before it is
 * carried out; apply works decisions off in the order of the lane and takes away those that were tried in vain. Selecting rows for a
 * person is here too, because a decision in bulk selects the same way as a list.
 */
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
import type { LanePlace } from './lanePlace.ts';
import { type KeptRow, type KeptRowColumns, keptRow, type RowDecision } from './quarantine.ts';
import { at, ROW, type RowAt } from './rowPlace.ts';
import type { RowsAtRest } from './rowsAtRest.ts';

/** Everything that is given must hold. */
export interface RowSelection {
  readonly refs?: readonly string[] | undefined;
  /** Lanes whose rows are meant; every lane when left out. */
  readonly lanes?: readonly Uint8Array[] | undefined;
  readonly table?: string | undefined;
  readonly code?: string | undefined;
  readonly includeSettled?: boolean | undefined;
}

/** pending: not carried out yet. refused: tried, and it waits on. settled: it waits no more. */
export type Standing = 'pending' | 'refused' | 'settled';

export interface Decision {
  readonly decision: RowDecision;
  readonly by: string;
  readonly reason: string;
  readonly atMs: number;
}

const DECIDE = `UPDATE quarantine SET decision = @decision, decided_by = @by, decided_at_ms = @atMs, decision_reason = @reason
 WHERE ${ROW} AND state = 'open'`;
export const NEXT_DECIDED = `SELECT epoch, sequence FROM quarantine WHERE lane = ? AND state = 'open' AND decision IS NOT NULL
 AND (epoch, sequence) > (?, ?) ORDER BY epoch, sequence LIMIT 1`;
export const COUNT_DECIDED =
  "SELECT count(*) FROM quarantine WHERE lane = ? AND state = 'open' AND decision IS NOT NULL";
export const FIRST_OF_KEY = `SELECT * FROM quarantine WHERE lane = ? AND state = 'open' AND table_name = ? AND key_text = ?
 ORDER BY epoch, sequence, section, row_index LIMIT 1`;
const EARLIER_EPOCHS = "SELECT * FROM quarantine WHERE lane = ? AND state = 'open' AND epoch < ?";
const WITH_CODES = `SELECT * FROM quarantine WHERE lane = @lane AND state = 'open' AND decision IS NULL
 AND code IN (SELECT value FROM json_each(@codes)) AND (epoch, sequence, section, row_index) > (@epoch, @sequence, @section, @index)
 ORDER BY epoch, sequence, section, row_index LIMIT @limit`;
// The second condition is the index's own.
export const BY_REF = "SELECT * FROM quarantine WHERE ref = ? AND ref <> ''";
export const STANDING = `SELECT state, decision FROM quarantine WHERE ref = ? AND ref <> ''`;
const BEFORE_KEY = `SELECT * FROM quarantine WHERE lane = @lane AND state = 'open' AND table_name = @table AND key_text = @key
 AND (epoch, sequence, section, row_index) < (@epoch, @sequence, @section, @index) ORDER BY epoch, sequence, section, row_index`;
const SELECT_ALL = `FROM quarantine WHERE (@all = 1 OR state = 'open') AND (@table = '' OR table_name = @table)
 AND (@code = '' OR code = @code) AND (@refs = '' OR ref IN (SELECT value FROM json_each(@refs)))
 AND (@lanes = '' OR hex(lane) IN (SELECT value FROM json_each(@lanes)))`;
const SELECT = `SELECT * ${SELECT_ALL} ORDER BY lane, epoch, sequence, section, row_index LIMIT @limit`;
const COUNT = `SELECT count(*) ${SELECT_ALL}`;

export class RowDecisionStore {
  readonly #rows: RowsAtRest;
  readonly #decide: Statement;
  readonly #nextDecided: Statement<[Uint8Array, bigint, bigint], { epoch: number; sequence: number }>;
  readonly #countDecided: Statement<[Uint8Array], number>;
  readonly #firstOfKey: Statement<[Uint8Array, string, string], KeptRowColumns>;
  readonly #earlierEpochs: Statement<[Uint8Array, bigint], KeptRowColumns>;
  readonly #withCodes: Statement<[object], KeptRowColumns>;
  readonly #byRef: Statement<[string], KeptRowColumns>;
  readonly #standing: Statement<[string], Pick<KeptRowColumns, 'state' | 'decision'>>;
  readonly #beforeKey: Statement<[object], KeptRowColumns>;
  readonly #select: Statement<[object], KeptRowColumns>;
  readonly #count: Statement<[object], number>;

  constructor(sqlite: Sqlite, rows: RowsAtRest) {
    this.#rows = rows;
    this.#decide = sqlite.prepare(DECIDE);
    this.#nextDecided = sqlite.prepare(NEXT_DECIDED);
    this.#countDecided = sqlite.prepare<[Uint8Array], number>(COUNT_DECIDED).pluck();
    this.#firstOfKey = sqlite.prepare(FIRST_OF_KEY);
    this.#earlierEpochs = sqlite.prepare(EARLIER_EPOCHS);
    this.#withCodes = sqlite.prepare(WITH_CODES);
    this.#byRef = sqlite.prepare(BY_REF);
    this.#standing = sqlite.prepare(STANDING);
    this.#beforeKey = sqlite.prepare(BEFORE_KEY);
    this.#select = sqlite.prepare(SELECT);
    this.#count = sqlite.prepare<[object], number>(COUNT).pluck();
  }

  /** Decides about a row that waits; false when it does not (any more). A later decision takes the place of an earlier one. */
  decide(row: RowAt, { decision, by, reason, atMs }: Decision): boolean {
    return this.#decide.run({ ...at(row), decision, by, reason, atMs }).changes === 1;
  }

  /** The first delivery of the lane after `after` with a row about which something is decided. */
  nextDecided(lane: Uint8Array, after: { epoch: bigint; sequence: bigint }): LanePlace | undefined {
    const found = this.#nextDecided.get(lane, after.epoch, after.sequence);
    return found && { lane, epoch: BigInt(found.epoch), sequence: BigInt(found.sequence) };
  }

  countDecided(lane: Uint8Array): number {
    return this.#countDecided.get(lane) ?? 0;
  }

  /** The row of this key that the others wait behind. */
  firstOfKey(lane: Uint8Array, table: string, keyText: string): KeptRow | undefined {
    const row = this.#firstOfKey.get(lane, table, this.#rows.nameOf(keyText));
    return row && keptRow(row, this.#rows);
  }

  /** Open rows of the same key before this place, in order. */
  beforeOfKey(row: RowAt, table: string, key: string): KeptRow[] {
    return this.#beforeKey
      .all({ ...at(row), table, key: this.#rows.nameOf(key) })
      .map((row) => keptRow(row, this.#rows));
  }

  /** Open rows of epochs before `epoch`. */
  ofEarlierEpochs(lane: Uint8Array, epoch: bigint): KeptRow[] {
    return this.#earlierEpochs.all(lane, epoch).map((row) => keptRow(row, this.#rows));
  }

  /** Open rows with one of these codes about which nothing is decided: in order, those after a place. */
  undecided(codes: readonly string[], after: RowAt, limit: number): KeptRow[] {
    const rows = this.#withCodes.all({ ...at(after), codes: JSON.stringify(codes), limit });
    return rows.map((row) => keptRow(row, this.#rows));
  }

  byRef(ref: string): KeptRow | undefined {
    const row = this.#byRef.get(ref);
    return row && keptRow(row, this.#rows);
  }

  /** How far it came with a row about which something was decided. */
  standing(ref: string): Standing {
    const row = this.#standing.get(ref);
    if (row?.state !== 'open') return 'settled';
    return row.decision === null ? 'refused' : 'pending';
  }

  /** Selected rows in order of lane and place, at most `limit`. */
  select(selection: RowSelection, limit: number): KeptRow[] {
    return this.#select.all({ ...bound(selection), limit }).map((row) => keptRow(row, this.#rows));
  }

  count(selection: RowSelection): number {
    return this.#count.get(bound(selection)) ?? 0;
  }
}

function bound({ refs, lanes, table = '', code = '', includeSettled = false }: RowSelection): object {
  return {
    all: includeSettled ? 1 : 0,
    table,
    code,
    refs: refs === undefined ? '' : JSON.stringify(refs),
    lanes:
      lanes === undefined ? '' : JSON.stringify(lanes.map((lane) => Buffer.from(lane).toString('hex').toUpperCase())),
  };
}
