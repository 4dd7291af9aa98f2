/** Column types of MariaDB, and of MySQL where the tests run at one, for the matrix. */
import { OWN_IS_MARIADB } from '../mysql/server.testing.ts';
import { type MatrixColumn, native, numbers, TEXTS, texts, type Value } from './column.testing.ts';

const my = (name: string) => native('mysql', name);
const bytes = (...hex: string[]): Value[] => hex.map((each) => [`x'${each}'`, `\\x${each}`]);

/** MySQL prints documents in a form of its own, and has no types of identities and addresses. */
const OWN: readonly MatrixColumn[] = OWN_IS_MARIADB
  ? [
      { sql: 'json', type: { type: 'json' }, values: texts('{"a" : [1,  2.50], "a":"\\u00e9"}', '12.50', '"𠮷"') },
      { sql: 'uuid', type: { type: 'uuid' }, values: texts('0f8fad5b-d9cb-469f-a165-70867728950e') },
      { sql: 'inet4', type: my('inet4'), values: texts('10.0.0.1') },
      { sql: 'inet6', type: my('inet6'), values: texts('::1', '2001:db8::ff00:42:8329') },
    ]
  : [{ sql: 'json', type: my('json'), values: texts('{"a": [1, 2.5], "b": "é"}', '12.5', '"𠮷"') }];

export const MYSQL_UNSUPPORTED = ['point', 'geometry'];

