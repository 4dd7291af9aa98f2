/**
 * Which column may go into which: the table that preflight asks for every bridged pair. Exact keeps every value, lossy
 * alters some and must be agreed to, refused could not carry every value. Adapters' TYPES.md say how native types map to
 * logical ones.
 *
 * | from | exact into |
 * | --- | --- |
 * | integer | integer holding its range, decimal with digits enough, float with mantissa enough, text |
 * | decimal | decimal with integer digits and scale enough, integer when its scale is 0, text |
 * | float | float as wide, text |
 * | boolean, uuid, bytes, json | itself, text |
 * | text | text as long |
 * | date | date, timestamp, text |
 * | time, timestamp, timestamptz | itself with digits enough, text |
 * | native | the same, text as long; jsonb also json, year also integer |
 */
import { type ColumnType, typeText } from './columnType.ts';

export type Fit = { kind: 'exact' } | { kind: 'lossy'; why: string } | { kind: 'refused'; why: string };

type Of<T extends ColumnType['type']> = Extract<ColumnType, { type: T }>;

const EXACT: Fit = { kind: 'exact' };

/** Whether every value of `source` can be stored in `target` and read back as the same value. */
export function fit(source: ColumnType, target: ColumnType): Fit {
  if (source.type === 'text') return fitText(source, target);
  // Canonical text is text: any type can be kept in a text column.
  if (target.type === 'text') return fitIntoText(source, target);
  switch (source.type) {
    case 'integer':
      return fitInteger(source, target);
    case 'decimal':
      return fitDecimal(source, target);
    case 'float':
      return fitFloat(source, target);
    case 'bytes':
      if (target.type !== 'bytes') break;
      return (source.maxBytes ?? Number.POSITIVE_INFINITY) <= (target.maxBytes ?? Number.POSITIVE_INFINITY)
        ? EXACT
        : refused(source, target, 'longer values exist');
    case 'date':
      return target.type === 'date' || target.type === 'timestamp' ? EXACT : refused(source, target);
    case 'time':
    case 'timestamp':
    case 'timestamptz':
      if (target.type === source.type) {
        return target.digits >= source.digits ? EXACT : refused(source, target, 'fractions of a second would be cut');
      }
      if (source.type === 'timestamptz' && target.type === 'timestamp' && target.digits >= source.digits) {
        return { kind: 'lossy', why: 'the time zone is lost: the target keeps UTC without saying so' };
      }
      if (source.type === 'timestamp' && target.type === 'timestamptz') {
        return refused(source, target, 'the source names no time zone');
      }
      break;
    case 'json':
      if (target.type === 'native' && isBinaryJson(target)) {
        return { kind: 'lossy', why: `${target.name} keeps neither the order of keys, nor repeated keys, nor blanks` };
      }
      return target.type === 'json' ? EXACT : refused(source, target);
    case 'native':
      if (target.type === 'native' && target.system === source.system && target.name === source.name) return EXACT;
      if (isBinaryJson(source) && target.type === 'json') return EXACT;
      return source.system === 'mysql' && source.name === 'year'
        ? fitInteger({ type: 'integer', bits: 16 }, target)
        : refused(source, target);
    case 'boolean':
    case 'uuid':
      return target.type === source.type ? EXACT : refused(source, target);
    default:
      return source satisfies never;
  }
  return refused(source, target);
}

/** JSON that the database takes apart and writes anew: PostgreSQL's jsonb, MySQL's json (MariaDB's is text). */
function isBinaryJson({ system, name }: Of<'native'>): boolean {
  return system === 'postgres' ? name === 'jsonb' : name === 'json';
}

// Decimal digits that every value of so many bits fits into.
const INTEGER_DIGITS = { 8: 3, 16: 5, 24: 8, 32: 10, 64: 19 } as const;
// Largest count of decimal digits whose every value fits into so many bits.
const SAFE_DIGITS = { 8: 2, 16: 4, 24: 6, 32: 9, 64: 18 } as const;
// Largest count of decimal digits whose every whole number a float keeps.
const WHOLE_DIGITS = { 32: 7, 64: 15 } as const;
const MANTISSA_BITS = { 32: 24, 64: 53 } as const;

function fitInteger(source: Of<'integer'>, target: ColumnType): Fit {
  const digits = source.unsigned && source.bits === 64 ? 20 : INTEGER_DIGITS[source.bits];
  switch (target.type) {
    case 'integer': {
      const fits =
        source.unsigned === true
          ? target.unsigned === true
            ? target.bits >= source.bits
            : target.bits > source.bits
          : target.unsigned !== true && target.bits >= source.bits;
      return fits ? EXACT : refused(source, target, 'numbers outside its range exist');
    }
    case 'decimal':
      if (target.precision === undefined) return EXACT;
      return (target.scale ?? 0) >= 0 && target.precision - (target.scale ?? 0) >= digits
        ? EXACT
        : refused(source, target, `${digits} digits before the point are needed`);
    case 'float':
      return source.bits <= MANTISSA_BITS[target.bits]
        ? EXACT
        : refused(source, target, 'large numbers would be rounded');
    default:
      return refused(source, target);
  }
}

