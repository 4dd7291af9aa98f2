/** What needs no SQL Server to be tried: its types, its errors, how it is reached. */
import { typeText } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { identifier } from './dataSource.ts';
import { classify } from './errors.ts';
import { connectionOptions, type MssqlConfig, productOf } from './session.ts';
import { type CatalogType, nativeType, travelOf } from './types.ts';

const none: CatalogType = { name: '', maxLength: 0, precision: 0, scale: 0, collation: undefined };

test.each<[Partial<CatalogType>, string, string, string | number | Buffer, string]>([
  [{ name: 'bigint' }, 'bigint', 'integer(64)', '9007199254740993', '9007199254740993'],
  [{ name: 'tinyint' }, 'tinyint', 'unsigned integer(8)', '255', '255'],
  [{ name: 'decimal', precision: 38, scale: 4 }, 'decimal(38,4)', 'decimal(38,4)', '-0.0500', '-0.0500'],
  [{ name: 'money' }, 'money', 'decimal(19,4)', '-922337203685477.5808', '-922337203685477.5808'],
  [{ name: 'smallmoney' }, 'smallmoney', 'decimal(10,4)', '1.0000', '1.0000'],
  [{ name: 'float' }, 'float', 'float(64)', 1e20, '1e+20'],
  [{ name: 'real' }, 'real', 'float(32)', Math.fround(0.1), '0.1'],
  [{ name: 'bit' }, 'bit', 'boolean', 't', 't'],
  [{ name: 'date' }, 'date', 'date', '2024-01-31', '2024-01-31'],
  [{ name: 'time', scale: 7 }, 'time(7)', 'time(7)', '08:00:00.1234567', '08:00:00.1234567'],
  [{ name: 'datetime' }, 'datetime', 'timestamp(3)', '2024-01-31 08:00:00.003', '2024-01-31 08:00:00.003'],
  [{ name: 'smalldatetime' }, 'smalldatetime', 'timestamp(0)', '2024-01-31 08:00:00', '2024-01-31 08:00:00'],
  [
    { name: 'datetime2', scale: 7 },
    'datetime2(7)',
    'timestamp(7)',
    '2024-01-31 08:00:00.1000001',
    '2024-01-31 08:00:00.1000001',
  ],
  [
    { name: 'datetimeoffset', scale: 3 },
    'datetimeoffset(3)',
    'timestamptz(3)',
    '2024-01-31 00:00:00.500 +00:00',
    '2024-01-31 00:00:00.5+00',
  ],
  [{ name: 'nchar', maxLength: 20 }, 'nchar(10)', 'char(10)', 'a         ', 'a         '],
  [{ name: 'varchar', maxLength: 20 }, 'varchar(20)', 'text(20)', '张三', '张三'],
  [{ name: 'nvarchar', maxLength: -1 }, 'nvarchar(max)', 'text', '𠮷', '𠮷'],
  [{ name: 'varbinary', maxLength: 16 }, 'varbinary(16)', 'bytes(16)', Buffer.from([0, 255]), '\\x00ff'],
  [{ name: 'timestamp' }, 'timestamp', 'integer(64)', '2001', '2001'],
  [
    { name: 'uniqueidentifier' },
    'uniqueidentifier',
    'uuid',
    '0f8fad5b-d9cb-469f-a165-70867728950e',
    '0f8fad5b-d9cb-469f-a165-70867728950e',
  ],
])('%o is %s, travels as %s, and its value is %s', (catalog, native, logical, value, text) => {
  const whole = { ...none, ...catalog };
  const travel = travelOf(whole);
  expect([nativeType(whole), travel && typeText(travel.type), travel?.text(value)]).toEqual([native, logical, text]);
});

test.each(['sql_variant', 'hierarchyid', 'geometry', 'geography', 'json', 'vector'])('%s cannot travel', (name) => {
  expect(travelOf({ ...none, name })).toBeUndefined();
});

