/**
 * Quarantine: rows that the target refused, or that wait behind such a row, kept whole. Rows of a delivery are written before the
 * target commits: a crash between leaves rows of a delivery that was not applied, and applying it again replaces them. Which of
 * them still wait is the mark's to say (`follow`); what people decide about them is in rowDecisions.ts, their texts in rowLines.ts.
 */
import { createHmac } from 'node:crypto';
import type { Kind } from '@qiao/exchange';
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
import type { LanePlace } from './lanePlace.ts';
import type { RowLineStore } from './rowLines.ts';
import { at, ROW, type RowAt } from './rowPlace.ts';
import { placeOfKey, type RowsAtRest } from './rowsAtRest.ts';

export interface QuarantineRow {
  /** Section of the delivery's content and row in it, both from 0. */
  readonly section: number;
  readonly index: number;
  readonly table: string;
  readonly kind: Kind;
  readonly columns: readonly string[];
  readonly keyColumns: number;
  readonly wholeRows: boolean;
  /** Row text with its LF, as received. */
  readonly line: Uint8Array;
  /** Raw row text of the key fields. */
  readonly keyText: string;
  readonly outcome: OpenOutcome;
  readonly code: string;
  /** Why, without any value of the row. */
  readonly reason: string;
}

export type OpenOutcome = 'quarantined' | 'held';
/** What became of a row that waits no more. landed: the target took it, whatever it had to do for that. */
export type RowFate = 'landed' | 'abandoned' | 'cancelled' | 'keptTarget';
/** replay: try again. abandon: a person gave it up. cancel: its epoch was closed. supersede: a later whole row took its place. */
export type RowDecision = 'replay' | 'abandon' | 'cancel' | 'supersede';

/** What is kept of a row beside its text, which may be large: that is read by place (rowLines.ts). */
export interface KeptRow extends Omit<QuarantineRow, 'line'>, LanePlace {
  readonly atMs: number;
  /** Opaque name for people. */
  readonly ref: string;
  readonly state: 'open' | 'settled';
  readonly fate: RowFate | undefined;
  /** Not carried out while the row is open; what settled it afterwards. */
  readonly decision: RowDecision | undefined;
  readonly decidedBy: string;
  readonly decidedAtMs: number;
  readonly decisionReason: string;
}

/** One row that the mark says waits. */
export interface WaitingPlace {
  readonly section: number;
  readonly index: number;
  readonly outcome: OpenOutcome;
  readonly code: string;
  readonly reason: string;
}

/** How rows of a key wait: behind a row for a person, or only for their whole row, which then takes their place. */
export type KeyWaits = 'behind' | 'missingBase';

/**
 * Keys with an open row on one lane, by table: the key is the raw row text of the key fields, which is canonical. A key that waits
 * for its whole row only is no obstacle to a row that needs nothing before it.
 */
export interface OpenKeys {
  get(table: string): { get(keyText: string): KeyWaits | undefined } | undefined;
}

/** What `follow` changed. */
export interface Followed {
  readonly settled: readonly KeptRow[];
  /** Rows that the mark has open again although they were settled here: the target was restored. */
  readonly reopened: number;
  /** Rows the mark has open and this database does not know. */
  readonly unknown: number;
}

export interface KeptRowColumns {
  lane: Buffer;
  epoch: number;
  sequence: number;
  section: number;
  row_index: number;
  table_name: string;
  kind: Kind;
  columns: string;
  key_columns: number;
  whole_rows: number;
  key_text: string;
  key_sealed: Buffer | null;
  outcome: OpenOutcome;
  code: string;
  reason: string;
  at_ms: number;
  ref: string;
  state: 'open' | 'settled';
  fate: RowFate | null;
  decision: RowDecision | null;
  decided_by: string;
  decided_at_ms: number;
  decision_reason: string;
  sealed: number;
}