function fitDecimal(source: Of<'decimal'>, target: ColumnType): Fit {
  if (target.type === 'float') {
    const { precision, scale = 0 } = source;
    const isWhole = precision !== undefined && scale <= 0 && precision - scale <= WHOLE_DIGITS[target.bits];
    return isWhole ? EXACT : { kind: 'lossy', why: 'decimal fractions are rounded to binary ones' };
  }
  if (target.type === 'integer') {
    // NaN apart: an integer column refuses it, so such a row is quarantined, never altered.
    const { precision, scale = 0 } = source;
    return precision !== undefined && scale <= 0 && precision - scale <= SAFE_DIGITS[target.bits] && !target.unsigned
      ? EXACT
      : refused(source, target, 'fractions or numbers outside its range exist');
  }
  if (target.type !== 'decimal') return refused(source, target);
  if (target.precision === undefined) {
    const hasZeros = source.precision === undefined && source.trimmed !== true && target.trimmed === true;
    return hasZeros ? { kind: 'lossy', why: 'zeros at the end of a fraction are not kept: 1.50 becomes 1.5' } : EXACT;
  }
  if (source.precision === undefined) return refused(source, target, 'the source has no limit');
  const sourceScale = source.scale ?? 0;
  const targetScale = target.scale ?? 0;
  return targetScale >= sourceScale && target.precision - targetScale >= source.precision - sourceScale
    ? EXACT
    : refused(source, target, 'digits before or after the point would be cut');
}

function fitFloat(source: Of<'float'>, target: ColumnType): Fit {
  // 32 into 64 bits: the shortest text is carried, so the target prints the same digits.
  if (target.type === 'float')
    return target.bits >= source.bits ? EXACT : refused(source, target, 'digits would be lost');
  if (target.type === 'decimal' && target.precision === undefined) {
    return {
      kind: 'lossy',
      why: 'the shortest decimal is kept instead of the binary fraction, and no minus before zero',
    };
  }
  return refused(source, target);
}

function fitText(source: Of<'text'>, target: ColumnType): Fit {
  if (target.type !== 'text') return refused(source, target, 'not every text is one');
  const longest = source.maxLength ?? Number.POSITIVE_INFINITY;
  if (longest > (target.maxLength ?? Number.POSITIVE_INFINITY)) return refused(source, target, 'longer values exist');
  if (target.padded && !(source.padded && source.maxLength === target.maxLength)) return paddedWithBlanks();
  return EXACT;
}

function fitIntoText(source: Exclude<ColumnType, { type: 'text' }>, target: Of<'text'>): Fit {
  const longest = longestText(source);
  if (target.maxLength !== undefined && longest > target.maxLength) {
    const needed = Number.isFinite(longest)
      ? `${longest} characters are needed`
      : 'no length is enough for every value';
    return refused(source, target, needed);
  }
  const isFixed = source.type === 'uuid' || source.type === 'boolean';
  if (target.padded && !(isFixed && target.maxLength === longest)) return paddedWithBlanks();
  return EXACT;
}

/** Characters of a type's longest canonical text; Infinity where there is no limit. */
export function longestText(type: ColumnType): number {
  switch (type.type) {
    case 'text':
      return type.maxLength ?? Number.POSITIVE_INFINITY;
    case 'integer':
      if (type.unsigned) return type.bits === 64 ? 20 : INTEGER_DIGITS[type.bits];
      return INTEGER_DIGITS[type.bits] + 1;
    case 'decimal': {
      if (type.precision === undefined) return Number.POSITIVE_INFINITY;
      const scale = type.scale ?? 0;
      // Sign, digits before the point (a zero at least), point, digits after it; NaN fits anyway.
      return Math.max(1 + Math.max(type.precision - scale, 1) + (scale > 0 ? 1 + scale : 0), 3);
    }
    case 'float':
      // -1.7976931348623157e+308 and -1.17549435e-38.
      return type.bits === 64 ? 24 : 15;
    case 'boolean':
      return 1;
    case 'bytes':
      return type.maxBytes === undefined ? Number.POSITIVE_INFINITY : 2 + 2 * type.maxBytes;
    case 'date':
      return 13;
    case 'time':
      return 8 + fraction(type.digits);
    case 'timestamp':
      return 22 + fraction(type.digits);
    case 'timestamptz':
      return 25 + fraction(type.digits);
    case 'uuid':
      return 36;
    case 'json':
      return Number.POSITIVE_INFINITY;
    case 'native':
      return longestNative(type);
    default:
      return type satisfies never;
  }
}

/** Enums, and MySQL's sets, bits and years: the longest text that their name allows. */
function longestNative({ system, name }: Of<'native'>): number {
  const labels = /^(?:enum|set)\((.*)\)$/s.exec(name)?.[1];
  if (labels !== undefined) {
    const lengths = [...labels.matchAll(/'((?:[^']|'')*)'/g)].map(
      ([, label = '']) => Array.from(label.replaceAll("''", "'")).length,
    );
    const all = lengths.reduce((sum, length) => sum + length + 1, -1);
    return name.startsWith('set') ? Math.max(all, 0) : Math.max(0, ...lengths);
  }
  if (system !== 'mysql') return Number.POSITIVE_INFINITY;
  if (name === 'year') return 4;
  return Number(/^bit\((\d+)\)$/.exec(name)?.[1] ?? Number.POSITIVE_INFINITY);
}

function fraction(digits: number): number {
  return digits > 0 ? 1 + digits : 0;
}

function paddedWithBlanks(): Fit {
  return { kind: 'lossy', why: 'shorter values are padded with blanks' };
}

function refused(source: ColumnType, target: ColumnType, why?: string): Fit {
  return {
    kind: 'refused',
    why: `${typeText(source)} does not fit ${typeText(target)}${why === undefined ? '' : `: ${why}`}`,
  };
}
