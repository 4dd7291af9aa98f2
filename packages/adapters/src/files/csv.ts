/**
 * CSV as RFC 4180 has it: fields in quotes may hold delimiters, quotes (doubled) and line ends; lines end with CRLF or LF. A row of another
 * number of fields than the first, or a quote in the middle of a field, means that the file is not what it is said to be: it is refused
 * with its line, for nobody knows where the next field begins.
 */
import type { FilesTable } from '../adapter.ts';
import { broken, type FileRecord, noHeader, type TextFormat } from './records.ts';

/** Reads the columns that are wanted, by the header's names or, without one, by the order of the declared ones. */
export function csvFormat(name: string, definition: FilesTable, wanted: readonly string[]): TextFormat {
  return new Csv(name, definition, wanted);
}

class Csv implements TextFormat {
  readonly quotes = true;
  readonly #name: string;
  readonly #definition: FilesTable;
  readonly #wanted: readonly string[];
  #header: readonly string[] | undefined;
  #places: readonly number[] = [];

  constructor(name: string, definition: FilesTable, wanted: readonly string[]) {
    this.#name = name;
    this.#definition = definition;
    this.#wanted = wanted;
    if (!definition.csv.header) this.#setHeader(definition.columns.map((column) => column.name));
  }

  read(text: string, line: number): FileRecord[] {
    const { delimiter } = this.#definition.csv;
    const found: FileRecord[] = [];
    if (!text.includes('"')) {
      const lines = text.split('\n');
      // What stands behind the last LF is a record only when it is not empty.
      if (lines.at(-1) === '') lines.pop();
      for (const [index, one] of lines.entries()) {
        const bare = one.endsWith('\r') ? one.slice(0, -1) : one;
        this.#take(bare.split(delimiter), undefined, line + index, found);
      }
      return found;
    }
    const cursor = { at: 0, line };
    while (cursor.at < text.length) {
      const begins = cursor.line;
      const { fields, quoted } = this.#record(text, cursor);
      this.#take(fields, quoted, begins, found);
    }
    return found;
  }

  undecodable(text: string, line: number): FileRecord[] {
    const { fields } = this.#record(text, { at: 0, line });
    const header = this.#header;
    if (header === undefined) {
      throw broken(
        this.#name,
        line,
        `the header is not ${this.#definition.encoding}`,
        'declare the encoding of the file',
      );
    }
    this.#checkWidth(fields, line);
    const column = header[fields.findIndex((field) => field.includes('\uFFFD'))] ?? '';
    return [{ line, fields: undefined, leftOut: { code: 'TEXT_UNDECODABLE', column } }];
  }

  end(): void {
    if (this.#header === undefined) throw noHeader(this.#name);
  }

  /** One record from `cursor` on; `quoted` says which fields stood in quotes. */
  #record(text: string, cursor: { at: number; line: number }): { fields: string[]; quoted: Set<number> } {
    const { delimiter } = this.#definition.csv;
    const fields: string[] = [];
    const quoted = new Set<number>();
    for (;;) {
      if (text[cursor.at] === '"') {
        quoted.add(fields.length);
        fields.push(this.#quotedField(text, cursor));
      } else fields.push(this.#plainField(text, cursor));
      const next = text[cursor.at];
      cursor.at++;
      if (next === delimiter) continue;
      if (next === '\r') cursor.at++;
      cursor.line++;
      return { fields, quoted };
    }
  }

  /** Leaves the cursor at what follows the field: a delimiter, CRLF, LF or the end. */
  #quotedField(text: string, cursor: { at: number; line: number }): string {
    const { delimiter } = this.#definition.csv;
    const begins = cursor.line;
    let value = '';
    for (let from = cursor.at + 1; ; ) {
      const end = text.indexOf('"', from);
      if (end === -1) throw broken(this.#name, begins, 'a quote is not closed', 'write the file anew');
      value += text.slice(from, end);
      if (text[end + 1] === '"') {
        value += '"';
        from = end + 2;
        continue;
      }
      for (let lf = value.indexOf('\n'); lf !== -1; lf = value.indexOf('\n', lf + 1)) cursor.line++;
      const isEnd = end + 1 === text.length || text[end + 1] === delimiter || text[end + 1] === '\n';
      if (!isEnd && !(text[end + 1] === '\r' && (text[end + 2] === '\n' || end + 2 === text.length))) {
        throw broken(
          this.#name,
          begins,
          'text stands behind a closing quote',
          'double each quote within a quoted field',
        );
      }
      cursor.at = end + 1;
      return value;
    }
  }

  #plainField(text: string, cursor: { at: number; line: number }): string {
    const { delimiter } = this.#definition.csv;
    let end = cursor.at;
    for (; end < text.length; end++) {
      const character = text[end];
      if (character === delimiter || character === '\n') break;
      if (character === '\r' && (text[end + 1] === '\n' || end + 1 === text.length)) break;
      if (character === '"') {
        throw broken(this.#name, cursor.line, 'a quote stands within a field', 'put the field in quotes and double it');
      }
    }
    const value = text.slice(cursor.at, end);
    cursor.at = end;
    return value;
  }

  #take(fields: readonly string[], quoted: ReadonlySet<number> | undefined, line: number, found: FileRecord[]): void {
    if (this.#header === undefined) {
      this.#setHeader(fields);
      return;
    }
    // A line without anything between rows is no row, unless there is but one column.
    if (fields.length === 1 && fields[0] === '' && quoted?.size !== 1 && this.#header.length > 1) return;
    this.#checkWidth(fields, line);
    const { null: nothing } = this.#definition.csv;
    const values = this.#places.map((place) => {
      const field = fields[place] as string;
      return field === nothing && quoted?.has(place) !== true ? null : field;
    });
    found.push({ line, fields: values });
  }

  #checkWidth({ length }: readonly string[], line: number): void {
    const expected = this.#header?.length ?? 0;
    if (length === expected) return;
    throw broken(
      this.#name,
      line,
      `found ${length} fields, expected ${expected}`,
      'put fields with a delimiter or a line end in quotes, and declare the delimiter the file really has',
    );
  }

  #setHeader(names: readonly string[]): void {
    const missing = this.#wanted.filter((name) => !names.includes(name));
    const twice = this.#wanted.filter((name) => names.indexOf(name) !== names.lastIndexOf(name));
    if (missing.length > 0 || twice.length > 0) {
      const what =
        missing.length > 0
          ? `the header has no column ${missing.join(', ')}`
          : `the header names ${twice.join(', ')} twice`;
      throw broken(
        this.#name,
        1,
        what,
        'let the department write the columns that agent.yaml declares, or declare encoding and delimiter of the file',
      );
    }
    this.#header = [...names];
    this.#places = this.#wanted.map((name) => names.indexOf(name));
  }
}