export const MYSQL_COLUMNS: readonly MatrixColumn[] = [
  { sql: 'tinyint', name: 'tinyint(4)', type: { type: 'integer', bits: 8 }, values: numbers('-128', '127') },
  { sql: 'tinyint unsigned', type: { type: 'integer', bits: 8, unsigned: true }, values: numbers('0', '255') },
  {
    sql: 'tinyint(1)',
    type: { type: 'boolean' },
    values: [
      ['1', 't'],
      ['0', 'f'],
    ],
    refused: [
      ['2', 'VALUE_INVALID'],
      ['-1', 'VALUE_INVALID'],
    ],
  },
  { sql: 'smallint', type: { type: 'integer', bits: 16 }, values: numbers('-32768', '32767') },
  { sql: 'mediumint', type: { type: 'integer', bits: 24 }, values: numbers('-8388608', '8388607') },
  { sql: 'int', type: { type: 'integer', bits: 32 }, values: numbers('-2147483648', '2147483647') },
  { sql: 'int(5) zerofill', type: { type: 'integer', bits: 32, unsigned: true }, values: numbers('7', '4294967295') },
  { sql: 'bigint', type: { type: 'integer', bits: 64 }, values: numbers('-9223372036854775808', '9007199254740993') },
  {
    sql: 'bigint unsigned',
    type: { type: 'integer', bits: 64, unsigned: true },
    values: numbers('18446744073709551615', '9223372036854775807'),
  },
  {
    sql: 'decimal(12,2)',
    type: { type: 'decimal', precision: 12, scale: 2 },
    values: numbers('12.50', '-9999999999.99', '0.00'),
  },
  {
    sql: 'decimal(65,30)',
    type: { type: 'decimal', precision: 65, scale: 30 },
    values: numbers(`${'9'.repeat(35)}.${'9'.repeat(30)}`, `-0.${'0'.repeat(29)}1`),
  },
  { sql: 'decimal(5,2) zerofill', type: { type: 'decimal', precision: 5, scale: 2 }, values: numbers('1.50') },
  {
    sql: 'float',
    type: { type: 'float', bits: 32 },
    values: [
      ['0.1', '0.1'],
      ['16777216', '1.6777216e+07'],
      ['-3.4028234663852886e38', '-3.4028235e+38'],
      ['1e-10', '1e-10'],
    ],
  },
  {
    sql: 'double',
    type: { type: 'float', bits: 64 },
    values: [
      ['0.1', '0.1'],
      ['1e20', '1e+20'],
      ['-1.7976931348623157e308', '-1.7976931348623157e+308'],
      ['2.2250738585072014e-308', '2.2250738585072014e-308'],
    ],
  },
  {
    sql: 'double(8,3)',
    type: { type: 'float', bits: 64 },
    values: [
      ['1.5', '1.5'],
      ['-12345.678', '-12345.678'],
    ],
  },
  {
    sql: 'char(5)',
    type: { type: 'text', maxLength: 5, padded: true },
    values: [
      ["'a'", 'a    '],
      ["''", '     '],
      ["'𠮷𠮷𠮷𠮷𠮷'", '𠮷𠮷𠮷𠮷𠮷'],
    ],
  },
  {
    sql: 'varchar(40)',
    type: { type: 'text', maxLength: 40 },
    values: [...texts('', ' a ', '\\x', 't'), ["repeat('𠮷', 40)", '𠮷'.repeat(40)]],
    refused: [['concat(0x61, 0x00)', 'TEXT_HAS_NUL']],
  },
  {
    sql: 'varchar(40) CHARACTER SET gbk',
    name: 'varchar(40) of gbk',
    type: { type: 'text', maxLength: 40 },
    values: texts('张三', ''),
  },
  {
    sql: 'varchar(40) CHARACTER SET latin1',
    name: 'varchar(40) of latin1',
    type: { type: 'text', maxLength: 40 },
    values: texts('é€', ''),
  },
  {
    sql: 'tinytext',
    type: { type: 'text', maxLength: 255 },
    values: [...texts('', ' b '), ["repeat('x', 255)", 'x'.repeat(255)]],
  },
  { sql: 'text', type: { type: 'text', maxLength: 65535 }, values: [["repeat('长', 300)", '长'.repeat(300)]] },
  {
    sql: 'longtext',
    type: { type: 'text' },
    values: texts(...TEXTS),
    refused: [["concat('a', 0x00)", 'TEXT_HAS_NUL']],
  },
  {
    sql: 'binary(5)',
    type: { type: 'bytes', maxBytes: 5 },
    values: [...bytes('0001020304'), ["x'61'", '\\x6100000000']],
  },
  { sql: 'varbinary(40)', type: { type: 'bytes', maxBytes: 40 }, values: bytes('', '00ff5c0a', '6869') },
  { sql: 'blob', type: { type: 'bytes', maxBytes: 65535 }, values: bytes('', 'ff'.repeat(300)) },
  { sql: 'longblob', type: { type: 'bytes' }, values: bytes('', '00ff5c0a') },
  {
    sql: 'date',
    type: { type: 'date' },
    values: texts('2024-02-29', '0001-01-01', '9999-12-31'),
    refused: [
      ["'0000-00-00'", 'VALUE_INVALID'],
      ["'2024-00-10'", 'VALUE_INVALID'],
      ["'2024-05-00'", 'VALUE_INVALID'],
      ["'2024-02-31'", 'VALUE_INVALID'],
      ["'0000-01-01'", 'VALUE_INVALID'],
    ],
  },
  {
    sql: 'datetime',
    type: { type: 'timestamp', digits: 0 },
    values: texts('2024-01-31 08:00:00', '0001-01-01 00:00:00'),
    refused: [
      ["'0000-00-00 00:00:00'", 'VALUE_INVALID'],
      ["'2024-02-30 10:00:00'", 'VALUE_INVALID'],
    ],
  },
  {
    sql: 'datetime(6)',
    type: { type: 'timestamp', digits: 6 },
    values: texts('2024-01-31 08:00:00.5', '9999-12-31 23:59:59.999999'),
  },
  {
    sql: 'timestamp NULL',
    name: 'timestamp',
    type: { type: 'timestamptz', digits: 0 },
    values: [
      ["'2024-01-31 08:00:00'", '2024-01-31 08:00:00+00'],
      ["'1970-01-01 00:00:01'", '1970-01-01 00:00:01+00'],
    ],
    refused: [["'0000-00-00 00:00:00'", 'VALUE_INVALID']],
  },
  {
    sql: 'timestamp(6) NULL',
    name: 'timestamp(6)',
    type: { type: 'timestamptz', digits: 6 },
    values: [["'2038-01-19 03:14:07.999999'", '2038-01-19 03:14:07.999999+00']],
  },
  {
    sql: 'time',
    type: { type: 'time', digits: 0 },
    values: texts('08:00:00', '24:00:00'),
    refused: [
      ["'-01:00:00'", 'VALUE_INVALID'],
      ["'838:59:59'", 'VALUE_INVALID'],
      ["'24:00:01'", 'VALUE_INVALID'],
    ],
  },
  { sql: 'time(6)', type: { type: 'time', digits: 6 }, values: texts('08:00:00.5', '23:59:59.999999') },
  {
    sql: 'year',
    type: my('year'),
    values: [
      ['1901', '1901'],
      ['2155', '2155'],
      ['0', '0'],
    ],
  },
  {
    sql: 'bit(1)',
    type: { type: 'boolean' },
    values: [
      ["b'1'", 't'],
      ["b'0'", 'f'],
    ],
  },
  {
    sql: 'bit(9)',
    type: my('bit(9)'),
    values: [
      ["b'000000101'", '000000101'],
      ["b'111111111'", '1'.repeat(9)],
    ],
  },
  { sql: 'bit(64)', type: my('bit(64)'), values: [[`b'${'1'.repeat(64)}'`, '1'.repeat(64)]] },
  {
    sql: "enum('a','B b','好')",
    name: "enum('a','B b',…)",
    type: my("enum('a','B b','好')"),
    values: texts('a', 'B b', '好'),
    refused: [["'nope'", 'VALUE_INVALID']],
  },
  { sql: "set('a','b','好')", name: "set('a','b',…)", type: my("set('a','b','好')"), values: texts('', 'a', 'a,好') },
  ...OWN,
];
