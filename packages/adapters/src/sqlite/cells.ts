/**
 * One stored value to canonical text. For each column a `CellReader`: the SQL expression that reads it and the function that turns what
 * comes back into text, or into the code of a refusal. Never alters a value: another spelling of the same value (a `T` between date and
 * time, trailing zeros of a fraction, upper-case UUIDs) becomes the canonical one, everything else is refused.
 */
import { type ColumnType, floatText } from '@qiao/exchange';
import { quote } from './session.ts';
import { affinityOf } from './types.ts';

/** Values over this many bytes are fetched row by row, so that a chunk of rows stays small. */
export const LARGE_BYTES = 4096;

/** What the SQL yields in place of a large value. REAL, which neither a text nor a bytes column's value can be mistaken for. */
export const LARGE_MARKER = 0.5;

/** Why a value cannot be carried. An object, so that no text can be taken for one. */
export class Refusal {
  readonly code: string;
  constructor(code: string) {
    this.code = code;
  }
}

const STORAGE_CLASS = new Refusal('STORAGE_CLASS');
const VALUE_INVALID = new Refusal('VALUE_INVALID');
const TEXT_HAS_NUL = new Refusal('TEXT_HAS_NUL');
/** The text holds U+FFFD: stored so, or put there by the driver for bytes that are no UTF-8. `source.ts` looks at the bytes. */
export const SUSPECT_TEXT = new Refusal('TEXT_NOT_UTF8');

export interface CellReader {
  readonly name: string;
  /** SQL expression; `large` leaves large values in place. */
  select(large?: boolean): string;
  /** Canonical text of a value that is not null. */
  text(value: unknown): string | Refusal;
  /** May the text hold characters that row text escapes? */
  readonly mayNeedEscape: boolean;
  /** May the value be the large marker? */
  readonly mayBeLarge: boolean;
  /** `select` yields 't' and 'f' for 1 and 0. */
  readonly isBoolean: boolean;
}

/** The reader of one column. `declared` is the type as the table writes it. */
export function cellReader(name: string, type: ColumnType, declared: string): CellReader {
  const column = quote(name);
  const affinity = affinityOf(declared);
  const plain = (text: (value: unknown) => string | Refusal, select = column): CellReader => ({
    name,
    select: () => select,
    text,
    mayNeedEscape: false,
    mayBeLarge: false,
    isBoolean: type.type === 'boolean',
  });
  const sized = (text: (value: unknown) => string | Refusal): CellReader => ({
    name,
    select: (large) =>
      large ? column : `CASE WHEN octet_length(${column}) > ${LARGE_BYTES} THEN ${LARGE_MARKER} ELSE ${column} END`,
    text,
    mayNeedEscape: true,
    mayBeLarge: true,
    isBoolean: false,
  });
  switch (type.type) {
    case 'integer':
      return plain(integerText(type), asText(column));
    case 'decimal':
      return affinity === 'TEXT' ? plain(decimalFromText(type)) : plain(decimalFromNumber(type), numberOrText(column));
    case 'float':
      return plain(type.bits === 64 ? float64Text : float32Text);
    case 'boolean':
      return plain(
        stringOnly,
        `CASE WHEN ${column} IS NULL THEN NULL WHEN typeof(${column}) = 'integer' AND ${column} IN (0, 1) THEN CASE ${column} WHEN 1 THEN 't' ELSE 'f' END ELSE x'' END`,
      );
    case 'text':
      return sized(textText(type.maxLength));
    case 'json':
      return sized(textText(undefined));
    case 'bytes':
      return sized(bytesText(type.maxBytes));
    case 'date':
      return plain(matching(DATE));
    case 'time':
      return plain(timeText(type.digits));
    case 'timestamp':
      return plain(timestampText(type.digits, ''));
    case 'timestamptz':
      return plain(timestampText(type.digits, '+00'));
    case 'uuid':
      return plain(uuidText);
    case 'native':
      return plain(() => STORAGE_CLASS);
    default:
      return type satisfies never;
  }
}

/** An integer as text (an INTEGER past 2^53 is no JavaScript number), anything else as an empty blob. */
function asText(column: string): string {
  return `CASE typeof(${column}) WHEN 'integer' THEN CAST(${column} AS TEXT) WHEN 'null' THEN NULL ELSE x'' END`;
}

/** An integer as text, a real as itself, anything else as an empty blob. */
function numberOrText(column: string): string {
  return `CASE typeof(${column}) WHEN 'integer' THEN CAST(${column} AS TEXT) WHEN 'real' THEN ${column} WHEN 'null' THEN NULL ELSE x'' END`;
}

