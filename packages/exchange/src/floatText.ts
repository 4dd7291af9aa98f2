/**
 * Binary floats as text, for every adapter whose database prints them otherwise: the one type that passes through a JavaScript number. The text is
 * PostgreSQL's digit for digit, because digests and comparisons are over it.
 */

/**
 * A binary float as PostgreSQL 12 and later print it (extra_float_digits 1): the shortest text that is nearer to it than to any other float. One that
 * lies in the middle between two would read back the same, too, and JavaScript takes it: 4.957975e+07 for what is 4.9579752e+07 in 32 bits.
 */
export function floatText(value: number, bits: 32 | 64): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const [mantissa = '', exponentText = '0'] = shortest(value, bits).split('e');
  const exponent = Number(exponentText);
  const sign = mantissa.startsWith('-') ? '-' : '';
  const digits = mantissa.replace(/[-.]/g, '');
  // float8out and float4out switch to exponents below 1e-4 and from 1e15 (1e6 for 32 bits) on.
  if (exponent < -4 || exponent >= (bits === 64 ? 15 : 6)) {
    const point = digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : digits;
    const power = String(Math.abs(exponent)).padStart(2, '0');
    return `${sign}${point}e${exponent < 0 ? '-' : '+'}${power}`;
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  if (digits.length <= exponent + 1) return sign + digits.padEnd(exponent + 1, '0');
  return `${sign}${digits.slice(0, exponent + 1)}.${digits.slice(exponent + 1)}`;
}

/** From here on the middle between two floats has few enough digits to be a shortest text. */
const MIDDLES_FROM = { 32: 2 ** 21, 64: 2 ** 51 } as const;

function shortest(value: number, bits: 32 | 64): string {
  if (bits === 64) {
    let text = value.toExponential();
    for (let digits = fractionOf(text); isMiddle(text, value, bits); ) text = value.toExponential(++digits);
    return text;
  }
  const wanted = Math.fround(value);
  for (let digits = 0; digits < 8; digits++) {
    const text = wanted.toExponential(digits);
    if (Math.fround(Number(text)) !== wanted) continue;
    const even = roundedToEven(text, wanted, digits);
    if (!isMiddle(even, wanted, bits)) return even;
  }
  // Below a power of two floats lie twice as close: there the nearest text may be another's, and the one above it still this one's.
  const above = (wanted * (1 + 2 ** -25)).toExponential(7);
  const isOwn = Math.fround(Number(above)) === wanted && !isMiddle(above, wanted, bits);
  return isOwn ? above : wanted.toExponential(8);
}

/** Where the float lies exactly between two texts, JavaScript takes the greater and PostgreSQL the even one: 265842.625 is 265842.62. */
function roundedToEven(text: string, wanted: number, digits: number): string {
  // A text of fewer digits is no nearer to another.
  if (digits < LEAST_DIGITS) return text;
  const at = text.indexOf('e');
  const isOdd = text.charCodeAt(at - 1) % 2 === 1;
  const [longer = ''] = isOdd ? wanted.toExponential(digits + 20).split('e') : [];
  return /50{19}$/.test(longer) ? `${longer.slice(0, digits === 0 ? -21 : -20)}${text.slice(at)}` : text;
}

const LEAST_DIGITS = 5;

function fractionOf(text: string): number {
  const point = text.indexOf('.');
  return point === -1 ? 0 : text.indexOf('e') - point - 1;
}

/** Whether the text is as near to one of the float's neighbours as to itself. Middles are multiples of an eighth here, and texts of a tenth. */
function isMiddle(text: string, value: number, bits: 32 | 64): boolean {
  if (Math.abs(value) < MIDDLES_FROM[bits]) return false;
  const own = units(value);
  const twice = 2n * (textUnits(text) - own);
  return neighbours(value, bits).some((each) => Number.isFinite(each) && twice === units(each) - own);
}

const EIGHTHS = 8;
const TENTHS = 10n;

function units(value: number): bigint {
  return (Number.isInteger(value) ? BigInt(value) * BigInt(EIGHTHS) : BigInt(value * EIGHTHS)) * TENTHS;
}

function textUnits(text: string): bigint {
  const [mantissa = '', exponent = '0'] = text.split('e');
  const [whole = '', fraction = ''] = mantissa.split('.');
  const shift = Number(exponent) - fraction.length;
  const digits = BigInt(whole + fraction) * BigInt(EIGHTHS) * TENTHS;
  return shift >= 0 ? digits * 10n ** BigInt(shift) : digits / 10n ** BigInt(-shift);
}

/** The floats next to it on either side, by their bits. */
function neighbours(value: number, bits: 32 | 64): [number, number] {
  if (bits === 32) {
    const float = new Float32Array([value]);
    const image = new Int32Array(float.buffer);
    const at = image[0] ?? 0;
    const next = (to: number) => {
      image[0] = to;
      return float[0] ?? 0;
    };
    return [next(at - 1), next(at + 1)];
  }
  const double = new Float64Array([value]);
  const image = new BigInt64Array(double.buffer);
  const at = image[0] ?? 0n;
  const next = (to: bigint) => {
    image[0] = to;
    return double[0] ?? 0;
  };
  return [next(at - 1n), next(at + 1n)];
}
