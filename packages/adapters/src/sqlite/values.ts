/**
 * Canonical text to the value that a column of this table will hold. What the column would not hold exactly is refused with a sentence that
 * names the reason and never the value.
 */
import type { ColumnType } from '@qiao/exchange';
import { canonicalTimestamp, DATE, DECIMAL, fitsDecimal, isCalendarDate, isLonger, isTime, isUuid } from './cells.ts';
import { affinityOf, turnsIntoNumber, typeName } from './types.ts';

export type StoredValue = string | number | bigint | Buffer | null;

/** Why a text does not fit. */
export class Unfit {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}

export type ValueWriter = (text: string) => StoredValue | Unfit;

/** The writer of one column; the same text gives the same stored image every time. */
export function valueWriter(type: ColumnType, declared: string): ValueWriter {
  const affinity = affinityOf(declared);
  const unfit = new Unfit(`the text is no ${typeName(type)}`);
  switch (type.type) {
    case 'integer': {
      const low = type.unsigned ? 0n : -(1n << BigInt(type.bits - 1));
      // Unsigned 64-bit columns hold what SQLite can hold.
      const high =
        type.unsigned && type.bits < 64
          ? (1n << BigInt(type.bits)) - 1n
          : (1n << BigInt(type.bits === 64 ? 63 : type.bits - 1)) - 1n;
      const lowNumber = Number(low);
      const highNumber = Number(high);
      return (text) => {
        if (!INTEGER.test(text)) return unfit;
        if (text.length <= 15) {
          const number = Number(text);
          return number >= lowNumber && number <= highNumber ? number : unfit;
        }
        const big = BigInt(text);
        return big >= low && big <= high ? big : unfit;
      };
    }
    case 'decimal': {
      const inexact = new Unfit('a decimal of more digits cannot be stored exactly in a column of NUMERIC affinity');
      return (text) => {
        if (!DECIMAL.test(text) || !fitsDecimal(text, type)) return unfit;
        if (affinity === 'TEXT') return text;
        const point = text.indexOf('.');
        if (point < 0) {
          if (text.length <= 15) return Number(text);
          const whole = BigInt.asIntN(64, BigInt(text));
          return String(whole) === text ? whole : inexact;
        }
        const digits = text.replace(/^-?0*\.?0*|[.-]/g, '');
        return digits.length <= 15 ? Number(text) : inexact;
      };
    }
    case 'float': {
      const noHome = new Unfit('SQLite keeps neither NaN nor negative zero');
      return (text) => {
        if (text === 'NaN' || text === '-0') return noHome;
        if (text === 'Infinity') return Number.POSITIVE_INFINITY;
        if (text === '-Infinity') return Number.NEGATIVE_INFINITY;
        if (!FLOAT.test(text)) return unfit;
        const number = Number(text);
        // A 32-bit text is the shortest for its float: it is widened by its value, as the source would widen it.
        const stored = type.bits === 32 ? Math.fround(number) : number;
        return Number.isFinite(stored) ? stored : unfit;
      };
    }
    case 'boolean':
      return (text) => (text === 't' ? 1 : text === 'f' ? 0 : unfit);
    case 'text': {
      const { maxLength } = type;
      if (maxLength === undefined) return (text) => text;
      const long = new Unfit(`the text has more than ${maxLength} characters`);
      return (text) => (isLonger(text, maxLength) ? long : text);
    }
    case 'bytes': {
      const { maxBytes } = type;
      return (text) => {
        if (!text.startsWith('\\x') || text.length % 2 !== 0) return unfit;
        const bytes = Buffer.from(text.slice(2), 'hex');
        if (bytes.length * 2 !== text.length - 2) return unfit;
        return maxBytes !== undefined && bytes.length > maxBytes ? new Unfit(`more than ${maxBytes} bytes`) : bytes;
      };
    }
    case 'date':
      return (text) => (DATE.test(text) && isCalendarDate(text) ? text : unfit);
    case 'time':
      return (text) => (isTime(text, type.digits) ? text : unfit);
    case 'timestamp':
      return (text) => {
        // A date lands at its midnight; a timestamptz that the operator agreed to land without its zone comes as UTC.
        const full = text.length === 10 ? `${text} 00:00:00` : text.endsWith('+00') ? text.slice(0, -3) : text;
        return canonicalTimestamp(full, type.digits, '') === full ? full : unfit;
      };
    case 'timestamptz':
      return (text) => (canonicalTimestamp(text, type.digits, '+00') === text ? text : unfit);
    case 'uuid':
      return (text) => (isUuid(text) ? text : unfit);
    case 'json': {
      const altered = new Unfit('a column declared JSON would store this document as a number; declare it JSON_TEXT');
      return (text) => (affinity !== 'TEXT' && turnsIntoNumber(text) ? altered : text);
    }
    case 'native':
      return () => unfit;
    default:
      return type satisfies never;
  }
}

const INTEGER = /^-?(0|[1-9]\d{0,18})$/;
const FLOAT = /^-?\d+(\.\d+)?(e[+-]\d+)?$/;