test('a key is compared in the column’s own type, floats as the double that they are', () => {
  const bound: (string | number)[] = [];
  const bind = (value: string | number) => `@p${bound.push(value)}`;
  expect(travelOf({ ...none, name: 'datetimeoffset', scale: 7 })?.compared?.('2024-01-31 00:00:00+00', bind)).toBe(
    'CONVERT(datetimeoffset(7), @p1, 121)',
  );
  expect(travelOf({ ...none, name: 'real' })?.compared?.('0.1', bind)).toBe('@p2');
  expect(travelOf({ ...none, name: 'binary', maxLength: 2 })?.compared?.('\\x00ff', bind)).toBe(
    'CONVERT(binary(2), @p3, 1)',
  );
  expect(bound).toEqual(['2024-01-31 00:00:00 +00:00', Math.fround(0.1), '0x00ff']);
  expect(travelOf({ ...none, name: 'nvarchar', maxLength: -1 })?.compared).toBeUndefined();
});

test.each<[object, string, string]>([
  [{ number: 18456, message: "Login failed for user 'Zhang San'" }, 'SOURCE_RIGHTS', 'permanent'],
  [{ number: 229 }, 'SOURCE_RIGHTS', 'permanent'],
  [{ number: 1205 }, 'SOURCE_BUSY', 'transient'],
  [{ number: 3966 }, 'SOURCE_BUSY', 'transient'],
  [{ number: 208, message: "Invalid object name 'secret'" }, 'SOURCE_SCHEMA', 'permanent'],
  [{ number: 245, message: "Conversion failed when converting 'Zhang San'" }, 'SOURCE_DATA', 'permanent'],
  [{ code: 'ELOGIN' }, 'SOURCE_RIGHTS', 'permanent'],
  [{ code: 'ETIMEOUT' }, 'SOURCE_BUSY', 'transient'],
  [{ code: 'ESOCKET', cause: { code: 'ECONNREFUSED' } }, 'SOURCE_UNAVAILABLE', 'transient'],
  [{ code: 'ESOCKET', cause: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' } }, 'SOURCE_TLS_REFUSED', 'permanent'],
  [{ code: 'ECONNCLOSED' }, 'SOURCE_UNAVAILABLE', 'transient'],
  [new Error('anything'), 'SOURCE_UNAVAILABLE', 'transient'],
])('%o is %s', (error, code, fate) => {
  const found = classify(error);
  expect(found).toMatchObject({ code, fate });
  expect(`${found.message} ${found.hint} ${String(found.cause)}`).not.toMatch(/Zhang San|secret/);
});

test('another machine is spoken to by TLS, unless the network is called trusted', () => {
  const config: MssqlConfig = {
    name: 'his',
    adapter: 'mssql',
    host: 'db.example.gov',
    port: 1433,
    database: 'his',
    user: 'q',
    password: 'p',
  };
  const options = (more: Partial<MssqlConfig>) => connectionOptions({ ...config, ...more }, 'check', 1_000).options;
  expect(options({})).toMatchObject({ encrypt: true, trustServerCertificate: true, serverName: 'db.example.gov' });
  expect(options({ tls: { ca: 'PEM' } })).toMatchObject({
    encrypt: true,
    trustServerCertificate: false,
    cryptoCredentialsDetails: { ca: 'PEM' },
  });
  expect(options({ tls: 'disable' })).toMatchObject({ encrypt: false });
  expect(options({ host: '127.0.0.1' })).toMatchObject({ encrypt: false });
  expect(options({ host: '10.0.0.5' })).not.toHaveProperty('serverName');
});

test('names are quoted whatever is in them', () => {
  expect(identifier('人 [x] ]; DROP')).toBe('[人 [x]] ]]; DROP]');
  expect(() => identifier('')).toThrow(RangeError);
});

test('no version of it is verified here', () => {
  expect(productOf('16.0.4105.2', '3')).toEqual({
    name: 'SQL Server',
    version: '16.0.4105.2',
    isKin: true,
    isVerified: false,
  });
  expect(productOf('12.0.2000.8', '5').name).toBe('Azure SQL Database');
});
