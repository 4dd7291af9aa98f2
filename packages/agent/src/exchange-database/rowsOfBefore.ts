/**
 * Rows in the quarantine as earlier programs kept them, brought into their present form when the file is opened: what held its text in
 * its own record is taken apart, and what was kept before there was a key is sealed. Step by step: a crash between two steps leaves a
 * mixture that nobody reads, for the next start goes on here first. Never more than one line is in memory.
 */
import type { Sqlite } from './connection.ts';
import { at, ROW, type RowAt } from './rowPlace.ts';
import { placeOfEdit, placeOfKey, placeOfRow, type RowsAtRest } from './rowsAtRest.ts';

/** One transaction: so many rows, or bytes of their text and one row more. */
const ROWS_PER_STEP = 200;
const BYTES_PER_STEP = 32 * 1024 * 1024;

const PLACE = 'lane, epoch, sequence, section, row_index AS "index"';
export const UNSEALED_ROW = `SELECT ${PLACE}, key_text AS keyText FROM quarantine WHERE sealed = 0 LIMIT 1`;
const LINE = `SELECT line FROM quarantine_line WHERE ${ROW}`;
const SEAL_KEY = `UPDATE quarantine SET key_text = @name, key_sealed = @key, sealed = 1 WHERE ${ROW}`;
const SEAL_LINE = `UPDATE quarantine_line SET line = @line WHERE ${ROW}`;
export const UNSEALED_EDIT = `SELECT ${PLACE}, number, line FROM quarantine_edit WHERE sealed = 0 LIMIT 1`;
const SEAL_EDIT = `UPDATE quarantine_edit SET line = @line, sealed = 1 WHERE ${ROW} AND number = @number`;

// While there are rows of that form: the column goes with the last of them.
const HAS_WHOLE = "SELECT 1 FROM pragma_table_info('quarantine') WHERE name = 'line'";
const NEXT_WHOLE = `SELECT ${PLACE}, line, sealed FROM quarantine WHERE length(line) > 0 AND sealed <= ? LIMIT 1`;
const ADD_LINE = `INSERT INTO quarantine_line (lane, epoch, sequence, section, row_index, line)
 VALUES (@lane, @epoch, @sequence, @section, @index, @line)`;
const TAKEN_APART = `UPDATE quarantine SET line = x'', key_sealed = @key WHERE ${ROW}`;
const NO_WHOLE = 'DROP INDEX quarantine_whole; ALTER TABLE quarantine DROP COLUMN line';

/**
 * Gives each row that holds its text itself a line of its own. Without a key the sealed ones stay as they are: reading them says
 * ROW_KEY_MISSING. Throws ROW_UNREADABLE.
 */
export function takeRowsApart(sqlite: Sqlite, rows: RowsAtRest): void {
  if (sqlite.prepare(HAS_WHOLE).get() === undefined) return;
  interface Whole extends RowAt {
    readonly line: Buffer;
    readonly sealed: 0 | 1;
  }
  const next = sqlite.prepare<[number], Whole>(NEXT_WHOLE);
  const addLine = sqlite.prepare(ADD_LINE);
  const takenApart = sqlite.prepare(TAKEN_APART);
  const most = rows.areSealed ? 1 : 0;
  inSteps(sqlite, () => {
    const whole = next.get(most);
    if (whole === undefined) return undefined;
    const { line, key } = whole.sealed === 0 ? { line: whole.line, key: null } : apart(whole, rows);
    addLine.run({ ...at(whole), line });
    takenApart.run({ ...at(whole), key });
    return line.length;
  });
  if (next.get(1) === undefined) sqlite.transaction(() => sqlite.exec(NO_WHOLE)).immediate();
}

/** A row whose key and line were sealed as one: the length of the key's text in four bytes, that text, the line. */
function apart(row: RowAt & { readonly line: Buffer }, rows: RowsAtRest): { line: Uint8Array; key: Uint8Array } {
  const opened = Buffer.from(rows.open(row.line, 1, placeOfRow(row)));
  const keyEnd = 4 + opened.readUInt32BE(0);
  return {
    key: rows.seal(opened.subarray(4, keyEnd), placeOfKey(row)).bytes,
    line: rows.seal(opened.subarray(keyEnd), placeOfRow(row)).bytes,
  };
}

/**
 * Seals rows that were kept before there was a key: a key's text is looked up by its name, so all of them have one or none has when
 * this returns. Parcels need nothing: they are read by number, and forgotten when they are settled.
 */
export function sealKeptRows(sqlite: Sqlite, rows: RowsAtRest): void {
  if (!rows.areSealed) return;
  const nextRow = sqlite.prepare<[], RowAt & { readonly keyText: string }>(UNSEALED_ROW);
  const lineOf = sqlite.prepare<[object], Buffer>(LINE).pluck();
  const sealKey = sqlite.prepare(SEAL_KEY);
  const sealLine = sqlite.prepare(SEAL_LINE);
  inSteps(sqlite, () => {
    const row = nextRow.get();
    if (row === undefined) return undefined;
    const line = lineOf.get(at(row)) ?? Buffer.alloc(0);
    sealLine.run({ ...at(row), line: rows.seal(line, placeOfRow(row)).bytes });
    const key = rows.seal(Buffer.from(row.keyText), placeOfKey(row)).bytes;
    sealKey.run({ ...at(row), name: rows.nameOf(row.keyText), key });
    return line.length;
  });
  const nextEdit = sqlite.prepare<[], RowAt & { readonly number: number; readonly line: Buffer }>(UNSEALED_EDIT);
  const sealEdit = sqlite.prepare(SEAL_EDIT);
  inSteps(sqlite, () => {
    const edit = nextEdit.get();
    if (edit === undefined) return undefined;
    const { number, line } = edit;
    sealEdit.run({ ...at(edit), number, line: rows.seal(line, placeOfEdit(edit, number)).bytes });
    return line.length;
  });
}

/** `mendNext` mends the first row that the ones before it left and says the bytes of its text; undefined when none is left. */
function inSteps(sqlite: Sqlite, mendNext: () => number | undefined): void {
  const step = sqlite.transaction((): boolean => {
    for (let mended = 0, bytes = 0; mended < ROWS_PER_STEP && bytes < BYTES_PER_STEP; mended++) {
      const more = mendNext();
      if (more === undefined) return false;
      bytes += more;
    }
    return true;
  });
  while (step.immediate());
}
