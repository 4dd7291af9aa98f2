/**
 * Quarantine: rows that the target refused, kept whole. Rows of a delivery are written before the target commits: a crash
 * between leaves rows of a delivery that was not applied, and applying it again replaces them.
 */
import type { Kind } from '@qiao/exchange';
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './database.ts';
import type { LanePlace } from './lanePlace.ts';

export interface QuarantineRow {
  /** Section of the delivery's content and row in it, both from 0. */
  readonly section: number;
  readonly index: number;
  readonly table: string;
  readonly kind: Kind;
  readonly columns: readonly string[];
  readonly keyColumns: number;
  readonly wholeRows: boolean;
  /** Row text with its LF. */
  readonly line: Uint8Array;
  readonly code: string;
  /** Why, without any value of the row. */
  readonly reason: string;
}

export interface QuarantinedDeliveryRow extends QuarantineRow, LanePlace {
  readonly atMs: number;
}

interface Row {
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
  line: Buffer;
  code: string;
  reason: string;
  at_ms: number;
}

const CLEAR = 'DELETE FROM quarantine WHERE lane = ? AND epoch = ? AND sequence = ?';
const ADD = `INSERT INTO quarantine (lane, epoch, sequence, section, row_index, table_name, kind, columns, key_columns,
 whole_rows, line, code, reason, at_ms) VALUES (@lane, @epoch, @sequence, @section, @index, @table, @kind, @columns,
 @keyColumns, @wholeRows, @line, @code, @reason, @atMs)`;
const OF_DELIVERY = `SELECT * FROM quarantine WHERE lane = ? AND epoch = ? AND sequence = ? ORDER BY section, row_index`;
export const OF_LANE = `SELECT * FROM quarantine WHERE lane = ? ORDER BY epoch, sequence, section, row_index LIMIT ?`;
const COUNT = 'SELECT count(*) FROM quarantine WHERE lane = ?';

const REMOVE_LANE = 'DELETE FROM quarantine WHERE lane = ?';

export class QuarantineStore {
  readonly #sqlite: Sqlite;
  readonly #clear: Statement;
  readonly #add: Statement;
  readonly #ofDelivery: Statement<[Uint8Array, bigint, bigint], Row>;
  readonly #ofLane: Statement<[Uint8Array, number], Row>;
  readonly #count: Statement<[Uint8Array], number>;
  readonly #removeLane: Statement;

  constructor(sqlite: Sqlite) {
    this.#sqlite = sqlite;
    this.#clear = sqlite.prepare(CLEAR);
    this.#add = sqlite.prepare(ADD);
    this.#ofDelivery = sqlite.prepare(OF_DELIVERY);
    this.#ofLane = sqlite.prepare(OF_LANE);
    this.#removeLane = sqlite.prepare(REMOVE_LANE);
    this.#count = sqlite.prepare<[Uint8Array], number>(COUNT).pluck();
  }

  /** Makes `rows` the quarantined rows of this delivery, durable when it returns. */
  replace(place: LanePlace, rows: readonly QuarantineRow[], atMs: number): void {
    const { lane, epoch, sequence } = place;
    const work = (): void => {
      this.#clear.run(lane, epoch, sequence);
      for (const row of rows) {
        this.#add.run({
          lane,
          epoch,
          sequence,
          section: row.section,
          index: row.index,
          table: row.table,
          kind: row.kind,
          columns: JSON.stringify(row.columns),
          keyColumns: row.keyColumns,
          wholeRows: row.wholeRows ? 1 : 0,
          line: row.line,
          code: row.code,
          reason: row.reason,
          atMs,
        });
      }
    };
    if (this.#sqlite.inTransaction) work();
    else this.#sqlite.transaction(work).immediate();
  }

  ofDelivery(place: LanePlace): QuarantinedDeliveryRow[] {
    return this.#ofDelivery.all(place.lane, place.epoch, place.sequence).map(quarantined);
  }

  ofLane(lane: Uint8Array, limit: number): QuarantinedDeliveryRow[] {
    return this.#ofLane.all(lane, limit).map(quarantined);
  }

  /** Forgets every row of a lane that is over. */
  removeLane(lane: Uint8Array): void {
    this.#removeLane.run(lane);
  }

  count(lane: Uint8Array): number {
    return this.#count.get(lane) ?? 0;
  }
}

function quarantined(row: Row): QuarantinedDeliveryRow {
  return {
    lane: row.lane,
    epoch: BigInt(row.epoch),
    sequence: BigInt(row.sequence),
    section: row.section,
    index: row.row_index,
    table: row.table_name,
    kind: row.kind,
    columns: JSON.parse(row.columns) as string[],
    keyColumns: row.key_columns,
    wholeRows: row.whole_rows === 1,
    line: row.line,
    code: row.code,
    reason: row.reason,
    atMs: row.at_ms,
  };
}
