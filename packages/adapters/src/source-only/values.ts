/** Canonical text out of what these databases write: one function for each shape, pure. What is no value of its type is refused, never altered. */
import { floatText } from '@qiao/exchange';
import { Refused, type Value } from './reader.ts';

type Given = Exclude<Value, null>;

/** Text that is nothing but what the driver gave. */
export function asIs(value: Given): string {
  return String(value);
}

/** Nothing that a text of UTF-16 has lost its half of. */
export function wellFormed(value: Given): string | Refused {
  const text = String(value);
  return text.isWellFormed() ? text : new Refused('TEXT_NOT_UTF8');
}

/**
 * The driver puts U+FFFD where bytes are no character of the database's set, and says nothing. Whether it stood in the database itself
 * cannot be told, so that neither travels.
 */
export function decoded(value: Given): string | Refused {
  const text = String(value);
  return text.includes('\ufffd') ? new Refused('TEXT_UNDECODABLE') : wellFormed(text);
}

/** `.5`, `1E+30`, `-1.20`: digits without an exponent, a digit before the point, `scale` digits behind it or as many as there are. */
export function decimalText(value: Given, scale?: number): string | Refused {
  const match = /^\s*([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?\s*$/.exec(String(value));
  if (match === null) return new Refused('VALUE_INVALID');
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  if (whole + fraction === '') return new Refused('VALUE_INVALID');
  const power = Number(exponent);
  const digits = `${'0'.repeat(Math.max(0, -power))}${whole}${fraction}${'0'.repeat(Math.max(0, power))}`;
  const point = Math.max(0, -power) + whole.length + power;
  const before = digits.slice(0, point).replace(/^0+(?=\d)/, '') || '0';
  const behind = digits.slice(point).replace(/0+$/, '');
  // More digits than the type has are none of its values.
  if (scale !== undefined && behind.length > Math.max(0, scale)) return new Refused('VALUE_INVALID');
  const kept = scale === undefined ? behind : behind.padEnd(Math.max(0, scale), '0');
  const text = kept === '' ? before : `${before}.${kept}`;
  return sign === '-' && /[1-9]/.test(text) ? `-${text}` : text;
}

export function integerText(value: Given): string | Refused {
  const text = String(value).trim();
  return /^-?\d+$/.test(text) ? text : new Refused('VALUE_INVALID');
}

/** A float as the driver decoded it from its bits. */
export function float(bits: 32 | 64): (value: Given) => string | Refused {
  return (value) => {
    const number = typeof value === 'number' ? value : Number(String(value).trim() || Number.NaN);
    if (Number.isNaN(number) && !/nan/i.test(String(value))) return new Refused('VALUE_INVALID');
    return floatText(number, bits);
  };
}

export function bytesText(value: Given): string | Refused {
  if (Buffer.isBuffer(value)) return `\\x${value.toString('hex')}`;
  const hex = String(value);
  return /^([0-9a-f]{2})*$/i.test(hex) ? `\\x${hex.toLowerCase()}` : new Refused('VALUE_INVALID');
}

/** What the database writes as `t` or `f`, or as a bit. */
export function booleanText(value: Given): string | Refused {
  const known = { t: 't', f: 'f', '1': 't', '0': 'f' }[String(value)];
  return known ?? new Refused('VALUE_INVALID');
}

const DATE = /^\d{4}-\d\d-\d\d$/;
const TIME = /^\d\d:\d\d:\d\d(\.\d{1,9})?$/;

export function dateText(value: Given): string | Refused {
  const text = String(value);
  return DATE.test(text) && !text.startsWith('0000') ? text : new Refused('VALUE_INVALID');
}

/** `08:00:00.5000000` without its zeros. */
export function timeText(value: Given): string | Refused {
  const text = String(value);
  return TIME.test(text) ? untrailed(text) : new Refused('VALUE_INVALID');
}

export function timestampText(value: Given): string | Refused {
  const [date = '', time = '', ...rest] = String(value).split(' ');
  if (rest.length > 0 || dateText(date) instanceof Refused || !TIME.test(time)) return new Refused('VALUE_INVALID');
  return `${date} ${untrailed(time)}`;
}

/** An instant that the database has brought to UTC itself, with or without saying so. */
export function instantText(value: Given): string | Refused {
  const text = timestampText(String(value).replace(/ ?\+00:00$/, ''));
  return text instanceof Refused ? text : `${text}+00`;
}

/** The instant without its zone, as its database reads it again. */
export function withoutZone(text: string): string {
  return text.replace(/\+00$/, '');
}

function untrailed(time: string): string {
  return time.includes('.') ? time.replace(/\.?0+$/, '') : time;
}
