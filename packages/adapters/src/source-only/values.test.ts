/** Canonical text out of what servers write that nobody here can run: each shape as its manual shows it. */
import { describe, expect, test } from 'vitest';
import { Refused } from './reader.ts';
import {
  booleanText,
  bytesText,
  dateText,
  decimalText,
  decoded,
  float,
  instantText,
  integerText,
  timestampText,
  timeText,
  wellFormed,
  withoutZone,
} from './values.ts';

const invalid = new Refused('VALUE_INVALID');

describe('numbers', () => {
  test.each<[string, number | undefined, string]>([
    ['.5', undefined, '0.5'],
    ['-.05', undefined, '-0.05'],
    ['12.5', 2, '12.50'],
    ['12', 2, '12.00'],
    ['12.50', undefined, '12.5'],
    ['0', 0, '0'],
    ['-0.00', 2, '0.00'],
    ['1E+30', undefined, `1${'0'.repeat(30)}`],
    ['-1.25E-03', undefined, '-0.00125'],
    ['9.99E+125', undefined, `999${'0'.repeat(123)}`],
    ['9007199254740993', undefined, '9007199254740993'],
    ['12345678901234567890123456789012345678', 0, '12345678901234567890123456789012345678'],
    ['1200', -2, '1200'],
    ['-922337203685477.5808', 4, '-922337203685477.5808'],
  ])('%s with a scale of %s is %s', (written, scale, text) => {
    expect(decimalText(written, scale)).toBe(text);
  });

  test.each(['~', '-~', '', '.', 'NaN', '1,5', '1e9999'])('%s is no number and is refused', (written) => {
    expect(decimalText(written)).toEqual(invalid);
  });

  test('more digits than the type has are none of its values', () => {
    expect(decimalText('1.005', 2)).toEqual(invalid);
  });

  test('whole numbers keep every digit and take nothing else', () => {
    expect(integerText('-9223372036854775808')).toBe('-9223372036854775808');
    expect(integerText('1.0')).toEqual(invalid);
  });

  test('binary floats come from their bits and are spelled as everywhere', () => {
    expect([1e20, 0.1, -0, Number.POSITIVE_INFINITY, Number.NaN].map(float(64))).toEqual([
      '1e+20',
      '0.1',
      '-0',
      'Infinity',
      'NaN',
    ]);
    expect(float(32)(Math.fround(0.1))).toBe('0.1');
    expect(float(64)('')).toEqual(invalid);
  });
});

describe('times', () => {
  test('fractions lose their zeros, and nothing else', () => {
    expect(timestampText('2024-01-31 08:00:00.5000000')).toBe('2024-01-31 08:00:00.5');
    expect(timestampText('2024-01-31 08:00:00.0000000')).toBe('2024-01-31 08:00:00');
    expect(timestampText('2024-02-29 10:20:30')).toBe('2024-02-29 10:20:30');
    expect(timestampText('2024-01-31 08:00:00.123456789')).toBe('2024-01-31 08:00:00.123456789');
    expect(timeText('23:59:59.9999999')).toBe('23:59:59.9999999');
    expect(timeText('08:00:00')).toBe('08:00:00');
    expect(dateText('0001-01-01')).toBe('0001-01-01');
  });

  test('an instant is in UTC, whether its server says so or not, and goes back without its zone', () => {
    expect(instantText('2024-01-31 00:00:00.1200000 +00:00')).toBe('2024-01-31 00:00:00.12+00');
    expect(instantText('2024-01-31 00:00:00.120000000')).toBe('2024-01-31 00:00:00.12+00');
    expect(instantText('2024-01-31 08:00:00 +08:00')).toEqual(invalid);
    expect(withoutZone('2024-01-31 00:00:00.12+00')).toBe('2024-01-31 00:00:00.12');
  });

  test.each(['0000-00-00', '10000-01-01', '-0044-03-15', '31-JAN-24'])('%s is refused', (written) => {
    expect(dateText(written)).toEqual(invalid);
    expect(timestampText(`${written} 00:00:00`)).toEqual(invalid);
  });
});

describe('texts, bytes and truth', () => {
  test('half of a pair of UTF-16 is never made into another character', () => {
    expect(wellFormed('a\ud842')).toEqual(new Refused('TEXT_NOT_UTF8'));
    expect(wellFormed('𠮷\ufffd')).toBe('𠮷\ufffd');
  });

  test('what the driver may have put in place of bytes does not travel', () => {
    expect(decoded('𠮷 a ')).toBe('𠮷 a ');
    expect(decoded('\ufffd')).toEqual(new Refused('TEXT_UNDECODABLE'));
  });

  test('bytes come as bytes or as hex of either case', () => {
    expect(bytesText(Buffer.from([0, 255]))).toBe('\\x00ff');
    expect(bytesText('00FF')).toBe('\\x00ff');
    expect(bytesText('')).toBe('\\x');
    expect(bytesText('0')).toEqual(invalid);
  });

  test('only one and zero are true and false', () => {
    expect(['t', '1', 'f', '0'].map(booleanText)).toEqual(['t', 't', 'f', 'f']);
    expect(booleanText('2')).toEqual(invalid);
  });
});
