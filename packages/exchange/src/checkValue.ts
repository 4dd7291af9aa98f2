/**
 * Whether a canonical text is a value of a type. Used where values were made by hand (quarantine edits, dictionaries,
 * files) or come from a store that does not enforce its types (SQLite). Never alters a value.
 */
import { type ColumnType, typeText } from './columnType.ts';

type Of<T extends ColumnType['type']> = Extract<ColumnType, { type: T }>;

/** Undefined when the text fits, else why not, without the value itself. */
export function checkValue(type: ColumnType, text: string): string | undefined {
  if (text.includes('\0')) return 'a NUL character';
  switch (type.type) {
    case 'integer':
      return checkInteger(type, text);
    case 'decimal':
      return checkDecimal(type, text);
    case 'float':
      return checkFloat(type, text);
    case 'boolean':
      return text === 't' || text === 'f' ? undefined : 'expected t or f';
    case 'text':
      return checkText(type, text);
    case 'bytes':
      if (!/^\\x(?:[0-9a-f]{2})*$/.test(text)) return 'expected \\x and lower-case hex';
      return (text.length - 2) / 2 <= (type.maxBytes ?? Number.POSITIVE_INFINITY)
        ? undefined
        : `${(text.length - 2) / 2} bytes; expected at most ${type.maxBytes}`;
    case 'date':
      return isDate(text) ? undefined : 'expected a date such as 2024-01-31';
    case 'time':
      return isTime(text, type.digits)
        ? undefined
        : `expected a time such as 08:00:00, at most ${type.digits} digits after the point`;
    case 'timestamp':
    case 'timestamptz':
      return checkTimestamp(type, text);
    case 'uuid':
      return /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/.test(text) ? undefined : 'expected a lower-case uuid';
    case 'json':
      return isJson(text) ? undefined : 'not JSON';
    case 'native':
      // Only its own system can judge it.
      return undefined;
    default:
      return type satisfies never;
  }
}

const INTEGER = /^(?:0|-?[1-9]\d*)$/;

function checkInteger(type: Of<'integer'>, text: string): string | undefined {
  if (!INTEGER.test(text)) return 'expected a whole number without leading zeros';
  // Nothing of four digits is outside the usual ranges, unless it must not be negative.
  if (text.length <= 4 && !type.unsigned && type.bits > 8) return undefined;
  if (text.length > 20) return `outside ${typeText(type)}`;
  const value = BigInt(text);
  const least = type.unsigned ? 0n : -(1n << BigInt(type.bits - 1));
  const beyond = 1n << BigInt(type.unsigned ? type.bits : type.bits - 1);
  return value >= least && value < beyond ? undefined : `outside ${typeText(type)}`;
}

const DECIMAL = /^(-?)(0|[1-9]\d*)(?:\.(\d+))?$/;

function checkDecimal(type: Of<'decimal'>, text: string): string | undefined {
  if (text === 'NaN') return undefined;
  if (text === 'Infinity' || text === '-Infinity')
    return type.precision === undefined ? undefined : `outside ${typeText(type)}`;
  const [, sign, whole, fraction = ''] = DECIMAL.exec(text) ?? [];
  if (whole === undefined) return 'expected a decimal number without leading zeros or exponent';
  if (sign === '-' && /^0*$/.test(whole + fraction)) return 'a negative zero';
  if (type.precision === undefined) return undefined;
  const scale = type.scale ?? 0;
  if (fraction.length > Math.max(scale, 0))
    return `${fraction.length} digits after the point; expected at most ${Math.max(scale, 0)}`;
  if (scale < 0 && !/^0*$/.test(whole.slice(scale))) return `digits that ${typeText(type)} does not keep`;
  // All digits from the first that counts: those before the point, or what follows the zeros after it.
  const room = type.precision - scale;
  const wholeDigits = whole === '0' ? 0 : whole.length;
  const tooLarge = wholeDigits > Math.max(room, 0) || (room < 0 && !/^0*$/.test(fraction.slice(0, -room)));
  return tooLarge ? `outside ${typeText(type)}` : undefined;
}

const FLOAT = /^-?(?:\d+(?:\.\d+)?(?:e[+-]\d{2,3})?|Infinity)$/;

function checkFloat(type: Of<'float'>, text: string): string | undefined {
  if (text === 'NaN') return undefined;
  if (!FLOAT.test(text)) return 'expected a number such as 0.1 or 1e+20';
  if (text.endsWith('Infinity')) return undefined;
  const value = type.bits === 32 ? Math.fround(Number(text)) : Number(text);
  return Number.isFinite(value) ? undefined : `outside ${typeText(type)}`;
}

function checkText(type: Of<'text'>, text: string): string | undefined {
  if (type.maxLength === undefined || text.length <= type.maxLength) return undefined;
  let characters = 0;
  for (const _ of text) characters++;
  return characters <= type.maxLength ? undefined : `${characters} characters; expected at most ${type.maxLength}`;
}

function checkTimestamp(type: Of<'timestamp' | 'timestamptz'>, text: string): string | undefined {
  const expected =
    type.type === 'timestamptz'
      ? `expected an instant in UTC such as 2024-01-31 00:00:00+00, at most ${type.digits} digits after the point`
      : `expected a time such as 2024-01-31 08:00:00, at most ${type.digits} digits after the point`;
  if (text === 'infinity' || text === '-infinity') return undefined;
  const isBeforeChrist = text.endsWith(' BC');
  let rest = isBeforeChrist ? text.slice(0, -3) : text;
  if (type.type === 'timestamptz') {
    if (!rest.endsWith('+00')) return expected;
    rest = rest.slice(0, -3);
  }
  const [date = '', time = '', ...more] = rest.split(' ');
  const isBoth = more.length === 0 && isCalendarDate(date, isBeforeChrist) && isTime(time, type.digits);
  return isBoth && !time.startsWith('24') ? undefined : expected;
}

function isDate(text: string): boolean {
  if (text === 'infinity' || text === '-infinity') return true;
  return text.endsWith(' BC') ? isCalendarDate(text.slice(0, -3), true) : isCalendarDate(text, false);
}

const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const;

function isCalendarDate(text: string, isBeforeChrist: boolean): boolean {
  const [, yearText = '', monthText, dayText] = /^(\d{4,7})-(\d\d)-(\d\d)$/.exec(text) ?? [];
  if (yearText.length > 4 && yearText.startsWith('0')) return false;
  const year = isBeforeChrist ? 1 - Number(yearText) : Number(yearText);
  if (Number(yearText) === 0) return false;
  const month = Number(monthText);
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = month === 2 && isLeap ? 29 : (DAYS[month - 1] ?? 0);
  return Number(dayText) >= 1 && Number(dayText) <= days;
}

function isTime(text: string, digits: number): boolean {
  const [, hour, minute, second, fraction = ''] = /^(\d\d):(\d\d):(\d\d)(?:\.(\d+))?$/.exec(text) ?? [];
  if (hour === undefined || fraction.length > digits || (text.includes('.') && fraction.endsWith('0'))) return false;
  if (text === '24:00:00') return true;
  return Number(hour) <= 23 && Number(minute) <= 59 && Number(second) <= 59;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
