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
  for (let index = 0; index < length; index++) {
    const byte = rows[index] as number;
    // Two comparisons let nearly every byte pass; a table of meanings was three times slower.
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

function invalid(found: string, line?: number): QiaoError {
  const where = line === undefined ? '' : ` in line ${line}`;
  return new QiaoError('ROW_TEXT_INVALID', `Found ${found}${where} of row text.`, {
    hint: 'The writer of these rows is at fault; see packages/exchange/golden for the format.',
  });
}