function stringOnly(value: unknown): string | Refusal {
  return typeof value === 'string' ? value : STORAGE_CLASS;
}

function integerText(type: Extract<ColumnType, { type: 'integer' }>): (value: unknown) => string | Refusal {
  if (type.bits === 64 && !type.unsigned) return stringOnly;
  const low = type.unsigned ? 0 : -(2 ** (type.bits - 1));
  const high = 2 ** (type.unsigned ? type.bits : type.bits - 1) - 1;
  return (value) => {
    if (typeof value !== 'string') return STORAGE_CLASS;
    const number = Number(value);
    return number >= low && number <= high ? value : VALUE_INVALID;
  };
}

/** Characters that need a second look: those row text escapes, NUL, and what the driver puts for broken UTF-8. */
const SECOND_LOOK = /[\0\uFFFD]/;

function textText(maxLength: number | undefined): (value: unknown) => string | Refusal {
  return (value) => {
    if (typeof value !== 'string') return STORAGE_CLASS;
    if (SECOND_LOOK.test(value)) return value.includes('\0') ? TEXT_HAS_NUL : SUSPECT_TEXT;
    if (maxLength !== undefined && value.length > maxLength && isLonger(value, maxLength)) return VALUE_INVALID;
    return value;
  };
}

/** Whether a text has more characters (code points) than `limit`. */
export function isLonger(text: string, limit: number): boolean {
  if (text.length <= limit) return false;
  let count = 0;
  for (const _ of text) if (++count > limit) return true;
  return false;
}

function bytesText(maxBytes: number | undefined): (value: unknown) => string | Refusal {
  return (value) => {
    if (!Buffer.isBuffer(value)) return STORAGE_CLASS;
    return maxBytes !== undefined && value.length > maxBytes ? VALUE_INVALID : `\\x${value.toString('hex')}`;
  };
}

function float64Text(value: unknown): string | Refusal {
  if (typeof value !== 'number') return STORAGE_CLASS;
  const size = Math.abs(value);
  // Between these PostgreSQL and JavaScript print the same: the shortest digits, without an exponent.
  return size >= 1e-4 && size < 1e15 ? String(value) : floatText(value, 64);
}

function float32Text(value: unknown): string | Refusal {
  if (typeof value !== 'number') return STORAGE_CLASS;
  return Math.fround(value) === value ? floatText(value, 32) : VALUE_INVALID;
}

/** Zero has no sign. */
export const DECIMAL = /^(?!-[0.]+$)-?(0|[1-9]\d*)(?:\.(\d+))?$/;

function decimalFromText(type: { precision?: number; scale?: number }): (value: unknown) => string | Refusal {
  return (value) => {
    if (typeof value !== 'string') return STORAGE_CLASS;
    if (!DECIMAL.test(value) || !fitsDecimal(value, type)) return VALUE_INVALID;
    return withScale(value, type.scale);
  };
}

function decimalFromNumber(type: { precision?: number; scale?: number }): (value: unknown) => string | Refusal {
  return (value) => {
    let text: string | undefined;
    if (typeof value === 'string') text = value;
    else if (typeof value === 'number') text = decimalOfReal(value);
    else return STORAGE_CLASS;
    if (text === undefined || !fitsDecimal(text, type)) return VALUE_INVALID;
    return withScale(text, type.scale);
  };
}

/**
 * The decimal a REAL was written as. Every decimal of up to 15 significant digits survives the way into a double and back, so the shortest
 * such text is the one that was meant; a double that needs more digits is the result of arithmetic, and nobody can say which decimal it is.
 */
export function decimalOfReal(value: number): string | undefined {
  const shortest = String(value);
  // At most 15 digits beside sign and point: what follows would come to the same.
  if (shortest.length <= 15 && value !== 0 && !shortest.includes('e') && Number.isFinite(value)) return shortest;
  if (!Number.isFinite(value)) return undefined;
  const short = value.toPrecision(15);
  if (Number(short) !== value) return undefined;
  const [mantissa = '', exponent = '0'] = short.split('e');
  const negative = mantissa.startsWith('-');
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.');
  const shift = Number(exponent);
  const digits = (shift < 0 ? '0'.repeat(-shift) : '') + whole + fraction + (shift > 0 ? '0'.repeat(shift) : '');
  const point = (shift < 0 ? -shift : 0) + whole.length + shift;
  const left = digits.slice(0, point).replace(/^0+(?=\d)/, '') || '0';
  const right = digits.slice(point).replace(/0+$/, '');
  const text = right === '' ? left : `${left}.${right}`;
  return negative && text !== '0' ? `-${text}` : text;
}

