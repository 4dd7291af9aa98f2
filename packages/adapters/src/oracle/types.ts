/** How Oracle's types travel: the server writes the text (TO_CHAR with a format), binary floats, bytes and texts excepted. `TYPES.md` is this file for people. */
import type { ColumnType } from '@qiao/exchange';
import type { Travel } from '../source-only/reader.ts';
import {
  booleanText,
  bytesText,
  decimalText,
  decoded,
  float,
  instantText,
  timestampText,
  withoutZone,
} from '../source-only/values.ts';

/** A row of ALL_TAB_COLS. */
export interface CatalogType {
  /** `VARCHAR2`, `TIMESTAMP(6) WITH TIME ZONE`. */
  readonly name: string;
  /** Of types that somebody made. */
  readonly owner: string | undefined;
  /** Bytes. */
  readonly length: number;
  readonly precision: number | undefined;
  readonly scale: number | undefined;
  /** Characters. */
  readonly charLength: number;
}

const LONGEST = 2 ** 31;
const MOMENT = 'YYYY-MM-DD HH24:MI:SS';
const MOMENT_WITH_FRACTION = `${MOMENT}.FF9`;
const ZONE_LOST = 'the instant travels, the zone that it was written with does not';

/** The type as the database writes it. */
export function nativeType({ name, length, precision, scale, charLength }: CatalogType): string {
  if (name === 'NUMBER') {
    if (precision === undefined) return scale === undefined ? 'NUMBER' : `NUMBER(*,${scale})`;
    return `NUMBER(${precision},${scale ?? 0})`;
  }
  if (name === 'FLOAT') return `FLOAT(${precision ?? 126})`;
  if (/^N?(VAR)?CHAR2?$/.test(name)) return `${name}(${charLength}${name.startsWith('N') ? '' : ' CHAR'})`;
  return name === 'RAW' ? `RAW(${length})` : name;
}

/** Undefined for a type that cannot travel. */
export function travelOf(catalog: CatalogType): Travel | undefined {
  if (catalog.owner !== undefined) return undefined;
  const { name, precision, scale, length, charLength } = catalog;
  const [, digits] = /^TIMESTAMP\((\d)\)/.exec(name) ?? [];
  if (digits !== undefined) return instants(name.replace(/\(\d\)/, ''), Number(digits));
  switch (name) {
    case 'NUMBER':
      // Without a precision a number of any size and scale is one of its values, INTEGER included.
      return precision === undefined
        ? numbers({ type: 'decimal', trimmed: true }, undefined)
        : numbers({ type: 'decimal', precision, scale: scale ?? 0 }, scale ?? 0);
    case 'FLOAT':
      return numbers({ type: 'decimal', trimmed: true }, undefined);
    case 'BINARY_FLOAT':
    case 'BINARY_DOUBLE': {
      const bits = name === 'BINARY_FLOAT' ? 32 : 64;
      return {
        type: { type: 'float', bits },
        // The driver reads the bits themselves.
        select: (at) => at,
        text: float(bits),
        compared: (text, bind) => bind(bits === 32 ? Math.fround(Number(text)) : Number(text)),
        mostBytes: 25,
      };
    }
    case 'CHAR':
    case 'VARCHAR2':
      return texts(name === 'CHAR', charLength, (bound) => bound);
    case 'NCHAR':
    case 'NVARCHAR2':
      return texts(name === 'NCHAR', charLength, (bound) => `TO_NCHAR(${bound})`);
    case 'CLOB':
    case 'NCLOB':
      return large({ type: 'text' }, decoded);
    case 'BLOB':
      return large({ type: 'bytes' }, bytesText);
    case 'RAW':
      return {
        type: { type: 'bytes', maxBytes: length },
        select: (at) => at,
        text: bytesText,
        compared: (text, bind) => `HEXTORAW(${bind(text.slice(2))})`,
        mostBytes: 2 * length,
      };
    case 'DATE':
      return {
        // It has a time of day, to the second.
        type: { type: 'timestamp', digits: 0 },
        select: (at) => `TO_CHAR(${at}, '${MOMENT}')`,
        text: timestampText,
        compared: (text, bind) => `TO_DATE(${bind(text)}, '${MOMENT}')`,
        refused: isBeforeChrist,
        mostBytes: 19,
      };
    case 'BOOLEAN':
      return {
        type: { type: 'boolean' },
        select: (at) => `CASE WHEN ${at} IS NULL THEN NULL WHEN ${at} THEN 't' ELSE 'f' END`,
        text: booleanText,
        compared: (text, bind) => `TO_BOOLEAN(${bind(text === 't' ? 'true' : 'false')})`,
        mostBytes: 1,
      };
    default:
      return undefined;
  }
}

/** `TM9` writes every digit, and an exponent from 64 of them on; the scale is put behind. */
function numbers(type: ColumnType, scale: number | undefined): Travel {
  return {
    type,
    select: (at) => `TO_CHAR(${at}, 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')`,
    text: (value) => decimalText(value, scale),
    compared: (text, bind) => `TO_NUMBER(${bind(text)})`,
    mostBytes: 64,
  };
}

function texts(isPadded: boolean, length: number, wide: (bound: string) => string): Travel {
  return {
    type: { type: 'text', maxLength: length, ...(isPadded ? { padded: true } : {}) },
    select: (at) => at,
    text: decoded,
    compared: (text, bind) => wide(bind(text)),
    mostBytes: 4 * length,
  };
}

function large(type: ColumnType, text: Travel['text']): Travel {
  return { type, select: (at) => at, text, size: (at) => `DBMS_LOB.GETLENGTH(${at})`, mostBytes: LONGEST };
}

function instants(kind: string, digits: number): Travel | undefined {
  const shared = { refused: isBeforeChrist, mostBytes: 33 };
  const isZoned = kind === 'TIMESTAMP WITH TIME ZONE';
  if (kind === 'TIMESTAMP') {
    return {
      ...shared,
      type: { type: 'timestamp', digits },
      select: (at) => `TO_CHAR(${at}, '${MOMENT_WITH_FRACTION}')`,
      text: timestampText,
      compared: (text, bind) => `TO_TIMESTAMP(${bind(text)}, '${MOMENT_WITH_FRACTION.replace('FF9', 'FF')}')`,
    };
  }
  if (!isZoned && kind !== 'TIMESTAMP WITH LOCAL TIME ZONE') return undefined;
  return {
    ...shared,
    type: { type: 'timestamptz', digits },
    select: (at) => `TO_CHAR(SYS_EXTRACT_UTC(${at}), '${MOMENT_WITH_FRACTION}')`,
    text: instantText,
    compared: (text, bind) =>
      `TO_TIMESTAMP_TZ(${bind(`${withoutZone(text)} +00:00`)}, '${MOMENT_WITH_FRACTION.replace('FF9', 'FF')} TZH:TZM')`,
    ...(isZoned ? { loses: ZONE_LOST } : {}),
  };
}

/** The format shows years without their sign. */
function isBeforeChrist(at: string): string {
  return `${at} < DATE '0001-01-01'`;
}
