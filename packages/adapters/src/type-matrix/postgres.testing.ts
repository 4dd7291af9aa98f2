/** Column types of PostgreSQL for the matrix. */
import { type MatrixColumn, native, numbers, TEXTS, texts } from './column.testing.ts';

const pg = (name: string) => native('postgres', name);

/** What the types below are made of. */
export const POSTGRES_TYPES = `
  CREATE TYPE mood AS ENUM ('so la', 'o''k', '好');
  CREATE DOMAIN amount AS numeric(10,2) CHECK (VALUE <> 13);
  CREATE TYPE pair AS (a int, b text);
  CREATE TYPE floatspan AS RANGE (subtype = float8);`;

/** No text of theirs means the same elsewhere. */
export const POSTGRES_UNSUPPORTED = ['money', 'pair', 'floatspan', 'regclass', 'xid'];

export const POSTGRES_COLUMNS: readonly MatrixColumn[] = [
  { sql: 'smallint', type: { type: 'integer', bits: 16 }, values: numbers('-32768', '32767', '0') },
  { sql: 'integer', type: { type: 'integer', bits: 32 }, values: numbers('-2147483648', '2147483647', '1234567') },
  {
    sql: 'bigint',
    type: { type: 'integer', bits: 64 },
    values: texts('-9223372036854775808', '9223372036854775807', '9007199254740993'),
  },
  {
    sql: 'numeric(12,2)',
    type: { type: 'decimal', precision: 12, scale: 2 },
    values: texts('12.50', '-9999999999.99', '0.00', 'NaN'),
  },
  {
    sql: 'numeric(30,10)',
    type: { type: 'decimal', precision: 30, scale: 10 },
    values: texts('-12345678901234567890.0123456789', '0.0000000001'),
  },
  {
    sql: 'numeric(3,-2)',
    type: { type: 'decimal', precision: 3, scale: -2 },
    values: numbers('99900', '-12300'),
  },
  {
    sql: 'numeric',
    type: { type: 'decimal' },
    values: [
      ['1.50', '1.50'],
      ["'1e-40'", `0.${'0'.repeat(39)}1`],
      ...texts('123456789012345678901234567890.000', 'NaN', 'Infinity', '-Infinity'),
    ],
  },
  {
    sql: 'amount',
    name: 'domain over numeric(10,2)',
    type: { type: 'decimal', precision: 10, scale: 2 },
    values: texts('-0.05'),
  },
  {
    sql: 'real',
    type: { type: 'float', bits: 32 },
    values: texts('0.1', '1.6777216e+07', '-3.4028235e+38', '1e-45', 'NaN', '-Infinity', '-0'),
  },
  {
    sql: 'double precision',
    type: { type: 'float', bits: 64 },
    values: texts('0.1', '1e+20', '-1.7976931348623157e+308', '5e-324', 'NaN', 'Infinity', '-0'),
  },
  { sql: 'boolean', type: { type: 'boolean' }, values: texts('t', 'f') },
  { sql: 'text', type: { type: 'text' }, values: [...texts(...TEXTS), ["repeat('长', 300)", '长'.repeat(300)]] },
  {
    sql: 'varchar(40)',
    type: { type: 'text', maxLength: 40 },
    values: [...texts('', ' a ', '\\x', 't'), ["repeat('𠮷', 40)", '𠮷'.repeat(40)]],
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
  { sql: 'bpchar', type: pg('bpchar'), values: texts('a  ', '') },
  { sql: 'bytea', type: { type: 'bytes' }, values: texts('\\x', '\\x00ff5c0a', '\\x6869') },
  {
    sql: 'date',
    type: { type: 'date' },
    values: texts('2024-02-29', '0001-01-01', '9999-12-31', 'infinity', '0044-03-15 BC', '10000-01-01'),
  },
  {
    sql: 'time',
    type: { type: 'time', digits: 6 },
    values: texts('08:00:00.5', '23:59:59.999999', '24:00:00', '00:00:00'),
  },
  { sql: 'time(0)', type: { type: 'time', digits: 0 }, values: texts('08:00:01', '24:00:00') },
  {
    sql: 'timestamp',
    type: { type: 'timestamp', digits: 6 },
    values: texts(
      '2024-01-31 08:00:00.123456',
      '9999-12-31 23:59:59.999999',
      '-infinity',
      '0001-01-01 00:00:00.000001 BC',
      '10000-01-01 00:00:00',
    ),
  },
  {
    sql: 'timestamp(3)',
    type: { type: 'timestamp', digits: 3 },
    values: texts('2024-01-31 08:00:00.12', '1582-10-10 00:00:00'),
  },
  {
    sql: 'timestamptz',
    type: { type: 'timestamptz', digits: 6 },
    values: [
      ["'2024-06-01 08:00:00.5+08'", '2024-06-01 00:00:00.5+00'],
      ...texts(
        '2038-01-19 03:14:07.999999+00',
        '2038-01-19 03:14:08+00',
        '1969-12-31 23:59:59+00',
        'infinity',
        '0044-03-15 00:00:00+00 BC',
        '10000-01-01 00:00:00+00',
      ),
    ],
  },
  { sql: 'timetz', type: pg('time with time zone'), values: texts('08:00:00.5+08', '23:59:59-03:30') },
  {
    sql: 'interval',
    type: pg('interval'),
    values: [
      ["'1 year -2 days 03:04:05.678'", 'P1Y-2DT3H4M5.678S'],
      ["'0'", 'PT0S'],
    ],
  },
  {
    sql: 'uuid',
    type: { type: 'uuid' },
    values: [["'0F8FAD5B-D9CB-469F-A165-70867728950E'", '0f8fad5b-d9cb-469f-a165-70867728950e']],
  },
  { sql: 'json', type: { type: 'json' }, values: texts('{"a" : [1,  2.50], "a":"\\u00e9"}', '12.50', '"𠮷"', 'null') },
  { sql: 'jsonb', type: pg('jsonb'), values: texts('{"a": [null], "b": 1.50}', '12.50') },
  { sql: 'xml', type: pg('xml'), values: texts('<a b="1">好</a>', 'text only') },
  { sql: 'inet', type: pg('inet'), values: texts('10.0.0.1/8', '::1') },
  { sql: 'cidr', type: pg('cidr'), values: texts('10.0.0.0/8') },
  { sql: 'macaddr', type: pg('macaddr'), values: texts('08:00:2b:01:02:03') },
  { sql: 'bit(5)', type: pg('bit(5)'), values: texts('01010') },
  { sql: 'bit varying(9)', type: pg('bit varying(9)'), values: texts('', '101') },
  { sql: 'integer[]', type: pg('integer[]'), values: texts('{1,NULL,3}', '[2:3]={1,2}', '{}') },
  { sql: 'text[]', type: pg('text[]'), values: texts('{"a b",NULL,"\\"q\\"","","\\\\N"}') },
  { sql: 'int4range', type: pg('int4range'), values: texts('[1,5)', 'empty') },
  { sql: 'tstzmultirange', type: pg('tstzmultirange'), values: texts('{["2024-01-01 00:00:00+00",infinity)}') },
  { sql: 'tsvector', type: pg('tsvector'), values: texts("'a':1 'b':2") },
  { sql: 'point', type: pg('point'), values: texts('(0.1,-0)') },
  { sql: 'oid', type: pg('oid'), values: texts('4294967295') },
  {
    sql: 'mood',
    name: "enum('so la','o''k',…)",
    type: pg("enum('so la','o''k','好')"),
    values: texts('so la', "o'k", '好'),
  },
];