/** Whether a decimal text needs no more digits than precision and scale give; zeros at its end do not count. */
export function fitsDecimal(text: string, type: { precision?: number; scale?: number }): boolean {
  if (type.precision === undefined) return true;
  const scale = type.scale ?? 0;
  const start = text.startsWith('-') ? 1 : 0;
  const point = text.indexOf('.');
  const end = point < 0 ? text.length : point;
  const whole = end - start === 1 && text[start] === '0' ? 0 : end - start;
  if (whole > type.precision - scale) return false;
  return point < 0 || text.length - point - 1 <= scale || text.slice(point + 1).replace(/0+$/, '').length <= scale;
}

/** The text with `scale` decimals, if there is a scale; what fits never has more that count. */
function withScale(text: string, scale: number | undefined): string {
  if (scale === undefined) return text;
  const point = text.indexOf('.');
  if (point < 0) return scale === 0 ? text : `${text}.${'0'.repeat(scale)}`;
  if (scale === 0) return text.slice(0, point);
  const length = point + 1 + scale;
  return text.length > length ? text.slice(0, length) : text.padEnd(length, '0');
}

export const DATE = /^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/;
const TIME = /^([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d+))?)?$/;
const TIMESTAMP = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]00(?::?00)?)?$/;
/** A timestamp that is canonical as it stands, but for its calendar and its number of digits. */
const CANONICAL =
  /^(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]) (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d*[1-9])?$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function matching(pattern: RegExp): (value: unknown) => string | Refusal {
  return (value) => {
    if (typeof value !== 'string') return STORAGE_CLASS;
    return pattern.test(value) && isCalendarDate(value) ? value : VALUE_INVALID;
  };
}

/** Whether the day exists in its month. The pattern has been checked before. */
export function isCalendarDate(date: string): boolean {
  // Up to the 28th every month has every day; 50 and 56 are '2' and '8'.
  const tens = date.charCodeAt(8);
  if (tens < 50 || (tens === 50 && date.charCodeAt(9) <= 56)) return true;
  const day = Number(date.slice(8, 10));
  const year = Number(date.slice(0, 4));
  const month = Number(date.slice(5, 7));
  if (month === 2) return day === 29 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  return day <= 30 || [1, 3, 5, 7, 8, 10, 12].includes(month);
}

function timeText(digits: number): (value: unknown) => string | Refusal {
  return (value) => (typeof value === 'string' ? (canonicalTime(value, digits) ?? VALUE_INVALID) : STORAGE_CLASS);
}

/** `08:00` → `08:00:00`, `08:00:00.500` → `08:00:00.5`; undefined when it is no time or has more digits than the type. */
function canonicalTime(text: string, digits: number): string | undefined {
  const match = TIME.exec(text);
  if (!match) return undefined;
  const fraction = (match[4] ?? '').replace(/0+$/, '');
  if (fraction.length > digits) return undefined;
  return `${match[1]}:${match[2]}:${match[3] ?? '00'}${fraction === '' ? '' : `.${fraction}`}`;
}

function timestampText(digits: number, zone: '' | '+00'): (value: unknown) => string | Refusal {
  return (value) => {
    if (typeof value !== 'string') return STORAGE_CLASS;
    return canonicalTimestamp(value, digits, zone) ?? VALUE_INVALID;
  };
}

/** A timestamp in its canonical spelling; with a zone only UTC itself is taken, for any other offset would have to be computed. */
export function canonicalTimestamp(text: string, digits: number, zone: '' | '+00'): string | undefined {
  // 19 characters to the second, then a point and the digits.
  if (zone === '' && text.length <= 20 + digits && CANONICAL.test(text) && isCalendarDate(text)) return text;
  const match = TIMESTAMP.exec(text);
  if (!match || (match[3] === undefined) !== (zone === '')) return undefined;
  const [, date = '', clock = ''] = match;
  const time = canonicalTime(clock, digits);
  return time !== undefined && DATE.test(date) && isCalendarDate(date) ? `${date} ${time}${zone}` : undefined;
}

function uuidText(value: unknown): string | Refusal {
  if (typeof value !== 'string') return STORAGE_CLASS;
  return UUID.test(value) ? value.toLowerCase() : VALUE_INVALID;
}

export function isUuid(text: string): boolean {
  return UUID.test(text);
}

export function isTime(text: string, digits: number): boolean {
  return canonicalTime(text, digits) === text;
}
