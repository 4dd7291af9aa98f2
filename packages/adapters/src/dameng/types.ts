/** How 达梦's types travel: the server writes the text, binary floats and large objects excepted. `TYPES.md` is this file for people. */
import type { ColumnType } from '@qiao/exchange';
import type { Travel } from '../source-only/reader.ts';
import {
  booleanText,
  bytesText,
  dateText,
  decimalText,
  decoded,
  float,
  integerText,
  timestampText,
  timeText,
} from '../source-only/values.ts';

/** A row of ALL_TAB_COLUMNS. */
export interface CatalogType {
  /** `VARCHAR`, `TIMESTAMP`. */
  readonly name: string;
  /** Bytes, or characters. */
  readonly length: number;
  readonly precision: number | undefined;
  readonly scale: number | undefined;
}

const LONGEST = 2 ** 31;
const MOMENT = 'YYYY-MM-DD HH24:MI:SS';
const MOST_DIGITS = 6;

/** The type as the database writes it. */
export function nativeType({ name, length, precision, scale }: CatalogType): string {
  if (/^(DEC|DECIMAL|NUMERIC|NUMBER)$/.test(name)) {
    return (precision ?? 0) === 0 ? name : `${name}(${precision},${scale ?? 0})`;
  }
  if (/CHAR|BINARY$|^RAW$/.test(name)) return `${name}(${length})`;
  return /^(TIME|TIMESTAMP|DATETIME)$/.test(name) ? `${name}(${scale ?? MOST_DIGITS})` : name;
}

/** Undefined for a type that cannot travel. */
export function travelOf(catalog: CatalogType): Travel | undefined {
  const { name, precision, scale, length } = catalog;
  const digits = scale ?? MOST_DIGITS;
  switch (name) {
    case 'BIGINT':
      return integers(64);
    case 'INT':
    case 'INTEGER':
    case 'PLS_INTEGER':
      return integers(32);
    case 'SMALLINT':
      return integers(16);
    case 'TINYINT':
    case 'BYTE':
      return integers(8);
    case 'DEC':
    case 'DECIMAL':
    case 'NUMERIC':
    case 'NUMBER':
      // Without a precision a number of any scale is one of its values.
      return (precision ?? 0) === 0
        ? numbers({ type: 'decimal', trimmed: true }, undefined)
        : numbers({ type: 'decimal', precision: precision ?? 38, scale: scale ?? 0 }, scale ?? 0);
    case 'FLOAT':
    case 'DOUBLE':
    case 'DOUBLE PRECISION':
    case 'REAL': {
      const bits = name === 'REAL' ? 32 : 64;
      return {
        type: { type: 'float', bits },
        select: (at) => at,
        text: float(bits),
        compared: (text, bind) => bind(bits === 32 ? Math.fround(Number(text)) : Number(text)),
        mostBytes: 25,
      };
    }
    case 'CHAR':
    case 'CHARACTER':
      return texts(length, true);
    case 'VARCHAR':
    case 'VARCHAR2':
      return texts(length, false);
    case 'TEXT':
    case 'CLOB':
    case 'LONG':
    case 'LONGVARCHAR':
      return large({ type: 'text' }, decoded);
    case 'BLOB':
    case 'IMAGE':
    case 'LONGVARBINARY':
      return large({ type: 'bytes' }, bytesText);
    case 'BINARY':
    case 'VARBINARY':
    case 'RAW':
      return {
        type: { type: 'bytes', maxBytes: length },
        select: (at) => `RAWTOHEX(${at})`,
        text: bytesText,
        compared: (text, bind) => `HEXTORAW(${bind(text.slice(2))})`,
        mostBytes: 2 * length,
      };
    case 'BIT':
      return {
        type: { type: 'boolean' },
        select: (at) => `CASE ${at} WHEN 1 THEN 't' WHEN 0 THEN 'f' END`,
        text: booleanText,
        compared: (text, bind) => `CAST(${bind(text === 't' ? '1' : '0')} AS BIT)`,
        mostBytes: 1,
      };
    case 'DATE':
      return times({ type: 'date' }, 'YYYY-MM-DD', dateText, (bound) => `TO_DATE(${bound}, 'YYYY-MM-DD')`);
    case 'TIME':
      return digits > MOST_DIGITS
        ? undefined
        : times({ type: 'time', digits }, 'HH24:MI:SS.FF6', timeText, (bound) => `CAST(${bound} AS TIME(${digits}))`);
    case 'TIMESTAMP':
    case 'DATETIME':
      // Of the digits past a microsecond only newer servers have any, and how they are written is not known here.
      return digits > MOST_DIGITS
        ? undefined
        : times(
            { type: 'timestamp', digits },
            `${MOMENT}.FF6`,
            timestampText,
            (bound) => `TO_TIMESTAMP(${bound}, '${MOMENT}.FF6')`,
          );
    default:
      return undefined;
  }
}

function integers(bits: 8 | 16 | 32 | 64): Travel {
  return {
    type: { type: 'integer', bits },
    select: (at) => `CAST(${at} AS VARCHAR(20))`,
    text: integerText,
    compared: (text, bind) => `CAST(${bind(text)} AS BIGINT)`,
    mostBytes: 20,
  };
}

function numbers(type: ColumnType & { type: 'decimal' }, scale: number | undefined): Travel {
  const native = type.precision === undefined ? 'NUMBER' : `DECIMAL(${type.precision},${type.scale ?? 0})`;
  return {
    type,
    select: (at) => `CAST(${at} AS VARCHAR(100))`,
    text: (value) => decimalText(value, scale),
    compared: (text, bind) => `CAST(${bind(text)} AS ${native})`,
    mostBytes: 64,
  };
}

function texts(length: number, padded: boolean): Travel {
  return {
    type: { type: 'text', maxLength: length, ...(padded ? { padded } : {}) },
    select: (at) => at,
    text: decoded,
    compared: (text, bind) => bind(text),
    mostBytes: 4 * length,
  };
}

function large(type: ColumnType, text: Travel['text']): Travel {
  return { type, select: (at) => at, text, size: (at) => `DBMS_LOB.GETLENGTH(${at})`, mostBytes: LONGEST };
}

function times(type: ColumnType, format: string, text: Travel['text'], compared: (bound: string) => string): Travel {
  return {
    type,
    select: (at) => `TO_CHAR(${at}, '${format}')`,
    text,
    compared: (value, bind) => compared(bind(value)),
    mostBytes: 33,
  };
}
