import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkValue } from './checkValue.ts';
import { type ColumnType, columnTypeOf, typeText } from './columnType.ts';
import { QiaoError } from './errors.ts';
import { fit } from './fit.ts';
import { floatText } from './floatText.ts';

const TYPES: ColumnType[] = [
  ...([16, 32, 64] as const).flatMap((bits): ColumnType[] => [
    { type: 'integer', bits },
    { type: 'integer', bits, unsigned: true },
  ]),
  { type: 'decimal' },
  { type: 'decimal', trimmed: true },
  ...[
    [4, 0],
    [5, 2],
    [10, 2],
    [18, 0],
    [20, 0],
    [12, 4],
    [2, 4],
    [3, -2],
  ].map(
    ([precision, scale]): ColumnType => ({ type: 'decimal', precision: precision as number, scale: scale as number }),
  ),
  { type: 'float', bits: 32 },
  { type: 'float', bits: 64 },
  { type: 'boolean' },
  { type: 'text' },
  { type: 'text', maxLength: 1 },
  { type: 'text', maxLength: 6 },
  { type: 'text', maxLength: 26 },
  { type: 'text', maxLength: 36 },
  { type: 'bytes' },
  { type: 'bytes', maxBytes: 2 },
  { type: 'date' },
  { type: 'time', digits: 0 },
  { type: 'time', digits: 6 },
  { type: 'timestamp', digits: 0 },
  { type: 'timestamp', digits: 6 },
  { type: 'timestamptz', digits: 6 },
  { type: 'uuid' },
  { type: 'json' },
  { type: 'native', system: 'postgres', name: 'inet' },
];

