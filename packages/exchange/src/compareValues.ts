/**
 * The order of canonical texts by their type, exact: integers and decimals by BigInt, dates by year, text by code point
 * (PostgreSQL's "C" collation, SQLite's BINARY). Used by filters and by proofs of disjoint ownership.
 */
import { checkValue } from './checkValue.ts';
import { type ColumnType, typeText } from './columnType.ts';

/** A value that can be compared with another of the same type. */
export type Comparable =
  | { kind: 'number'; unscaled: bigint; scale: number }
  /** -1: -Infinity, 1: Infinity, 2: NaN, above all as PostgreSQL orders it. */
  | { kind: 'special'; rank: -1 | 1 | 2 }
  | { kind: 'float'; value: number }
  | { kind: 'text'; text: string }
  | { kind: 'date'; year: number; rest: string };

/** Reads canonical text as a value to compare. The text must fit the type. */
export function comparable(type: ColumnType, text: string): Comparable {
  switch (type.type) {
    case 'integer':
    case 'decimal':
      if (text === 'NaN') return { kind: 'special', rank: 2 };
      if (text === 'Infinity') return { kind: 'special', rank: 1 };
      if (text === '-Infinity') return { kind: 'special', rank: -1 };
      return exactNumber(text);
    case 'float': {
      const value = Number(text);
      return { kind: 'float', value: type.bits === 32 ? Math.fround(value) : value };
    }
    case 'text':
      return { kind: 'text', text: type.padded ? text.replace(/ +$/, '') : text };
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return comparableDate(text);
    case 'boolean':
    case 'bytes':
    case 'time':
    case 'uuid':
    case 'json':
    case 'native':
      // Lower-case hex, times and t/f sort as text; the rest has no order of its own here.
      return { kind: 'text', text };
    default:
      return type satisfies never;
  }
}

/** Below 0, 0 or above 0 as `a` is before, equal to or after `b`; both of one type. */
export function compareValues(a: Comparable, b: Comparable): number {
  if (a.kind === 'number' && b.kind === 'number') return compareExact(a, b);
  if (a.kind === 'special' || b.kind === 'special') {
    return (a.kind === 'special' ? a.rank : 0) - (b.kind === 'special' ? b.rank : 0);
  }
  if (a.kind === 'float' && b.kind === 'float') return compareFloats(a.value, b.value);
  if (a.kind === 'date' && b.kind === 'date') return a.year === b.year ? compareTexts(a.rest, b.rest) : a.year - b.year;
  if (a.kind === 'text' && b.kind === 'text') return compareTexts(a.text, b.text);
  throw new TypeError(`cannot compare ${a.kind} with ${b.kind}`);
}

/** By code point, as memcmp compares UTF-8. */
export function compareTexts(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left === right) continue;
    // A surrogate (0xd800 to 0xdfff) stands for a code point above every single unit.
    const isLeftHigh = left >= 0xd800 && left <= 0xdfff;
    const isRightHigh = right >= 0xd800 && right <= 0xdfff;
    return isLeftHigh === isRightHigh ? left - right : isLeftHigh ? 1 : -1;
  }
  return a.length - b.length;
}

/** Why a filter's literal cannot be compared with a column of this type; undefined when it can. */
export function literalProblem(type: ColumnType, text: string): string | undefined {
  switch (type.type) {
    case 'integer':
    case 'decimal':
      // A literal may lie outside the column's range, or have more digits: the comparison is exact all the same.
      return /^-?\d+(?:\.\d+)?$/.test(text) ? undefined : 'expected a number';
    case 'float':
      return checkValue(type, text);
    case 'timestamp':
      return checkValue(type, withTime(text));
    case 'timestamptz':
      return checkValue(type, /(\+00|infinity)( BC)?$/.test(text) ? text : withZone(withTime(text)));
    case 'text':
      return text.includes('\0') ? 'a NUL character' : undefined;
    case 'native':
      return `${typeText(type)} has no order that every database shares`;
    case 'json':
      return 'json has no order that every database shares';
    case 'boolean':
    case 'bytes':
    case 'date':
    case 'time':
    case 'uuid':
      return checkValue(type, text);
    default:
      return type satisfies never;
  }
}

/** A decimal text as a whole number and a scale. */
export function exactNumber(text: string): { kind: 'number'; unscaled: bigint; scale: number } {
  const point = text.indexOf('.');
  if (point < 0) return { kind: 'number', unscaled: BigInt(text), scale: 0 };
  return {
    kind: 'number',
    unscaled: BigInt(text.slice(0, point) + text.slice(point + 1)),
    scale: text.length - point - 1,
  };
}

function compareExact(a: { unscaled: bigint; scale: number }, b: { unscaled: bigint; scale: number }): number {
  const left = a.scale < b.scale ? a.unscaled * 10n ** BigInt(b.scale - a.scale) : a.unscaled;
  const right = b.scale < a.scale ? b.unscaled * 10n ** BigInt(a.scale - b.scale) : b.unscaled;
  return left < right ? -1 : left > right ? 1 : 0;
}

function compareFloats(a: number, b: number): number {
  // PostgreSQL: NaN equals itself and is above everything; -0 equals 0.
  if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : 1;
  if (Number.isNaN(b)) return -1;
  return a < b ? -1 : a > b ? 1 : 0;
}

const MIDNIGHT = ' 00:00:00';

function comparableDate(text: string): Comparable {
  if (text === 'infinity') return { kind: 'date', year: Number.POSITIVE_INFINITY, rest: '' };
  if (text === '-infinity') return { kind: 'date', year: Number.NEGATIVE_INFINITY, rest: '' };
  const isBeforeChrist = text.endsWith(' BC');
  const plain = (isBeforeChrist ? text.slice(0, -3) : text).replace(/\+00$/, '');
  const yearEnd = plain.indexOf('-');
  const year = Number(plain.slice(0, yearEnd));
  const rest = plain.slice(yearEnd);
  return { kind: 'date', year: isBeforeChrist ? 1 - year : year, rest: rest.includes(':') ? rest : rest + MIDNIGHT };
}

function withTime(text: string): string {
  return /^\d{4,7}-\d\d-\d\d( BC)?$/.test(text) ? text.replace(/( BC)?$/, `${MIDNIGHT}$1`) : text;
}

function withZone(text: string): string {
  return text.replace(/( BC)?$/, '+00$1');
}
