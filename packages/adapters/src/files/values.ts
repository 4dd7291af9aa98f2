/**
 * A field of a file as canonical text. Spellings of one value become one text where nothing can be lost (`12.5` of a decimal(10,2) is
 * `12.50`); whatever else is not canonical is refused, never mended. What each type takes is in TYPES.md.
 */
import { type ColumnType, checkValue, floatText } from '@qiao/exchange';

/** Undefined when the text is no value of the type. */
export function canonical(type: ColumnType, text: string): string | undefined {
  const spelled = SPELLINGS[type.type]?.(text, type as never) ?? text;
  return checkValue(type, spelled) === undefined ? spelled : undefined;
}

type Spellings = {
  readonly [T in ColumnType['type']]?: (text: string, type: Extract<ColumnType, { type: T }>) => string;
};

const TRUE = new Set(['t', 'true', 'TRUE', 'True', '1']);
const FALSE = new Set(['f', 'false', 'FALSE', 'False', '0']);
const NUMBER = /^-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const SECONDS = /^(\d\d:\d\d)$/;

const SPELLINGS: Spellings = {
  boolean: (text) => (TRUE.has(text) ? 't' : FALSE.has(text) ? 'f' : text),
  decimal: (text, { scale = 0 }) => (scale > 0 && /^-?\d+(?:\.\d+)?$/.test(text) ? padded(text, scale) : text),
  float: (text, { bits }) => {
    if (!NUMBER.test(text)) return text;
    const value = Number(text);
    return Number.isFinite(value) ? floatText(bits === 32 ? Math.fround(value) : value, bits) : text;
  },
  time: clock,
  timestamp: (text) => instant(text)?.text ?? text,
  timestamptz: (text) => {
    const found = instant(text);
    return found?.zone === undefined ? text : (inUtc(found.text, found.zone) ?? text);
  },
  uuid: (text) => text.toLowerCase(),
  bytes: (text) => text.toLowerCase(),
};

function padded(text: string, scale: number): string {
  const point = text.indexOf('.');
  const missing = scale - (point === -1 ? 0 : text.length - point - 1);
  if (missing <= 0) return text;
  return `${point === -1 ? `${text}.` : text}${'0'.repeat(missing)}`;
}

/** Seconds added, zeros at the end of a fraction taken off. */
function clock(text: string): string {
  return withoutZeros(text.replace(SECONDS, '$1:00'));
}

function withoutZeros(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

const INSTANT = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]\d\d(?::?\d\d)?)?$/;

function instant(text: string): { text: string; zone: string | undefined } | undefined {
  const [, date, time = '', zone] = INSTANT.exec(text) ?? [];
  if (date === undefined) return undefined;
  const plain = `${date} ${clock(time)}`;
  return { text: zone === undefined ? plain : plain + zone, zone };
}

/** Whole minutes are moved; the fraction of the second is kept as text. */
function inUtc(text: string, zone: string): string | undefined {
  const plain = text.slice(0, text.length - zone.length);
  if (zone === 'Z') return `${plain}+00`;
  const [, sign, hours, minutes = '00'] = /^([+-])(\d\d):?(\d\d)?$/.exec(zone) ?? [];
  const [date = '', time = ''] = plain.split(' ');
  const offset = (Number(hours) * 60 + Number(minutes)) * (sign === '-' ? -1 : 1);
  if (checkValue({ type: 'timestamp', digits: 9 }, plain) !== undefined || offset > 14 * 60 || offset < -14 * 60) {
    return undefined;
  }
  const at = new Date(`${date}T${time.slice(0, 8)}Z`);
  at.setUTCMinutes(at.getUTCMinutes() - offset);
  const year = at.getUTCFullYear();
  if (year < 1 || year > 9999) return undefined;
  return `${at.toISOString().slice(0, 19).replace('T', ' ')}${time.slice(8)}+00`;
}