const DELIVERY = 'lane = @lane AND epoch = @epoch AND sequence = @sequence';
const CLEAR = `DELETE FROM quarantine WHERE ${DELIVERY} AND state = 'open'`;
// A row settled before the target lost it (a backup was restored) keeps its decision, which is then carried out again.
const ADD = `INSERT INTO quarantine (lane, epoch, sequence, section, row_index, table_name, kind, columns, key_columns,
 whole_rows, key_text, key_sealed, sealed, outcome, code, reason, at_ms, ref) VALUES (@lane, @epoch, @sequence, @section, @index, @table,
 @kind, @columns, @keyColumns, @wholeRows, @keyText, @keySealed, @sealed, @outcome, @code, @reason, @atMs, @ref)
 ON CONFLICT (lane, epoch, sequence, section, row_index) DO UPDATE SET state = 'open', fate = NULL, settled_at_ms = NULL,
 outcome = excluded.outcome, code = excluded.code, reason = excluded.reason, at_ms = excluded.at_ms`;
const OF_DELIVERY = `SELECT * FROM quarantine WHERE ${DELIVERY} ORDER BY section, row_index`;
const OPEN_OF_LANE = `SELECT * FROM quarantine WHERE lane = ? AND state = 'open'
 ORDER BY epoch, sequence, section, row_index LIMIT ?`;
export const COUNT_OPEN = "SELECT count(*) FROM quarantine WHERE lane = ? AND state = 'open'";
// The first row of a key says how the others wait; SQLite takes bare columns of the row that min() chose.
const OPEN_KEYS = `SELECT table_name, key_text, code, min((epoch << 40) + sequence) AS first FROM quarantine
 WHERE lane = @lane AND state = 'open' AND NOT (epoch = @epoch AND sequence = @sequence) GROUP BY table_name, key_text`;
export const OPEN_CODE = "SELECT count(*) FROM quarantine WHERE lane = ? AND state = 'open' AND code = ?";
const SETTLE = `UPDATE quarantine SET state = 'settled', fate = @fate, settled_at_ms = @atMs WHERE ${ROW}`;
const WAIT = `UPDATE quarantine SET state = 'open', fate = NULL, settled_at_ms = NULL, outcome = @outcome, code = @code,
 reason = @reason WHERE ${ROW}`;
const EXPLAIN = `UPDATE quarantine SET code = @code, reason = @reason WHERE ${ROW}`;
const UNDECIDE = `UPDATE quarantine SET decision = NULL, decided_by = '', decided_at_ms = 0, decision_reason = '' WHERE ${ROW}
 AND decision = @decision AND decided_by = @decidedBy AND decided_at_ms = @decidedAtMs`;
const FORGET_SETTLED = `DELETE FROM quarantine WHERE (lane, epoch, sequence, section, row_index) IN
 (SELECT lane, epoch, sequence, section, row_index FROM quarantine WHERE state = 'settled' AND settled_at_ms < ? LIMIT ?)`;
const REMOVE_LANE = 'DELETE FROM quarantine WHERE lane = ?';

export class QuarantineStore {
  readonly #sqlite: Sqlite;
  readonly #secret: Uint8Array;
  readonly #rows: RowsAtRest;
  readonly #lines: RowLineStore;
  readonly #clear: Statement;
  readonly #add: Statement;
  readonly #ofDelivery: Statement<[object], KeptRowColumns>;
  readonly #openOfLane: Statement<[Uint8Array, number], KeptRowColumns>;
  readonly #countOpen: Statement<[Uint8Array], number>;
  readonly #openKeys: Statement<[object], { table_name: string; key_text: string; code: string }>;
  readonly #openCode: Statement<[Uint8Array, string], number>;
  readonly #settle: Statement;
  readonly #wait: Statement;
  readonly #explain: Statement;
  readonly #undecide: Statement;
  readonly #forgetSettled: Statement<[number, number]>;
  readonly #removeLane: Statement;

