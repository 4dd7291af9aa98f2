/** What needs no Oracle to be tried: its types, its errors, how it is reached, whom a cursor waits for. */
import { typeText } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { identifier } from '../source-only/dictionary.ts';
import { Refused } from '../source-only/reader.ts';
import { classify } from './errors.ts';
import { stillOpen } from './horizon.ts';
import { connectString, type OracleConfig } from './session.ts';
import { type CatalogType, nativeType, travelOf } from './types.ts';

const none: CatalogType = {
  name: '',
  owner: undefined,
  length: 0,
  precision: undefined,
  scale: undefined,
  charLength: 0,
};

test.each<[Partial<CatalogType>, string, string, string | number | Buffer, string]>([
  [{ name: 'NUMBER' }, 'NUMBER', 'decimal', '.1', '0.1'],
  [{ name: 'NUMBER', scale: 0 }, 'NUMBER(*,0)', 'decimal', '1E+100', `1${'0'.repeat(100)}`],
  [{ name: 'NUMBER', precision: 10, scale: 2 }, 'NUMBER(10,2)', 'decimal(10,2)', '-.5', '-0.50'],
  [{ name: 'NUMBER', precision: 5, scale: -2 }, 'NUMBER(5,-2)', 'decimal(5,-2)', '1200', '1200'],
  [{ name: 'FLOAT', precision: 126 }, 'FLOAT(126)', 'decimal', '1.50', '1.5'],
  [{ name: 'BINARY_DOUBLE' }, 'BINARY_DOUBLE', 'float(64)', Number.NaN, 'NaN'],
  [{ name: 'BINARY_FLOAT' }, 'BINARY_FLOAT', 'float(32)', Math.fround(0.1), '0.1'],
  [{ name: 'CHAR', charLength: 3 }, 'CHAR(3 CHAR)', 'char(3)', 'a  ', 'a  '],
  [{ name: 'VARCHAR2', charLength: 20 }, 'VARCHAR2(20 CHAR)', 'text(20)', '张三', '张三'],
  [{ name: 'NVARCHAR2', charLength: 20 }, 'NVARCHAR2(20)', 'text(20)', '𠮷', '𠮷'],
  [{ name: 'CLOB' }, 'CLOB', 'text', 'long', 'long'],
  [{ name: 'RAW', length: 16 }, 'RAW(16)', 'bytes(16)', Buffer.from([0, 255]), '\\x00ff'],
  [{ name: 'BLOB' }, 'BLOB', 'bytes', Buffer.alloc(0), '\\x'],
  [{ name: 'DATE' }, 'DATE', 'timestamp(0)', '2024-01-31 08:00:00', '2024-01-31 08:00:00'],
  [
    { name: 'TIMESTAMP(9)' },
    'TIMESTAMP(9)',
    'timestamp(9)',
    '2024-01-31 08:00:00.123456789',
    '2024-01-31 08:00:00.123456789',
  ],
  [
    { name: 'TIMESTAMP(6) WITH TIME ZONE' },
    'TIMESTAMP(6) WITH TIME ZONE',
    'timestamptz(6)',
    '2024-01-31 00:00:00.500000000',
    '2024-01-31 00:00:00.5+00',
  ],
  [
    { name: 'TIMESTAMP(6) WITH LOCAL TIME ZONE' },
    'TIMESTAMP(6) WITH LOCAL TIME ZONE',
    'timestamptz(6)',
    '2024-01-31 00:00:00.000000000',
    '2024-01-31 00:00:00+00',
  ],
  [{ name: 'BOOLEAN' }, 'BOOLEAN', 'boolean', 'f', 'f'],
])('%o is %s, travels as %s, and its value is %s', (catalog, native, logical, value, text) => {
  const whole = { ...none, ...catalog };
  const travel = travelOf(whole);
  expect([nativeType(whole), travel && typeText(travel.type), travel?.text(value)]).toEqual([native, logical, text]);
});

test('what a number cannot be elsewhere, and what the driver could not decode, is refused', () => {
  expect(travelOf({ ...none, name: 'NUMBER' })?.text('~')).toEqual(new Refused('VALUE_INVALID'));
  expect(travelOf({ ...none, name: 'VARCHAR2', charLength: 9 })?.text('\ufffd')).toEqual(
    new Refused('TEXT_UNDECODABLE'),
  );
  expect(travelOf({ ...none, name: 'DATE' })?.refused?.('"D"')).toBe(`"D" < DATE '0001-01-01'`);
});

