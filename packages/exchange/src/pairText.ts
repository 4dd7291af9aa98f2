/**
 * Compares a value at both ends of a pair of types: a destination stores an exact pair under its own type, and may then print
 * it otherwise (integer 12 as decimal 12.00). This file owns the way back: the destination's text as the source would have
 * written it, so that equal values have equal text at both ends and nothing else has. fit.ts says which pairs are exact.
 */
import type { ColumnType } from './columnType.ts';
import { fit } from './fit.ts';
import { floatText } from './floatText.ts';

/** same: the text is the same at both ends. back: the destination's text is rewritten. none: the pair cannot be compared. */
export type PairText =
  | { readonly kind: 'same' }
  | { readonly kind: 'back'; readonly back: (text: string) => string }
  | { readonly kind: 'none'; readonly why: string };

const SAME: PairText = { kind: 'same' };

/**
 * How a destination's text of type `target` is brought back to the text of the `source` type that was stored in it. What no
 * source value could have become is left as it is, and so differs from every text of the source.
 */
export function pairText(source: ColumnType, target: ColumnType): PairText {
  const fitting = fit(source, target);
  if (source.type === 'timestamptz' && target.type === 'timestamp') return { kind: 'back', back: withZone };
  if (fitting.kind !== 'exact') return { kind: 'none', why: fitting.why };
  if (target.type === 'text' || source.type === 'text') return SAME;
  switch (target.type) {
    case 'decimal':
      return { kind: 'back', back: backToScale(source) };
    case 'float':
      if (source.type !== 'float') return { kind: 'back', back: (text) => backToScale(source)(plainNumber(text)) };
      return source.bits === target.bits ? SAME : { kind: 'back', back: shortSpelling };
    case 'timestamp':
      return source.type === 'date' ? { kind: 'back', back: withoutMidnight } : SAME;
    default:
      return SAME;
  }
}

const PLAIN = /^(-?\d+)(?:\.(\d+))?$/;

/** Zeros after the point as the source's scale has them. A number with more than zeros there stays as it is. */
function backToScale(source: ColumnType): (text: string) => string {
  if (source.type === 'decimal' && source.precision === undefined) return (text) => text;
  const scale = source.type === 'decimal' ? Math.max(source.scale ?? 0, 0) : 0;
  return (text) => {
    const found = PLAIN.exec(text);
    if (found === null) return text;
    const [, whole = '', fraction = ''] = found;
    if (fraction.length < scale) return `${whole}.${fraction.padEnd(scale, '0')}`;
    if (!/^0*$/.test(fraction.slice(scale))) return text;
    return scale === 0 ? whole : `${whole}.${fraction.slice(0, scale)}`;
  };
}

/** A whole number that a float prints with an exponent (9.999999e+06), written out. */
function plainNumber(text: string): string {
  const found = /^(-?)(\d)(?:\.(\d+))?e\+(\d\d?)$/.exec(text);
  if (found === null) return text;
  const [, sign = '', first = '', rest = '', exponent = '0'] = found;
  return rest.length > Number(exponent) ? text : `${sign}${first}${rest.padEnd(Number(exponent), '0')}`;
}

/** The same digits as a 32-bit float spells them (16777216 is 1.6777216e+07); what no such float spells stays as it is. */
function shortSpelling(text: string): string {
  const value = Number(text);
  const short = floatText(Math.fround(value), 32);
  return Number(short) === value ? short : text;
}

function withoutMidnight(text: string): string {
  return text.replace(/ 00:00:00( BC)?$/, '$1');
}

function withZone(text: string): string {
  if (!/\d\d:\d\d:\d\d/.test(text)) return text;
  return text.endsWith(' BC') ? `${text.slice(0, -3)}+00 BC` : `${text}+00`;
}
