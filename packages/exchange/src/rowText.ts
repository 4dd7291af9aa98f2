/**
 * Row text: one row is one line, fields are separated by TAB, LF ends every line. Exactly four escapes exist
 * (`\\` `\t` `\n` `\r`), and a field that is `\N` is null. What a value looks like inside a field is canonical text
 * (columnType.ts); this file knows only fields. `golden/rows.*` define it.
 */
import { isUtf8 } from 'node:buffer';
import { QiaoError } from './errors.ts';

/** The longest row that bounded memory is promised for, in bytes with its LF. */
export const MAX_ROW_BYTES = 16 * 1024 * 1024;

const NULL_FIELD = '\\N';
const NEEDS_ESCAPE = /[\\\t\n\r]/;
const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };
const UNESCAPES: Readonly<Record<string, string>> = { '\\': '\\', t: '\t', n: '\n', r: '\r' };

/** Writes a value as a field. Null is not a value here: see joinRow. */
export function escapeField(text: string): string {
  return NEEDS_ESCAPE.test(text) ? text.replace(/[\\\t\n\r]/g, (character) => ESCAPES[character] ?? character) : text;
}

/** Reads a field that is not null. Throws ROW_TEXT_INVALID for an escape that does not exist. */
export function unescapeField(field: string): string {
  if (!field.includes('\\')) return field;
  return field.replace(/\\([\s\S]?)/g, (_, escaped: string) => {
    const character = UNESCAPES[escaped];
    if (character === undefined) throw invalid('an escape other than \\\\ \\t \\n \\r inside a field');
    return character;
  });
}

/** Splits one line, given without its LF, into values; null where the field is `\N`. Throws ROW_TEXT_INVALID. */
export function splitRow(line: string): (string | null)[] {
  const fields: (string | null)[] = line.split('\t');
  if (!line.includes('\\')) return fields;
  for (let index = 0; index < fields.length; index++) {
    const field = fields[index] as string;
    fields[index] = field === NULL_FIELD ? null : unescapeField(field);
  }
  return fields;
}

/** Writes values as one line, without LF. */
export function joinRow(fields: readonly (string | null)[]): string {
  let line = '';
  for (let index = 0; index < fields.length; index++) {
    const field = fields[index] as string | null;
    if (index > 0) line += '\t';
    line += field === null ? NULL_FIELD : escapeField(field);
  }
  return line;
}

const NUL = 0x00;
const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const BACKSLASH = 0x5c;

/**
 * Proves that bytes are row text of `columns` fields a line and returns the number of lines (0 for no bytes).
 * Throws ROW_TEXT_INVALID naming the line, never its contents.
 */
export function checkRows(rows: Uint8Array, columns: number): number {
  if (!Number.isInteger(columns) || columns < 1) throw invalid(`${columns} columns; expected at least 1`);
  const length = rows.length;
  if (length === 0) return 0;
  if (rows[length - 1] !== LF) throw invalid('a last line that LF does not end');
  if (!isUtf8(rows)) throw invalid('bytes that are not UTF-8');

  const tabsWanted = columns - 1;
  let lines = 0;
  let tabs = 0;
  let lineStart = 0;
  const words = new WordsOf(rows);
  for (let index = words.pass(0); index < length; index = words.pass(index + 1)) {
    const byte = rows[index] as number;
    if (byte > CR && byte !== BACKSLASH) continue;
    if (byte === TAB) {
      tabs++;
    } else if (byte === LF) {
      if (tabs !== tabsWanted) throw invalid(`${tabs + 1} fields; expected ${columns}`, lines + 1);
      if (index + 1 - lineStart > MAX_ROW_BYTES) {
        throw invalid(`a row of ${index + 1 - lineStart} bytes; expected at most ${MAX_ROW_BYTES}`, lines + 1);
      }
      lines++;
      tabs = 0;
      lineStart = index + 1;
    } else if (byte === BACKSLASH) {
      // The last byte is LF, so reading one further is always inside.
      const escaped = rows[index + 1] as number;
      if (escaped === 0x4e) {
        const startsField = index === lineStart || rows[index - 1] === TAB;
        const after = rows[index + 2];
        if (!startsField || (after !== TAB && after !== LF)) {
          throw invalid('\\N beside other characters of its field', lines + 1);
        }
      } else if (escaped !== BACKSLASH && escaped !== 0x74 && escaped !== 0x6e && escaped !== 0x72) {
        throw invalid('an escape other than \\\\ \\t \\n \\r \\N', lines + 1);
      }
      index++;
    } else if (byte === NUL || byte === CR) {
      throw invalid(byte === NUL ? 'a NUL byte' : 'a bare CR; expected \\r', lines + 1);
    }
  }
  return lines;
}

/** Each of the four bytes of a word, where it stands for all of them. */
const ONES = 0x01010101;
const HIGH_BITS = 0x80808080;
const NO_WORDS = new Int32Array(0);

/** Bytes looked at four at a time: nearly all of them mean nothing, and this passes over them in half the time. */
class WordsOf {
  /** Place of the first whole word: words lie at multiples of four in their memory. */
  readonly #first: number;
  readonly #words: Int32Array;

  constructor(bytes: Uint8Array) {
    this.#first = -bytes.byteOffset & 3;
    const words = Math.max(bytes.length - this.#first, 0) >> 2;
    // Rows that end before the first whole word have none; a view of nothing must begin at a word's place, too.
    this.#words = words === 0 ? NO_WORDS : new Int32Array(bytes.buffer, bytes.byteOffset + this.#first, words);
  }

  /** The place from `index` on where a byte up to CR, or a backslash, may stand; never past one. */
  pass(index: number): number {
    const offset = index - this.#first;
    if (offset < 0 || (offset & 3) !== 0) return index;
    const words = this.#words;
    let at = offset >> 2;
    for (; at < words.length; at++) {
      const word = words[at] as number;
      // A byte is below n when taking n away borrows from its high bit and it had none itself (Bit Twiddling Hacks, "hasless").
      const unlike = word ^ (ONES * BACKSLASH);
      const found = ((word - ONES * (CR + 1)) & ~word) | ((unlike - ONES) & ~unlike);
      if ((found & HIGH_BITS) !== 0) break;
    }
    return this.#first + (at << 2);
  }
}

function invalid(found: string, line?: number): QiaoError {
  const where = line === undefined ? '' : ` in line ${line}`;
  return new QiaoError('ROW_TEXT_INVALID', `Found ${found}${where} of row text.`, {
    hint: 'The writer of these rows is at fault; see packages/exchange/golden for the format.',
  });
}
