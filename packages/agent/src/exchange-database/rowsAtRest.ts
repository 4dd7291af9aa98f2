/**
 * Row contents as this file keeps them: sealed under the host's key where there is one. What was written before there was is
 * read as it is. Owns the flag beside each record and what happens when the key is not the one it was.
 */
import { QiaoError } from '@qiao/exchange';
import type { RowBox } from '@qiao/security';
import type { Statement } from 'better-sqlite3';
import type { Sqlite } from './connection.ts';
import type { LanePlace } from './lanePlace.ts';
import type { MetaStore } from './meta.ts';

export class RowsAtRest {
  readonly #box: RowBox | undefined;

  /** Without a box rows are kept as they are. */
  constructor(box: RowBox | undefined) {
    this.#box = box;
  }

  get areSealed(): boolean {
    return this.#box !== undefined;
  }

  seal(plain: Uint8Array, place: string): { bytes: Uint8Array; sealed: 0 | 1 } {
    if (this.#box === undefined) return { bytes: plain, sealed: 0 };
    return { bytes: this.#box.seal(plain, place), sealed: 1 };
  }

  open(kept: Uint8Array, sealed: number, place: string): Uint8Array {
    if (sealed === 0) return kept;
    if (this.#box === undefined) throw keyMissing('this program opened it without the key of this host');
    return this.#box.open(kept, place);
  }

  /** What stands in a column that is compared and not read. */
  nameOf(text: string): string {
    return this.#box?.nameOf(text) ?? text;
  }
}

/** Throws ROW_KEY_MISSING when rows in this file were sealed under another key than the one at hand. */
export function requireRowKey(meta: MetaStore, box: RowBox): void {
  const known = meta.rowKeyName();
  if (known === box.keyName) return;
  if (known !== undefined) throw keyMissing(`its rows were sealed with key ${known}, found ${box.keyName}`);
  meta.setRowKeyName(box.keyName);
}

/** A row and its key's text in one record. */
export function packRow(line: Uint8Array, keyText: string): Uint8Array {
  const key = Buffer.from(keyText, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(key.length);
  return Buffer.concat([length, key, line]);
}

export function unpackRow(packed: Uint8Array): { line: Uint8Array; keyText: string } {
  const bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  const keyEnd = 4 + bytes.readUInt32BE(0);
  return { keyText: bytes.toString('utf8', 4, keyEnd), line: bytes.subarray(keyEnd) };
}

export interface PlaceOfRow extends LanePlace {
  readonly section: number;
  readonly index: number;
}

export function placeOfRow({ lane, epoch, sequence, section, index }: PlaceOfRow): string {
  return `row/${Buffer.from(lane).toString('hex')}/${epoch}/${sequence}/${section}/${index}`;
}

export function placeOfEdit(row: PlaceOfRow, number: number): string {
  return `edit/${placeOfRow(row)}/${number}`;
}

/** Rows sealed in one transaction: as many are held in memory. */
const SEALED_PER_STEP = 200;
export const UNSEALED_ROWS = `SELECT lane, epoch, sequence, section, row_index AS "index", line, key_text AS keyText FROM quarantine
 WHERE sealed = 0 LIMIT ?`;
const SEAL = `UPDATE quarantine SET line = @line, key_text = @key, sealed = 1
 WHERE lane = @lane AND epoch = @epoch AND sequence = @sequence AND section = @section AND row_index = @index`;
export const UNSEALED_EDITS = `SELECT lane, epoch, sequence, section, row_index AS "index", number, line FROM quarantine_edit
 WHERE sealed = 0 LIMIT ?`;
const SEAL_EDIT = `UPDATE quarantine_edit SET line = @line, sealed = 1
 WHERE lane = @lane AND epoch = @epoch AND sequence = @sequence AND section = @section AND row_index = @index AND number = @number`;

/**
 * Seals quarantined rows that were kept before there was a key: a key's text is looked up by its name, so all of them have one
 * or none has when this returns. A crash between two steps leaves a mixture that nobody reads: the next start goes on here first.
 * Parcels need nothing: they are read by number, and forgotten when they are settled.
 */
export function sealKeptRows(sqlite: Sqlite, rows: RowsAtRest): void {
  if (!rows.areSealed) return;
  interface Found extends PlaceOfRow {
    readonly line: Buffer;
    readonly keyText: string;
    readonly number: number;
  }
  const at = ({ lane, epoch, sequence, section, index }: Found) => ({ lane, epoch, sequence, section, index });
  const seal = sqlite.prepare(SEAL);
  const sealEdit = sqlite.prepare(SEAL_EDIT);
  inSteps(sqlite, sqlite.prepare<[number], Found>(UNSEALED_ROWS), (row) => {
    const line = rows.seal(packRow(row.line, row.keyText), placeOfRow(row)).bytes;
    seal.run({ ...at(row), line, key: rows.nameOf(row.keyText) });
  });
  inSteps(sqlite, sqlite.prepare<[number], Found>(UNSEALED_EDITS), (edit) => {
    const line = rows.seal(edit.line, placeOfEdit(edit, edit.number)).bytes;
    sealEdit.run({ ...at(edit), number: edit.number, line });
  });
}

/** Each step reads what the ones before it left unsealed. */
function inSteps<Found>(sqlite: Sqlite, unsealed: Statement<[number], Found>, seal: (found: Found) => void): void {
  const step = sqlite.transaction((): number => {
    const page = unsealed.all(SEALED_PER_STEP);
    for (const found of page) seal(found);
    return page.length;
  });
  while (step.immediate() === SEALED_PER_STEP);
}

function keyMissing(why: string): QiaoError {
  return new QiaoError('ROW_KEY_MISSING', `the rows in this exchange database cannot be read: ${why}`, {
    hint: 'put rows.key back from the agent’s backup; without it, move exchange.db away: its lanes open new epochs and compare both ends',
  });
}
