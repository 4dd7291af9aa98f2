/**
 * A sheet of an XLSX file as records. A value is what is stored, not what is shown: a number is the double in its shortest text, and a
 * date a number in a cell that shows dates. Where the two could differ without anybody noticing, the row is left out.
 */
import type { FileHandle } from 'node:fs/promises';
import { type ColumnType, MAX_ROW_BYTES } from '@qiao/exchange';
import type { FilesTable } from '../adapter.ts';
import { broken, type FileRecord, type LeftOut, noHeader } from './records.ts';
import { CELL_DIGITS, MOST_COLUMNS, unescapedText } from './sheet.ts';
import { openWorkbook, type Workbook } from './workbook.ts';

interface Cell {
  readonly column: number;
  /** As the sheet says it: s, str, inlineStr, n, b, e or d. */
  readonly kind: string;
  readonly style: number;
  readonly text: string;
}

type Wanted = readonly { readonly name: string; readonly type: ColumnType }[];

const DAY_MS = 86_400_000;
const MIDNIGHT_1900 = Date.UTC(1899, 11, 30);
const MIDNIGHT_1904 = Date.UTC(1904, 0, 1);
const TRUTHS: ReadonlyMap<string, string> = new Map([
  ['1', 'true'],
  ['true', 'true'],
  ['0', 'false'],
  ['false', 'false'],
]);
/** Characters of the records that are handed on at once: one shared text may stand in each row of a sheet. */
const AT_ONCE = 1024 * 1024;

/** `still` is asked before each piece of the file. Throws FILE_BROKEN. */
export async function* xlsxRecords(
  name: string,
  handle: FileHandle,
  definition: FilesTable,
  wanted: Wanted,
  still: () => Promise<void>,
): AsyncGenerator<FileRecord[], void, undefined> {
  yield* sheetRecords(name, await openWorkbook(name, handle, definition.sheet, still), definition, wanted);
}

/** The records of an opened workbook's sheet. Throws FILE_BROKEN. */
export async function* sheetRecords(
  name: string,
  workbook: Workbook,
  definition: FilesTable,
  wanted: Wanted,
): AsyncGenerator<FileRecord[], void, undefined> {
  let found: FileRecord[] = [];
  let places = definition.csv.header
    ? undefined
    : placesOf(
        name,
        definition.columns.map((one) => one.name),
        wanted,
      );
  const rows = new SheetRows((line, cells) => {
    if (cells.length === 0) return;
    if (places === undefined) {
      const header: string[] = [];
      for (const cell of cells) header[cell.column] = plainText(workbook, cell) ?? '';
      places = placesOf(
        name,
        Array.from(header, (text) => text ?? ''),
        wanted,
      );
      return;
    }
    found.push(recordOf(workbook, line, new Map(cells.map((cell) => [cell.column, cell])), places, wanted));
  }, name);
  for await (const _ of workbook.sheet(rows)) {
    yield* inParts(found);
    found = [];
  }
  if (places === undefined) throw noHeader(name);
  yield* inParts(found);
}

function* inParts(records: readonly FileRecord[]): Generator<FileRecord[]> {
  let part: FileRecord[] = [];
  let size = 0;
  for (const record of records) {
    part.push(record);
    for (const field of record.fields ?? []) size += field?.length ?? 0;
    if (size < AT_ONCE) continue;
    yield part;
    part = [];
    size = 0;
  }
  if (part.length > 0) yield part;
}

function placesOf(file: string, header: readonly string[], wanted: Wanted): number[] {
  const missing = wanted.filter(({ name }) => !header.includes(name)).map(({ name }) => name);
  if (missing.length > 0) {
    const hint = 'let the department write the columns that agent.yaml declares in the first row that is not empty';
    throw broken(file, 1, `the header has no column ${missing.join(', ')}`, hint);
  }
  const twice = wanted.filter(({ name }) => header.indexOf(name) !== header.lastIndexOf(name)).map(({ name }) => name);
  if (twice.length > 0) {
    throw broken(file, 1, `the header names ${twice.join(', ')} twice`, 'let the department name each column once');
  }
  return wanted.map(({ name }) => header.indexOf(name));
}

function recordOf(
  workbook: Workbook,
  line: number,
  cells: ReadonlyMap<number, Cell>,
  places: readonly number[],
  wanted: Wanted,
): FileRecord {
  const fields: (string | null)[] = [];
  let size = 0;
  for (const [index, { name, type }] of wanted.entries()) {
    const cell = cells.get(places[index] as number);
    const value = cell === undefined ? null : cellText(workbook, cell, type);
    if (value === undefined) {
      const leftOut: LeftOut = { code: 'VALUE_INVALID', column: name };
      return { line, fields: undefined, leftOut };
    }
    size += value?.length ?? 0;
    if (size > MAX_ROW_BYTES) return { line, fields: undefined, leftOut: { code: 'ROW_TOO_LARGE', column: name } };
    fields.push(value);
  }
  return { line, fields };
}

/** The value as a text of the type, as far as a cell decides it; undefined for none. */
function cellText(workbook: Workbook, cell: Cell, type: ColumnType): string | undefined {
  switch (cell.kind) {
    case 'b':
      return TRUTHS.get(cell.text);
    case 'e':
      return undefined;
    case 'n':
      return numberText(workbook, cell, type);
    default:
      return plainText(workbook, cell);
  }
}

