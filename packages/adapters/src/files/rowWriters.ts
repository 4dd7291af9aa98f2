/** How the formats of files write rows: what stands before the first, each row, what stands behind the last. Sheets are sheet.ts's. */
import type { ColumnType } from '@qiao/exchange';
import type { FilesTable } from '../adapter.ts';

/** Text of a declared column: null, or undefined where it was not sent. */
export type Value = string | null | undefined;

export interface RowWriter {
  /** '' for nothing. */
  readonly head: string;
  readonly tail: string;
  /** Whether a column that was not sent can be told from one that is null. */
  readonly tellsUnsent: boolean;
  /** Values in the order of `Columns`. */
  row(own: readonly string[], values: readonly Value[]): string;
  /** Why the format cannot keep a value, which is one of its type; undefined when it can. */
  refusal(type: ColumnType, value: string): string | undefined;
}

/** Columns of a row: the journal's own, which are texts, then those that the table declares. */
export interface Columns {
  readonly own: readonly string[];
  readonly declared: FilesTable['columns'];
}

export function csvWriter(
  { delimiter, header, null: nothing }: FilesTable['csv'],
  { own, declared }: Columns,
): RowWriter {
  const line = (fields: readonly Value[]) => {
    const texts = fields.map((field) => {
      if (typeof field !== 'string') return nothing;
      const mustQuote = field === nothing || field.includes(delimiter) || /["\n\r]/.test(field);
      return mustQuote ? `"${field.replaceAll('"', '""')}"` : field;
    });
    return `${texts.join(delimiter)}\r\n`;
  };
  return {
    head: header ? line([...own, ...declared.map(({ name }) => name)]) : '',
    tail: '',
    tellsUnsent: false,
    row: (texts, values) => line([...texts, ...values]),
    refusal: () => undefined,
  };
}

/** A column that was not sent is no member; a null is one. */
export function jsonWriter({ own, declared }: Columns): RowWriter {
  return {
    head: '',
    tail: '',
    tellsUnsent: true,
    row(texts, values) {
      const members = own.map((name, index) => member(name, JSON.stringify(texts[index])));
      for (const [index, { name, type }] of declared.entries()) {
        const value = values[index];
        if (value !== undefined) members.push(member(name, value === null ? 'null' : jsonValue(type.type, value)));
      }
      return `{${members.join(',')}}\n`;
    },
    refusal: ({ type }, value) =>
      type === 'json' && /[\n\r]/.test(value) ? 'a document of several lines, which JSON lines cannot keep' : undefined,
  };
}

function jsonValue(type: string, text: string): string {
  switch (type) {
    case 'integer':
    case 'decimal':
    case 'float':
      // JSON has no word for NaN and the infinities.
      return /^-?\d/.test(text) ? text : JSON.stringify(text);
    case 'boolean':
      return text === 't' ? 'true' : 'false';
    case 'json':
      return text;
    default:
      return JSON.stringify(text);
  }
}

function member(name: string, value: string): string {
  return `${JSON.stringify(name)}:${value}`;
}
