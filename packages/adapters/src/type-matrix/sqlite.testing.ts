/** Declared types of SQLite for the matrix, with values of other storage classes than the type promises. */
import { type MatrixColumn, numbers, TEXTS, texts, type Value } from './column.testing.ts';

const bytes = (...hex: string[]): Value[] => hex.map((each) => [`x'${each}'`, `\\x${each}`]);
const asClass = (...values: string[]) => values.map((sql) => [sql, 'STORAGE_CLASS'] as const);
const invalid = (...values: string[]) => values.map((sql) => [sql, 'VALUE_INVALID'] as const);

export const SQLITE_UNSUPPORTED = ['anything', 'POINT', ''];

export const SQLITE_COLUMNS: readonly MatrixColumn[] = [
  {
    sql: 'INT2',
    type: { type: 'integer', bits: 16 },
    values: numbers('-32768', '32767'),
    refused: [...invalid('32768'), ...asClass("'x'", '1.5', "x'01'")],
  },
  {
    sql: 'INT',
    type: { type: 'integer', bits: 32 },
    values: numbers('-2147483648', '2147483647'),
    refused: invalid('2147483648'),
  },
  {
    sql: 'INTEGER',
    type: { type: 'integer', bits: 64 },
    values: numbers('-9223372036854775808', '9223372036854775807', '9007199254740993'),
    refused: asClass("'12a'", '9223372036854775808'),
  },
  {
    sql: 'BIGINT UNSIGNED',
    type: { type: 'integer', bits: 64, unsigned: true },
    values: numbers('9223372036854775807', '0'),
    refused: invalid('-1'),
  },
  {
    sql: 'DECIMAL(12,2)',
    type: { type: 'decimal', precision: 12, scale: 2 },
    values: [
      ['12.5', '12.50'],
      ['-9999999999.99', '-9999999999.99'],
      ['0', '0.00'],
    ],
    refused: [...invalid('1.005', '0.1 + 0.2'), ...asClass("'abc'")],
  },
  {
    sql: 'DECIMAL(30,10)',
    type: { type: 'decimal', precision: 30, scale: 10 },
    values: [
      ['0.0000000001', '0.0000000001'],
      ['12345.0123456789', '12345.0123456789'],
    ],
  },
  {
    sql: 'DECIMAL',
    type: { type: 'decimal', trimmed: true },
    values: [
      ['12.5', '12.5'],
      ['9223372036854775807', '9223372036854775807'],
      ['-0.0000001', '-0.0000001'],
    ],
    refused: invalid('9e999'),
  },
  {
    sql: 'DECIMAL_TEXT(30,10)',
    type: { type: 'decimal', precision: 30, scale: 10 },
    values: texts('-12345678901234567890.0123456789', '0.0000000001'),
    refused: [...invalid("'-0'", "'NaN'", "'1e5'", "'01'", "'0.00000000001'")],
  },
  {
    sql: 'DECIMAL_TEXT(12,2)',
    type: { type: 'decimal', precision: 12, scale: 2 },
    values: [
      ["'12.50'", '12.50'],
      ["'7'", '7.00'],
      ["'1.5000'", '1.50'],
    ],
  },
  {
    sql: 'DECIMAL_TEXT',
    type: { type: 'decimal' },
    values: texts('1.50', `0.${'0'.repeat(39)}1`, '123456789012345678901234567890.000'),
    refused: invalid("'-0.0'"),
  },
  {
    sql: 'FLOAT4',
    type: { type: 'float', bits: 32 },
    values: [
      ['16777216.0', '1.6777216e+07'],
      ['0.5', '0.5'],
    ],
    refused: invalid('0.1'),
  },
  {
    sql: 'DOUBLE',
    type: { type: 'float', bits: 64 },
    values: [
      ['0.1', '0.1'],
      ['1e20', '1e+20'],
      ['9e999', 'Infinity'],
      ['-9e999', '-Infinity'],
      ['5e-324', '5e-324'],
    ],
    refused: asClass("'x'", "x'00'"),
  },
  {
    sql: 'BOOLEAN',
    type: { type: 'boolean' },
    values: [
      ['1', 't'],
      ['0', 'f'],
    ],
    refused: asClass('2', "'true'"),
  },
  {
    sql: 'CHAR(5)',
    type: { type: 'text', maxLength: 5 },
    values: texts('a', 'a ', '', '𠮷𠮷𠮷𠮷𠮷'),
    refused: invalid("'abcdef'"),
  },
  {
    sql: 'VARCHAR(40)',
    type: { type: 'text', maxLength: 40 },
    values: texts('', ' a ', '\\x', 't', '𠮷'.repeat(40)),
    refused: [...asClass("x'61'"), ["'a' || char(0)", 'TEXT_HAS_NUL'], ["CAST(x'ff' AS TEXT)", 'TEXT_NOT_UTF8']],
  },
  {
    sql: 'TEXT',
    type: { type: 'text' },
    values: texts(...TEXTS, '长'.repeat(300)),
    refused: [["CAST(x'61c328' AS TEXT)", 'TEXT_NOT_UTF8']],
  },
  { sql: 'BLOB', type: { type: 'bytes' }, values: bytes('', '00ff5c0a'), refused: asClass("'text'", '1') },
  {
    sql: 'BINARY(5)',
    type: { type: 'bytes', maxBytes: 5 },
    values: bytes('0001020304', '01'),
    refused: invalid("x'000000000000'"),
  },
  {
    sql: 'DATE',
    type: { type: 'date' },
    values: texts('2024-02-29', '0001-01-01', '9999-12-31'),
    refused: [...invalid("'2023-02-29'", "'10000-01-01'", "'infinity'", "'0044-03-15 BC'"), ...asClass('20240131')],
  },
  {
    sql: 'TIME',
    type: { type: 'time', digits: 6 },
    values: [
      ["'08:00'", '08:00:00'],
      ["'23:59:59.999999'", '23:59:59.999999'],
      ["'08:00:00.500'", '08:00:00.5'],
    ],
    refused: invalid("'24:00:00'", "'-01:00'"),
  },
  {
    sql: 'TIMESTAMP',
    type: { type: 'timestamp', digits: 6 },
    values: [
      ["'2024-01-31T08:00'", '2024-01-31 08:00:00'],
      ["'9999-12-31 23:59:59.999999'", '9999-12-31 23:59:59.999999'],
    ],
    refused: [...invalid("'2024-01-31 08:00:00Z'"), ...asClass('1706688000')],
  },
  {
    sql: 'DATETIME(3)',
    type: { type: 'timestamp', digits: 3 },
    values: texts('2024-01-31 08:00:00.12'),
    refused: invalid("'2024-01-31 08:00:00.1234'"),
  },
  {
    sql: 'TIMESTAMPTZ',
    type: { type: 'timestamptz', digits: 6 },
    values: [
      ["'2024-01-31T00:00:00.5Z'", '2024-01-31 00:00:00.5+00'],
      ["'2038-01-19 03:14:08+00'", '2038-01-19 03:14:08+00'],
    ],
    refused: invalid("'2024-01-31 08:00:00+08'", "'2024-01-31 08:00:00'"),
  },
  {
    sql: 'UUID',
    type: { type: 'uuid' },
    values: [["'0F8FAD5B-D9CB-469F-A165-70867728950E'", '0f8fad5b-d9cb-469f-a165-70867728950e']],
    refused: invalid("'0F8FAD5B'"),
  },
  {
    sql: 'JSON',
    type: { type: 'json' },
    values: texts('{"a" : [1,  2.50], "a":"\\u00e9"}', '"𠮷"', 'not json'),
    refused: asClass('12.5'),
  },
  { sql: 'JSON_TEXT', type: { type: 'json' }, values: texts('12.50', 'null', 'not json') },
];
