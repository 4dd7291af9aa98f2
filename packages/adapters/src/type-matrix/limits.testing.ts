/** Which canonical texts are what a limit of a pair names, told once more and by other means than the databases and writers do. */
import type { Limit } from '../pairs.ts';
import type { MatrixColumn } from './column.testing.ts';

const MOST = 2n ** 63n - 1n;

export const MEETS: Readonly<Record<Limit, (text: string, target: MatrixColumn) => boolean>> = {
  notFinite: (text) => /^(NaN|-?Infinity)$/.test(text),
  notANumber: (text) => text === 'NaN',
  minusZero: (text) => text === '-0',
  years: (text) => /infinity|BC|^\d{5}/.test(text),
  yearsOfTimestamp: (text) =>
    /infinity|BC|^\d{5}/.test(text) || text < '1970-01-01 00:00:01' || text >= '2038-01-19 03:14:08',
  midnight24: (text) => text === '24:00:00',
  bytesOfText: (text, { type }) => type.type === 'text' && Buffer.byteLength(text) > (type.maxLength ?? 0),
  otherLength: (text, { type }) => type.type === 'bytes' && text.length !== 2 + 2 * (type.maxBytes ?? 0),
  above63Bits: (text) => BigInt(text) > MOST,
  digits15(text) {
    if (/^-?\d+$/.test(text)) return BigInt(text) > MOST || BigInt(text) < -MOST - 1n;
    return /^-?[\d.]+$/.test(text) && text.replace(/[-.]/g, '').replace(/^0+/, '').length > 15;
  },
  negative: (text) => text.startsWith('-') && text !== '-0',
  rounded(text, { sql }) {
    const [, digits = '0', decimals = '0'] = /\((\d+),(\d+)\)/.exec(sql) ?? [];
    const value = Number(text);
    return (
      Math.abs(value) >= 10 ** (Number(digits) - Number(decimals)) ||
      Math.floor(value) + Number((value - Math.floor(value)).toFixed(Number(decimals))) !== value
    );
  },
  exponent: (text) => text.includes('e'),
  bareNumber: (text) => text !== '' && Number.isFinite(Number(text)),
  notJson(text) {
    try {
      JSON.parse(text);
      return false;
    } catch {
      return true;
    }
  },
};
