/**
 * JSON lines: one object a line. Numbers stay the text that they are written as, nested values the JSON text that stands there. A member
 * that is missing is null. A line that is no object, or names a member twice, is left out and counted: the lines around it are sound.
 */
import { type ColumnType, checkValue } from '@qiao/exchange';
import { broken, type FileRecord, type LeftOut, type TextFormat } from './records.ts';

export function jsonLinesFormat(
  name: string,
  wanted: readonly { readonly name: string; readonly type: ColumnType }[],
): TextFormat {
  const places = new Map(wanted.map((column, place) => [column.name, place]));
  return {
    quotes: false,
    read(text, line) {
      const found: FileRecord[] = [];
      const lines = text.split('\n');
      for (const [index, one] of lines.entries()) {
        const bare = one.trim();
        if (bare === '') continue;
        if (line + index === 1 && bare.startsWith('[')) {
          throw broken(name, 1, 'the file is one JSON array', 'write one object a line (JSON lines)');
        }
        const fields = valuesOf(bare, places, wanted);
        found.push(
          Array.isArray(fields)
            ? { line: line + index, fields }
            : { line: line + index, fields: undefined, leftOut: fields },
        );
      }
      return found;
    },
    end: () => undefined,
    undecodable: (_text, line) => [{ line, fields: undefined, leftOut: { code: 'TEXT_UNDECODABLE', column: '' } }],
  };
}

function valuesOf(
  text: string,
  places: ReadonlyMap<string, number>,
  wanted: readonly { readonly type: ColumnType }[],
): (string | null)[] | LeftOut {
  const invalid = (column = ''): LeftOut => ({ code: 'VALUE_INVALID', column });
  if (!text.startsWith('{') || checkValue({ type: 'json' }, text) !== undefined) return invalid();
  const fields = wanted.map((): string | null => null);
  const seen = new Set<string>();
  for (const [name, raw] of members(text)) {
    if (seen.has(name)) return invalid(places.has(name) ? name : '');
    seen.add(name);
    const place = places.get(name);
    if (place === undefined || raw === 'null') continue;
    const isDocument = wanted[place]?.type.type === 'json';
    const value = raw.startsWith('"') && !isDocument ? (JSON.parse(raw) as string) : raw;
    // Half of a pair of surrogates is no character and has no UTF-8.
    if (!value.isWellFormed()) return { code: 'TEXT_UNDECODABLE', column: name };
    fields[place] = value;
  }
  return fields;
}

/** The members of an object that is sound JSON, with the text of each value. */
function* members(text: string): Generator<[name: string, raw: string]> {
  let at = blanks(text, 1);
  while (text[at] !== '}') {
    const nameEnd = valueEnd(text, at);
    const name = JSON.parse(text.slice(at, nameEnd)) as string;
    at = blanks(text, blanks(text, nameEnd) + 1);
    const end = valueEnd(text, at);
    yield [name, text.slice(at, end)];
    at = blanks(text, end);
    if (text[at] === ',') at = blanks(text, at + 1);
  }
}

function blanks(text: string, from: number): number {
  let at = from;
  while (text[at] === ' ' || text[at] === '\t' || text[at] === '\r') at++;
  return at;
}

/** Behind the value that begins here. */
function valueEnd(text: string, from: number): number {
  let depth = 0;
  let at = from;
  for (;;) {
    const character = text[at];
    if (character === '"') {
      at = stringEnd(text, at);
      if (depth === 0) return at;
      continue;
    }
    if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') {
      if (depth === 0) return at;
      depth--;
      if (depth === 0) return at + 1;
    } else if (depth === 0 && (character === ',' || character === ' ' || character === '\t' || character === '\r'))
      return at;
    at++;
  }
}

function stringEnd(text: string, from: number): number {
  for (let at = from + 1; ; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '"') return at + 1;
  }
}