/** A text; a number as it stands, for a header. */
function plainText({ strings }: Workbook, { kind, text }: Cell): string | undefined {
  const found = kind === 's' ? sharedText(strings, text) : text;
  const meant = found === undefined ? undefined : unescapedText(found);
  return meant?.isWellFormed() ? meant : undefined;
}

function sharedText(strings: readonly string[], place: string): string | undefined {
  return /^\d+$/.test(place) ? strings[Number(place)] : undefined;
}

function numberText({ isDate, from1904 }: Workbook, { style, text }: Cell, type: ColumnType): string | undefined {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) return undefined;
  const asDate = isDate(style);
  switch (type.type) {
    case 'date':
    case 'time':
    case 'timestamp':
      return asDate ? instantText(value, from1904, type) : undefined;
    case 'float':
      return String(value);
    case 'boolean':
      return undefined;
    default:
      return asDate ? undefined : plainNumber(value);
  }
}

/** Without an exponent, and only as many digits as a cell keeps. */
function plainNumber(value: number): string | undefined {
  // A whole number of more digits was longer when it was typed: its end is zeros now.
  if (Math.abs(value) >= 10 ** CELL_DIGITS) return undefined;
  const digits = value.toPrecision(CELL_DIGITS);
  // 1.1 is stored as the double next to it; what differs in the fifteenth digit is another number.
  if (Number(digits) !== value) return undefined;
  const [mantissa = '', power = '0'] = String(value).split('e');
  if (power === '0') return mantissa;
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.');
  const sign = value < 0 ? '-' : '';
  const exponent = Number(power);
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${whole}${fraction}`;
  return undefined;
}

function instantText(serial: number, from1904: boolean, { type }: ColumnType): string | undefined {
  // Excel counts a 29 February 1900 that never was: days before it are one off, and it itself is none.
  const isOff = !from1904 && serial < 61;
  if (serial < 0 || (isOff && serial >= 60)) return undefined;
  if (type === 'time') return serial < 1 ? clockText(Math.round(serial * DAY_MS)) : undefined;
  if (isOff && serial < 1) return undefined;
  const days = isOff ? serial + 1 : serial;
  const ms = Math.round(days * DAY_MS) + (from1904 ? MIDNIGHT_1904 : MIDNIGHT_1900);
  const at = new Date(ms);
  if (Number.isNaN(at.getTime()) || at.getUTCFullYear() > 9999) return undefined;
  const day = at.toISOString().slice(0, 10);
  const clock = clockText(((ms % DAY_MS) + DAY_MS) % DAY_MS);
  if (type === 'date') return clock === '00:00:00' ? day : undefined;
  return `${day} ${clock}`;
}

function clockText(ms: number): string {
  // Always with three digits of a second, so that the zeros taken off are theirs alone.
  return new Date(ms)
    .toISOString()
    .slice(11, 23)
    .replace(/\.?0{1,3}$/, '');
}

/** Takes the tags of a sheet, and gives its rows. */
class SheetRows {
  readonly #onRow: (line: number, cells: readonly Cell[]) => void;
  readonly #file: string;
  #line = 0;
  #column = -1;
  #cells: Cell[] = [];
  #cell: { column: number; kind: string; style: number } | undefined;
  #text: string | undefined;
  #isText = false;
  #size = 0;

  constructor(onRow: (line: number, cells: readonly Cell[]) => void, file: string) {
    this.#onRow = onRow;
    this.#file = file;
  }

  open(name: string, attribute: (name: string) => string | undefined): void {
    switch (name) {
      case 'row':
        this.#line = Number(attribute('r') ?? this.#line + 1);
        this.#column = -1;
        this.#cells = [];
        this.#size = 0;
        return;
      case 'c': {
        this.#column = columnOf(attribute('r')) ?? this.#column + 1;
        if (this.#column >= MOST_COLUMNS || this.#cells.length >= MOST_COLUMNS) {
          throw broken(this.#file, this.#line, 'a cell lies beyond the last column', 'save the file anew');
        }
        this.#cell = { column: this.#column, kind: attribute('t') ?? 'n', style: Number(attribute('s') ?? 0) };
        this.#text = undefined;
        return;
      }
      case 'v':
      case 't':
        this.#isText = this.#cell !== undefined;
        this.#text ??= '';
        return;
      default:
    }
  }

  text(part: string): void {
    if (!this.#isText) return;
    this.#text = (this.#text ?? '') + part;
    this.#size += part.length;
    if (this.#size > MAX_ROW_BYTES)
      throw broken(this.#file, this.#line, 'the row is too large', 'save the file as CSV');
  }

  close(name: string): void {
    if (name === 'v' || name === 't') this.#isText = false;
    else if (name === 'c' && this.#cell !== undefined) {
      if (this.#text !== undefined) this.#cells.push({ ...this.#cell, text: this.#text });
      this.#cell = undefined;
    } else if (name === 'row') this.#onRow(this.#line, this.#cells);
  }
}

/** `AB12` is column 27. */
function columnOf(reference: string | undefined): number | undefined {
  const letters = /^[A-Z]{1,3}/.exec(reference ?? '')?.[0];
  if (letters === undefined) return undefined;
  let column = 0;
  for (const letter of letters) column = column * 26 + letter.charCodeAt(0) - 64;
  return column - 1;
}
