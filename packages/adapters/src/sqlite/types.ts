/**
 * SQLite's declared types as logical types, and back. A declared type is only a wish in SQLite: what a value really is decides `cells.ts`
 * per row. TYPES.md is this file for people.
 */
import { type ColumnType, QiaoError } from '@qiao/exchange';
import type { DescribedType } from '../adapter.ts';

export type Affinity = 'INTEGER' | 'TEXT' | 'BLOB' | 'REAL' | 'NUMERIC';

/** The affinity SQLite gives a declared type (https://www.sqlite.org/datatype3.html, 3.1). */
export function affinityOf(declared: string): Affinity {
  const name = declared.toUpperCase();
  if (name.includes('INT')) return 'INTEGER';
  if (name.includes('CHAR') || name.includes('CLOB') || name.includes('TEXT')) return 'TEXT';
  if (name.includes('BLOB') || name === '') return 'BLOB';
  if (name.includes('REAL') || name.includes('FLOA') || name.includes('DOUB')) return 'REAL';
  return 'NUMERIC';
}

/** The logical type of a declared one, or `unsupported` when nobody can say what was meant. */
export function columnTypeOf(declared: string): DescribedType {
  const match = /^\s*([^()]*?)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?(?:CHAR|BYTE)?\s*\))?\s*([^()]*)$/i.exec(declared);
  if (!match) return { unsupported: declared };
  const name = `${match[1]} ${match[4]}`.trim().replace(/\s+/g, ' ').toUpperCase();
  const first = match[2] === undefined ? undefined : Number(match[2]);
  const second = match[3] === undefined ? undefined : Number(match[3]);
  return typeOf(name, first, second) ?? { unsupported: declared === '' ? '(no type)' : declared };
}

function typeOf(name: string, first: number | undefined, second: number | undefined): ColumnType | undefined {
  if (/\bUNSIGNED\b/.test(name) && name.includes('INT')) {
    const bits = integerBits(name.replace('UNSIGNED', '').trim());
    // SQLite's integers end at 2^63-1: the upper half of an unsigned 64-bit type cannot be there.
    return bits === undefined ? undefined : { type: 'integer', bits, unsigned: true };
  }
  const bits = integerBits(name);
  if (bits !== undefined) return { type: 'integer', bits };
  switch (name) {
    case 'BOOL':
    case 'BOOLEAN':
      return { type: 'boolean' };
    case 'DECIMAL':
    case 'DEC':
    case 'NUMERIC':
    case 'NUMBER':
      return first === undefined ? { type: 'decimal', trimmed: true } : decimal(first, second);
    case 'DECIMAL_TEXT':
      return decimal(first, second);
    case 'FLOAT4':
      return { type: 'float', bits: 32 };
    case 'DATE':
      return { type: 'date' };
    case 'TIME':
      return { type: 'time', digits: first ?? 6 };
    case 'DATETIME':
    case 'TIMESTAMP':
    case 'TIMESTAMP WITHOUT TIME ZONE':
      return { type: 'timestamp', digits: first ?? 6 };
    case 'TIMESTAMPTZ':
    case 'TIMESTAMP WITH TIME ZONE':
      return { type: 'timestamptz', digits: first ?? 6 };
    case 'UUID':
    case 'UUID_TEXT':
      return { type: 'uuid' };
    case 'JSON':
    case 'JSON_TEXT':
      return { type: 'json' };
    case 'BINARY':
    case 'VARBINARY':
    case 'BYTEA':
      return first === undefined ? { type: 'bytes' } : { type: 'bytes', maxBytes: first };
    case '':
      return undefined;
    default:
      break;
  }
  switch (affinityOf(name)) {
    case 'TEXT': {
      // CHAR(n) too: nothing is filled up with blanks here.
      return first === undefined ? { type: 'text' } : { type: 'text', maxLength: first };
    }
    case 'BLOB':
      return first === undefined ? { type: 'bytes' } : { type: 'bytes', maxBytes: first };
    case 'REAL':
      return { type: 'float', bits: 64 };
    case 'INTEGER':
    case 'NUMERIC':
      return undefined;
    default:
      return undefined;
  }
}

function integerBits(name: string): 16 | 32 | 64 | undefined {
  switch (name) {
    case 'TINYINT':
    case 'SMALLINT':
    case 'INT2':
      return 16;
    case 'INT':
    case 'INT4':
    case 'MEDIUMINT':
      return 32;
    case 'INTEGER':
    case 'BIGINT':
    case 'INT8':
    case 'BIG INT':
      return 64;
    default:
      return undefined;
  }
}

function decimal(precision: number | undefined, scale: number | undefined): ColumnType {
  if (precision === undefined) return { type: 'decimal' };
  return { type: 'decimal', precision, scale: scale ?? 0 };
}

/**
 * The declared type that holds a logical type exactly and is described as the same again; for `createTable`.
 * Throws TYPE_REFUSED for what SQLite has no exact home for.
 */
export function declaredTypeOf(column: string, type: ColumnType): string {
  switch (type.type) {
    case 'integer': {
      const name = type.bits <= 16 ? 'INT2' : type.bits <= 32 ? 'INT4' : 'INT8';
      if (!type.unsigned) return name;
      if (type.bits !== 64) return `${name} UNSIGNED`;
      break;
    }
    case 'decimal':
      // TEXT affinity: a number of more than 15 digits, or the scale of 12.50, would not survive as REAL.
      if (type.precision === undefined) return 'DECIMAL_TEXT';
      return `DECIMAL_TEXT(${type.precision},${type.scale ?? 0})`;
    case 'float':
      return type.bits === 32 ? 'FLOAT4' : 'DOUBLE';
    case 'boolean':
      return 'BOOLEAN';
    case 'text':
      if (type.maxLength === undefined) return 'TEXT';
      return `VARCHAR(${type.maxLength})`;
    case 'bytes':
      return type.maxBytes === undefined ? 'BLOB' : `BLOB(${type.maxBytes})`;
    case 'date':
      return 'DATE';
    case 'time':
      return `TIME(${type.digits})`;
    case 'timestamp':
      return `TIMESTAMP(${type.digits})`;
    case 'timestamptz':
      return `TIMESTAMPTZ(${type.digits})`;
    case 'uuid':
      return 'UUID_TEXT';
    case 'json':
      // Declared JSON has NUMERIC affinity, and the document 12.50 would become 12.5.
      return 'JSON_TEXT';
    case 'native':
      break;
    default:
      return type satisfies never;
  }
  throw new QiaoError('TYPE_REFUSED', `column ${column}: SQLite has no exact home for ${typeName(type)}`, {
    hint: 'Leave the column out of the bridge, or let the source offer a view that casts it.',
  });
}

/** Whether NUMERIC affinity would store this text as a number. */
export function turnsIntoNumber(text: string): boolean {
  return /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(text);
}

/** A logical type for people. */
export function typeName(type: ColumnType): string {
  const { type: name, ...details } = type;
  const rest = Object.entries(details).filter(([, value]) => value !== undefined);
  return rest.length === 0 ? name : `${name}(${rest.map(([key, value]) => `${key} ${value}`).join(', ')})`;
}
