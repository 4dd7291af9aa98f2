/**
 * Casts: the same value as another type, or nothing. A number may get or lose zeros behind its point and a date may get a
 * midnight; nothing is rounded, cut, or guessed from text that is not canonical.
 */
import { checkValue } from '../checkValue.ts';
import type { ColumnType } from '../columnType.ts';
import { floatText } from '../floatText.ts';

export interface CompiledCast {
  /** The value as the other type; undefined when it has none there. */
  convert(text: string): string | undefined;
  /** Values that differ still differ, so that a key may be cast. */
  keepsApart: boolean;
}

/** Undefined where no value, or hardly any, has an equal in the other type. */
export function castBetween(source: ColumnType, target: ColumnType): CompiledCast | undefined {
  const fitting = (change: (text: string) => string | undefined, keepsApart = true): CompiledCast => ({
    keepsApart,
    convert(text) {
      const changed = change(text);
      return changed !== undefined && checkValue(target, changed) === undefined ? changed : undefined;
    },
  });
  const same = fitting((text) => text);
  if (target.type === 'float' && source.type === 'float' && target.bits !== source.bits) {
    return fitting((text) => floatOfBits(text, target.bits));
  }
  if (target.type === 'text' || target.type === source.type) {
    return target.type === 'decimal' ? fitting((text) => rescaled(text, target)) : same;
  }
  switch (source.type) {
    case 'text':
      if (target.type === 'native') return undefined;
      // '1.5' and '1.50' are one number.
      if (target.type === 'decimal') return fitting((text) => rescaled(text, target), false);
      return target.type === 'float' ? fitting((text) => wholeFloat(text, target.bits)) : same;
    case 'integer':
      if (target.type === 'decimal') return fitting((text) => rescaled(text, target));
      return target.type === 'float' ? fitting((text) => exactFloat(text, target.bits)) : undefined;
    case 'decimal':
      return target.type === 'integer' ? fitting((text) => text.replace(/\.0+$/, '')) : undefined;
    case 'date':
      return target.type === 'timestamp' ? fitting(atMidnight) : undefined;
    case 'timestamp':
      return target.type === 'date' ? fitting(dayOfMidnight) : undefined;
    case 'float':
    case 'boolean':
    case 'bytes':
    case 'time':
    case 'timestamptz':
    case 'uuid':
    case 'json':
    case 'native':
      return undefined;
    default:
      return source satisfies never;
  }
}

/** With as many digits behind the point as a column of the type shows; more are left for the check to refuse. */
function rescaled(text: string, { scale }: { precision?: number; scale?: number }): string {
  if (scale === undefined || !/^-?\d+(?:\.\d+)?$/.test(text)) return text;
  const [whole = '', fraction = ''] = text.split('.');
  const kept = fraction.replace(/0+$/, '').padEnd(scale, '0');
  return kept === '' ? whole : `${whole}.${kept}`;
}

function wholeFloat(text: string, bits: 32 | 64): string | undefined {
  return floatText(Number(text), bits) === text ? text : undefined;
}

/** The same number as the other size prints it; none when its digits are more than that size holds. */
function floatOfBits(text: string, bits: 32 | 64): string | undefined {
  const value = Number(text);
  const made = floatText(bits === 32 ? Math.fround(value) : value, bits);
  return Object.is(Number(made), value) ? made : undefined;
}

/** A whole number that a binary fraction holds to its last digit. */
function exactFloat(text: string, bits: 32 | 64): string | undefined {
  const value = bits === 32 ? Math.fround(Number(text)) : Number(text);
  return BigInt(value) === BigInt(text) ? floatText(value, bits) : undefined;
}

function atMidnight(text: string): string {
  return text.endsWith('infinity') ? text : text.replace(/( BC)?$/, ' 00:00:00$1');
}

function dayOfMidnight(text: string): string | undefined {
  if (text.endsWith('infinity')) return text;
  return text.includes(' 00:00:00') && !text.includes('.') ? text.replace(' 00:00:00', '') : undefined;
}