  /** `secret` makes references that say nothing of a row: 32 bytes that never leave this file. */
  constructor(sqlite: Sqlite, secret: Uint8Array, rows: RowsAtRest, lines: RowLineStore) {
    this.#rows = rows;
    this.#lines = lines;
    this.#sqlite = sqlite;
    this.#secret = secret;
    this.#clear = sqlite.prepare(CLEAR);
    this.#add = sqlite.prepare(ADD);
    this.#ofDelivery = sqlite.prepare(OF_DELIVERY);
    this.#openOfLane = sqlite.prepare(OPEN_OF_LANE);
    this.#countOpen = sqlite.prepare<[Uint8Array], number>(COUNT_OPEN).pluck();
    this.#openKeys = sqlite.prepare(OPEN_KEYS);
    this.#openCode = sqlite.prepare<[Uint8Array, string], number>(OPEN_CODE).pluck();
    this.#settle = sqlite.prepare(SETTLE);
    this.#wait = sqlite.prepare(WAIT);
    this.#explain = sqlite.prepare(EXPLAIN);
    this.#undecide = sqlite.prepare(UNDECIDE);
    this.#forgetSettled = sqlite.prepare(FORGET_SETTLED);
    this.#removeLane = sqlite.prepare(REMOVE_LANE);
  }