test.each(['LONG', 'LONG RAW', 'BFILE', 'ROWID', 'INTERVAL DAY(2) TO SECOND(6)', 'JSON', 'XMLTYPE', 'VECTOR'])(
  '%s cannot travel',
  (name) => {
    expect(travelOf({ ...none, name })).toBeUndefined();
    expect(travelOf({ ...none, name: 'NUMBER', owner: 'HR' })).toBeUndefined();
  },
);

test('a zone that is lost is told, one that was never kept is not', () => {
  expect(travelOf({ ...none, name: 'TIMESTAMP(6) WITH TIME ZONE' })?.loses).toContain('zone');
  expect(travelOf({ ...none, name: 'TIMESTAMP(6) WITH LOCAL TIME ZONE' })?.loses).toBeUndefined();
});

test.each<[object, string, string]>([
  [{ code: 'ORA-01017' }, 'SOURCE_RIGHTS', 'permanent'],
  [{ code: 'ORA-00942', message: 'table or view "SECRET" does not exist' }, 'SOURCE_RIGHTS', 'permanent'],
  [{ code: 'ORA-01555' }, 'SOURCE_BUSY', 'transient'],
  [{ code: 'ORA-00060' }, 'SOURCE_BUSY', 'transient'],
  [{ code: 'ORA-00904' }, 'SOURCE_SCHEMA', 'permanent'],
  [{ code: 'ORA-01722', message: 'unable to convert string value containing SECRET' }, 'SOURCE_DATA', 'permanent'],
  [{ code: 'ORA-12514' }, 'SOURCE_UNAVAILABLE', 'transient'],
  [{ code: 'ORA-03113' }, 'SOURCE_UNAVAILABLE', 'transient'],
  [{ code: 'NJS-503' }, 'SOURCE_UNAVAILABLE', 'transient'],
  [{ code: 'NJS-506' }, 'SOURCE_TLS_REFUSED', 'permanent'],
  [{ code: 'NJS-138' }, 'SOURCE_SCHEMA', 'permanent'],
  [{ code: 'ECONNREFUSED' }, 'SOURCE_UNAVAILABLE', 'transient'],
])('%o is %s', (error, code, fate) => {
  const found = classify(error);
  expect(found).toMatchObject({ code, fate });
  expect(`${found.message} ${found.hint} ${String(found.cause)}`).not.toContain('SECRET');
});

test('another machine is spoken to by TCPS, and no name can say more than a name', () => {
  const config: OracleConfig = {
    name: 'his',
    adapter: 'oracle',
    host: 'db.example.gov',
    port: 2484,
    database: 'his.example',
    user: 'q',
    password: 'p',
  };
  expect(connectString(config)).toMatch(
    /\(PROTOCOL=tcps\)\(HOST=db\.example\.gov\)\(PORT=2484\)\).*\(SERVICE_NAME=his\.example\).*SSL_SERVER_DN_MATCH=yes/,
  );
  expect(connectString({ ...config, tls: 'disable' })).toContain('(PROTOCOL=tcp)');
  expect(connectString({ ...config, host: '127.0.0.1' })).toContain('(PROTOCOL=tcp)');
  for (const wrong of [{ database: 'x)(SID=y' }, { host: 'db)(PORT=1' }, { database: '' }]) {
    expect(() => connectString({ ...config, ...wrong })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  }
  expect(identifier('患者 x')).toBe('"患者 x"');
  expect(() => identifier('a"b')).toThrow(RangeError);
});

test('a cursor waits for each transaction that was open, and for what a statement that ran has begun since', () => {
  const before = { transactions: ['1.7.2/3.1.900', '-/4.0.77'], statements: ['1.9.5/abc.16'] };
  // The first has ended; its session has begun another, which took its values later.
  expect(stillOpen(before, { transactions: ['1.7.2/8.8.8', '-/4.0.77'], statements: ['1.9.5/abc.16'] })).toBe(
    JSON.stringify({ transactions: ['-/4.0.77'], statements: ['1.9.5/abc.16'] }),
  );
  expect(stillOpen(before, { transactions: ['1.9.5/5.5.5'], statements: [] })).toBe(
    JSON.stringify({ transactions: ['1.9.5/5.5.5'], statements: [] }),
  );
  expect(stillOpen(before, { transactions: ['1.7.2/8.8.8'], statements: ['1.9.5/abc.17'] })).toBeUndefined();
});