describe('column types', () => {
  test('a type fits itself exactly', () => {
    expect(TYPES.filter((type) => fit(type, type).kind !== 'exact')).toEqual([]);
  });

  test('what fits exactly takes every value of the source: extremes of each type', () => {
    const wrong: string[] = [];
    for (const source of TYPES) {
      const values = EXTREMES.filter((text) => checkValue(source, text) === undefined);
      if (values.length === 0) wrong.push(`${typeText(source)}: no value to try`);
      for (const target of TYPES.filter((each) => fit(source, each).kind === 'exact')) {
        // A date becomes a midnight; the database writes the time.
        const stored = source.type === 'date' && target.type === 'timestamp' ? midnight : (text: string) => text;
        // NaN in a decimal is refused by an integer column: quarantined, never altered.
        const taken = target.type === 'integer' ? values.filter((text) => text !== 'NaN') : values;
        for (const text of taken) {
          const why = checkValue(target, stored(text));
          if (why !== undefined) wrong.push(`${typeText(source)} → ${typeText(target)}: ${text}: ${why}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  test('exactness carries over: into a second type that takes the first exactly', () => {
    const into = TYPES.map((source) => TYPES.filter((target) => fit(source, target).kind === 'exact'));
    const wrong: string[] = [];
    for (const [index, a] of TYPES.entries()) {
      for (const b of into[index] ?? []) {
        for (const c of into[TYPES.indexOf(b)] ?? []) {
          if (fit(a, c).kind !== 'exact') wrong.push(`${typeText(a)} → ${typeText(b)} → ${typeText(c)}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  test('the golden pairs fit as written', () => {
    const pairs = JSON.parse(readFileSync(new URL('../golden/fit.json', import.meta.url), 'utf8')) as {
      source: ColumnType;
      target: ColumnType;
      fit: string;
    }[];
    const found = pairs.map(({ source, target }) => ({ source, target, fit: fit(source, target).kind }));
    expect(found).toEqual(pairs);
  });

  test('the golden values fit and do not fit as written', () => {
    const cases = JSON.parse(readFileSync(new URL('../golden/values.json', import.meta.url), 'utf8')) as {
      type: ColumnType;
      fits: string[];
      refused: string[];
    }[];
    for (const { type, fits, refused } of cases) {
      for (const text of fits) expect(checkValue(type, text), `${typeText(type)} ${text}`).toBeUndefined();
      for (const text of refused) expect(checkValue(type, text), `${typeText(type)} ${text}`).toBeTypeOf('string');
    }
  });

  test('a float is printed as PostgreSQL prints it', () => {
    const printed: [number, 32 | 64, string][] = [
      [0.1, 64, '0.1'],
      [1e20, 64, '1e+20'],
      [1e15, 64, '1e+15'],
      [123456789012345, 64, '123456789012345'],
      [1234567890123456, 64, '1.234567890123456e+15'],
      [0.0001, 64, '0.0001'],
      [0.00001, 64, '1e-05'],
      [-5e-324, 64, '-5e-324'],
      [0.1, 32, '0.1'],
      [123456, 32, '123456'],
      [1234567, 32, '1.234567e+06'],
      [16777216, 32, '1.6777216e+07'],
      [3.4028234663852886e38, 32, '3.4028235e+38'],
      [1e-45, 32, '1e-45'],
      [49579752, 32, '4.9579752e+07'],
      [-49579752, 32, '-4.9579752e+07'],
      [2097152.25, 32, '2.0971522e+06'],
      [265842.625, 32, '265842.62'],
      [1.2621774483536189e-29, 32, '1.2621775e-29'],
      [255070102923398016, 64, '2.5507010292339802e+17'],
      [-0, 64, '-0'],
    ];
    expect(printed.map(([value, bits]) => floatText(value, bits))).toEqual(printed.map(([, , text]) => text));
  });

  test('a printed float reads back the same and is a value of its type', () => {
    fc.assert(
      fc.property(fc.double(), (value) => {
        expect(Number(floatText(value, 64))).toBe(value);
        expect(checkValue({ type: 'float', bits: 64 }, floatText(value, 64))).toBeUndefined();
      }),
    );
    fc.assert(
      fc.property(fc.float(), (value) => {
        expect(Math.fround(Number(floatText(value, 32)))).toBe(value);
        expect(checkValue({ type: 'float', bits: 32 }, floatText(value, 32))).toBeUndefined();
      }),
    );
  });

  test('a reason never repeats the value', () => {
    for (const type of TYPES) expect(checkValue(type, 'secret-\0-value') ?? '').not.toContain('secret');
    for (const type of TYPES) expect(checkValue(type, 'secret value of a person') ?? '').not.toContain('secret');
  });
});

const EXTREMES = [
  ...[15n, 16n, 31n, 32n, 63n, 64n].flatMap((bits) => [1n << bits, (1n << bits) - 1n, -(1n << bits)]).map(String),
  '0',
  '1',
  '-1',
  '9999',
  '999.99',
  '-999.99',
  '99999999.99',
  '-99999999.9999',
  '999999999999999999',
  '0.0099',
  '99900',
  '-99900',
  '0.5',
  'NaN',
  'Infinity',
  '-Infinity',
  '1e+20',
  '-1.7976931348623157e+308',
  't',
  'f',
  '',
  'a',
  '桥桥桥桥桥桥',
  '𠮷𠮷𠮷𠮷𠮷𠮷',
  'x'.repeat(26),
  'x'.repeat(36),
  'x'.repeat(99),
  '\\x',
  '\\x6869',
  '\\x686970',
  '2024-02-29',
  '9999-12-31',
  '5874897-12-31',
  '4713-01-01 BC',
  'infinity',
  '24:00:00',
  '23:59:59.999999',
  '08:00:00',
  '2024-01-31 08:00:00',
  '2024-01-31 08:00:00.123456',
  '294276-12-31 23:59:59.999999',
  '4713-01-01 00:00:00 BC',
  '294276-12-31 23:59:59.999999+00',
  '4713-01-01 00:00:00.000001+00 BC',
  '8a1f9a3e-0c1b-4f5d-9f57-2f7d0c1b4f5d',
  '{"a": [1, 2.50]}',
  'null',
];

function midnight(date: string): string {
  if (date.endsWith('infinity')) return date;
  return date.endsWith(' BC') ? `${date.slice(0, -3)} 00:00:00 BC` : `${date} 00:00:00`;
}

test('a type that was written as JSON is read as it was', () => {
  for (const type of TYPES) expect(columnTypeOf(JSON.stringify(type))).toEqual(type);
});

test.each([
  'secretvalue',
  'null',
  '"secretvalue"',
  '{"type":"secretvalue"}',
  '{"type":"integer","bits":7}',
  '{"type":"text","maxLength":-1}',
  '{"type":"date","secretvalue":1}',
  '{"type":"native","system":"secretvalue","name":"x"}',
  '['.repeat(20_000),
])('what is no type is refused with a code, and not a word of it is quoted: %#', (json) => {
  let refusal: unknown;
  try {
    columnTypeOf(json);
  } catch (error) {
    refusal = error;
  }
  expect(refusal).toBeInstanceOf(QiaoError);
  expect((refusal as QiaoError).code).toBe('COLUMN_TYPE_UNREADABLE');
  expect((refusal as QiaoError).message).not.toContain('secret');
  expect((refusal as QiaoError).cause).toBeUndefined();
});