  /** Makes `rows` the rows of this delivery that wait, durable when it returns. What was settled of it stays. */
  replace(place: LanePlace, rows: readonly QuarantineRow[], atMs: number): void {
    const { lane, epoch, sequence } = place;
    const work = (): void => {
      this.#clear.run({ lane, epoch, sequence });
      for (const { line, ...row } of rows) {
        const kept = { ...row, lane, epoch, sequence };
        this.#add.run({
          ...kept,
          columns: JSON.stringify(row.columns),
          wholeRows: row.wholeRows ? 1 : 0,
          atMs,
          ref: this.#ref(kept),
          ...this.#keyAtRest(kept),
        });
        this.#lines.keep(kept, line);
      }
    };
    if (this.#sqlite.inTransaction) work();
    else this.#sqlite.transaction(work).immediate();
  }

  /**
   * Follows the mark: exactly the rows in `open` wait. Others are settled, by what was decided about them; a row that waits under
   * another reason than before was tried and refused again, and its decision is over. Call it inside a transaction.
   */
  follow(place: LanePlace, open: readonly WaitingPlace[], atMs: number): Followed {
    const waiting = new Map(open.map((row) => [`${row.section}/${row.index}`, row]));
    const settled: KeptRow[] = [];
    let reopened = 0;
    for (const row of this.ofDelivery(place)) {
      const key = `${row.section}/${row.index}`;
      const now = waiting.get(key);
      waiting.delete(key);
      if (now === undefined) {
        if (row.state === 'settled') continue;
        this.#settle.run({ ...at(row), fate: fateOf(row.decision), atMs });
        settled.push(row);
      } else if (row.state === 'settled') {
        reopened += 1;
        this.#wait.run({ ...at(row), outcome: now.outcome, code: now.code, reason: now.reason });
      } else if (now.outcome !== row.outcome || now.code !== row.code || now.reason !== row.reason) {
        this.#wait.run({ ...at(row), outcome: now.outcome, code: now.code, reason: now.reason });
      }
    }
    return { settled, reopened, unknown: waiting.size };
  }

  /** Says why the row still waits. */
  explain(row: RowAt, code: string, reason: string): void {
    this.#explain.run({ ...at(row), code, reason });
  }

  /** Forgets every row of a lane that is over. */
  removeLane(lane: Uint8Array): void {
    this.#removeLane.run(lane);
    this.#lines.forgetEdits();
  }

  /** The row was tried and waits on: what was decided about it, as `row` has it, is over. What a person decided meanwhile stands. */
  undecide(row: KeptRow): void {
    const { decision, decidedBy, decidedAtMs } = row;
    this.#undecide.run({ ...at(row), decision, decidedBy, decidedAtMs });
  }

  /** Every row kept of a delivery, in order. */
  ofDelivery({ lane, epoch, sequence }: LanePlace): KeptRow[] {
    return this.#ofDelivery.all({ lane, epoch, sequence }).map((row) => keptRow(row, this.#rows));
  }

  openOfLane(lane: Uint8Array, limit: number): KeptRow[] {
    return this.#openOfLane.all(lane, limit).map((row) => keptRow(row, this.#rows));
  }

  countOpen(lane: Uint8Array): number {
    return this.#countOpen.get(lane) ?? 0;
  }

  /** Whether rows of the lane wait under this code. */
  hasCode(lane: Uint8Array, code: string): boolean {
    return (this.#openCode.get(lane, code) ?? 0) > 0;
  }

  /** Keys with an open row outside the delivery at `place`, by table. */
  openKeys({ lane, epoch, sequence }: LanePlace): OpenKeys {
    const tables = new Map<string, Map<string, KeyWaits>>();
    for (const { table_name: table, key_text: key, code } of this.#openKeys.all({ lane, epoch, sequence })) {
      const keys = tables.get(table) ?? new Map<string, KeyWaits>();
      tables.set(table, keys.set(key, code === 'MISSING_BASE' ? 'missingBase' : 'behind'));
    }
    if (!this.#rows.areSealed) return tables;
    return {
      get: (table) => {
        const keys = tables.get(table);
        return keys && { get: (keyText) => keys.get(this.#rows.nameOf(keyText)) };
      },
    };
  }

  /** Forgets rows that were settled before `beforeMs`, with their edits; returns how many. */
  forgetSettled(beforeMs: number, limit: number): number {
    const { changes } = this.#forgetSettled.run(beforeMs, limit);
    if (changes > 0) this.#lines.forgetEdits();
    return changes;
  }

  /** The key's text as it is, or a name for it and its text sealed beside that. */
  #keyAtRest(row: RowAt & Pick<QuarantineRow, 'keyText'>) {
    const { keyText } = row;
    if (!this.#rows.areSealed) return { keyText, keySealed: null, sealed: 0 };
    const { bytes, sealed } = this.#rows.seal(Buffer.from(keyText), placeOfKey(row));
    return { keyText: this.#rows.nameOf(keyText), keySealed: bytes, sealed };
  }

  #ref({ lane, epoch, sequence, section, index }: RowAt): string {
    const place = `${Buffer.from(lane).toString('hex')}/${epoch}/${sequence}/${section}/${index}`;
    return createHmac('sha256', this.#secret).update(place).digest('hex').slice(0, 20);
  }
}

function fateOf(decision: RowDecision | undefined): RowFate {
  switch (decision) {
    case 'abandon':
      return 'abandoned';
    case 'cancel':
      return 'cancelled';
    case 'supersede':
      return 'keptTarget';
    case 'replay':
    case undefined:
      return 'landed';
    default:
      return decision satisfies never;
  }
}

/** Its key's text is opened when it is asked for, which few do: that throws ROW_KEY_MISSING, ROW_UNREADABLE. */
export function keptRow(row: KeptRowColumns, rows: RowsAtRest): KeptRow {
  const place = {
    lane: row.lane,
    epoch: BigInt(row.epoch),
    sequence: BigInt(row.sequence),
    section: row.section,
    index: row.row_index,
  };
  return {
    ...place,
    get keyText() {
      return keyTextOf(row, place, rows);
    },
    table: row.table_name,
    kind: row.kind,
    columns: JSON.parse(row.columns) as string[],
    keyColumns: row.key_columns,
    wholeRows: row.whole_rows === 1,
    outcome: row.outcome,
    code: row.code,
    reason: row.reason,
    atMs: row.at_ms,
    ref: row.ref,
    state: row.state,
    fate: row.fate ?? undefined,
    decision: row.decision ?? undefined,
    decidedBy: row.decided_by,
    decidedAtMs: row.decided_at_ms,
    decisionReason: row.decision_reason,
  };
}

function keyTextOf({ key_text, key_sealed, sealed }: KeptRowColumns, place: RowAt, rows: RowsAtRest): string {
  if (sealed === 0) return key_text;
  return Buffer.from(rows.open(key_sealed ?? new Uint8Array(0), sealed, placeOfKey(place))).toString('utf8');
}
