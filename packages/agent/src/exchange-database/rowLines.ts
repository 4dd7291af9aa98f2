/**
 * Texts of the rows in the quarantine: as received, and as people edited them. They may be large, so each is read by its row's place, one
 * at a time, where it is landed, shown or edited; how large they are and who edited them is told without reading them.
 */
import { QiaoError } from '@qiao/exchange';
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
import { at, ROW, type RowAt } from './rowPlace.ts';
import { placeOfEdit, placeOfRow, type RowsAtRest } from './rowsAtRest.ts';

/** How often people edited a row, and the last time. */
export interface Edits {
  readonly count: number;
  readonly editedBy: string;
  readonly atMs: number;
}

interface KeptLine {
  readonly line: Buffer;
  readonly sealed: number;
}

// A row settled before the target lost it keeps its text.
const KEEP = `INSERT INTO quarantine_line (lane, epoch, sequence, section, row_index, line)
 VALUES (@lane, @epoch, @sequence, @section, @index, @line) ON CONFLICT DO NOTHING`;
export const RECEIVED = `SELECT line, (SELECT sealed FROM quarantine WHERE ${ROW}) AS sealed FROM quarantine_line WHERE ${ROW}`;
const NEWEST = `FROM quarantine_edit WHERE ${ROW} ORDER BY number DESC LIMIT 1`;
export const EDITED = `SELECT number, sealed, line ${NEWEST}`;
export const BYTES = `SELECT coalesce((SELECT length(line) ${NEWEST}), length(line)) FROM quarantine_line WHERE ${ROW}`;
// SQLite takes bare columns of the row that max() chose.
export const EDITS = `SELECT count(*) AS count, coalesce(edited_by, '') AS editedBy, coalesce(at_ms, 0) AS atMs, max(number)
 FROM quarantine_edit WHERE ${ROW}`;
const ADD_EDIT = `INSERT INTO quarantine_edit (lane, epoch, sequence, section, row_index, number, edited_by, at_ms, sealed, line)
 VALUES (@lane, @epoch, @sequence, @section, @index, @number, @by, @atMs, @sealed, @line)`;
const FORGET_EDITS = `DELETE FROM quarantine_edit WHERE NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.lane = quarantine_edit.lane
 AND q.epoch = quarantine_edit.epoch AND q.sequence = quarantine_edit.sequence AND q.section = quarantine_edit.section
 AND q.row_index = quarantine_edit.row_index)`;

export class RowLineStore {
  readonly #rows: RowsAtRest;
  readonly #keep: Statement;
  readonly #received: Statement<[object], KeptLine>;
  readonly #edited: Statement<[object], KeptLine & { readonly number: number }>;
  readonly #bytes: Statement<[object], number>;
  readonly #edits: Statement<[object], Edits>;
  readonly #addEdit: Statement;
  readonly #forgetEdits: Statement;

  constructor(sqlite: Sqlite, rows: RowsAtRest) {
    this.#rows = rows;
    this.#keep = sqlite.prepare(KEEP);
    this.#received = sqlite.prepare(RECEIVED);
    this.#edited = sqlite.prepare(EDITED);
    this.#bytes = sqlite.prepare<[object], number>(BYTES).pluck();
    this.#edits = sqlite.prepare(EDITS);
    this.#addEdit = sqlite.prepare(ADD_EDIT);
    this.#forgetEdits = sqlite.prepare(FORGET_EDITS);
  }

  /** Keeps the text of a row whose facts are in the quarantine already; it goes with them. */
  keep(row: RowAt, line: Uint8Array): void {
    this.#keep.run({ ...at(row), line: this.#rows.seal(line, placeOfRow(row)).bytes });
  }

  /** Row text with its LF, as received. Throws ROW_KEY_MISSING, ROW_UNREADABLE. */
  received(row: RowAt): Uint8Array {
    const kept = this.#received.get(at(row));
    if (kept !== undefined) return this.#rows.open(kept.line, kept.sealed, placeOfRow(row));
    throw new QiaoError('ROW_UNKNOWN', 'the row is not kept here any more', { hint: 'qiao quarantine list' });
  }

  /** The newest version that a person gave the row; undefined for none. Throws as `received`. */
  edited(row: RowAt): Uint8Array | undefined {
    const kept = this.#edited.get(at(row));
    return kept && this.#rows.open(kept.line, kept.sealed, placeOfEdit(row, kept.number));
  }

  /** The row as it would be tried now. Throws as `received`. */
  newest(row: RowAt): Uint8Array {
    return this.edited(row) ?? this.received(row);
  }

  /** Bytes kept of what `newest` reads: a seal is some bytes more than the text. */
  newestBytes(row: RowAt): number {
    return this.#bytes.get(at(row)) ?? 0;
  }

  edits(row: RowAt): Edits {
    const { count, editedBy, atMs } = this.#edits.get(at(row)) as Edits;
    return { count, editedBy, atMs };
  }

  /** Keeps a new version beside the row as received and its earlier versions. */
  addEdit(row: RowAt, line: Uint8Array, by: string, atMs: number): void {
    const number = this.edits(row).count + 1;
    const { bytes, sealed } = this.#rows.seal(line, placeOfEdit(row, number));
    this.#addEdit.run({ ...at(row), number, line: bytes, sealed, by, atMs });
  }

  /** Edits stay while a delivery is applied again and its rows are replaced; this forgets those whose row is gone. */
  forgetEdits(): void {
    this.#forgetEdits.run();
  }
}
