/** What needs no 达梦 to be tried: its types and its errors. Its driver's absence is tried in `../source-only`. */
import { typeText } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { classify } from './errors.ts';
import { productOf } from './session.ts';
import { type CatalogType, nativeType, travelOf } from './types.ts';

const none: CatalogType = { name: '', length: 0, precision: undefined, scale: undefined };

test.each<[Partial<CatalogType>, string, string, string | number | Buffer, string]>([
  [{ name: 'BIGINT' }, 'BIGINT', 'integer(64)', '9007199254740993', '9007199254740993'],
  [{ name: 'INT' }, 'INT', 'integer(32)', '-12', '-12'],
  [{ name: 'TINYINT' }, 'TINYINT', 'integer(8)', '-128', '-128'],
  [{ name: 'DECIMAL', precision: 10, scale: 2 }, 'DECIMAL(10,2)', 'decimal(10,2)', '12.5', '12.50'],
  [{ name: 'NUMBER', precision: 0, scale: 0 }, 'NUMBER', 'decimal', '.50', '0.5'],
  [{ name: 'DOUBLE' }, 'DOUBLE', 'float(64)', 1e20, '1e+20'],
  [{ name: 'REAL' }, 'REAL', 'float(32)', Math.fround(0.1), '0.1'],
  [{ name: 'CHAR', length: 3 }, 'CHAR(3)', 'char(3)', 'a  ', 'a  '],
  [{ name: 'VARCHAR2', length: 20 }, 'VARCHAR2(20)', 'text(20)', '', ''],
  [{ name: 'TEXT' }, 'TEXT', 'text', '𠮷', '𠮷'],
  [{ name: 'VARBINARY', length: 8 }, 'VARBINARY(8)', 'bytes(8)', '00FF', '\\x00ff'],
  [{ name: 'IMAGE' }, 'IMAGE', 'bytes', Buffer.from([1]), '\\x01'],
  [{ name: 'BIT' }, 'BIT', 'boolean', 't', 't'],
  [{ name: 'DATE' }, 'DATE', 'date', '2024-01-31', '2024-01-31'],
  [{ name: 'TIME', scale: 6 }, 'TIME(6)', 'time(6)', '08:00:00.500000', '08:00:00.5'],
  [
    { name: 'TIMESTAMP', scale: 6 },
    'TIMESTAMP(6)',
    'timestamp(6)',
    '2024-01-31 08:00:00.000001',
    '2024-01-31 08:00:00.000001',
  ],
])('%o is %s, travels as %s, and its value is %s', (catalog, native, logical, value, text) => {
  const whole = { ...none, ...catalog };
  const travel = travelOf(whole);
  expect([nativeType(whole), travel && typeText(travel.type), travel?.text(value)]).toEqual([native, logical, text]);
});

test.each([
  { name: 'TIMESTAMP WITH TIME ZONE' },
  { name: 'INTERVAL DAY TO SECOND' },
  { name: 'BFILE' },
  { name: 'ROWID' },
  { name: 'JSON' },
  { name: 'TIMESTAMP', scale: 9 },
])('$name cannot travel', (catalog) => {
  expect(travelOf({ ...none, ...catalog })).toBeUndefined();
});

test.each<[object, string, string]>([
  [{ message: '[-2501] 用户名或密码错误 SECRET' }, 'SOURCE_RIGHTS', 'permanent'],
  [{ errCode: -5504 }, 'SOURCE_RIGHTS', 'permanent'],
  [{ message: '[-2106] 无效的表或视图名[SECRET]' }, 'SOURCE_SCHEMA', 'permanent'],
  [{ message: '[6071] 消息加密失败' }, 'SOURCE_TLS_REFUSED', 'permanent'],
  [{ code: 'ECONNREFUSED' }, 'SOURCE_UNAVAILABLE', 'transient'],
  [new Error('anything with SECRET'), 'SOURCE_UNAVAILABLE', 'transient'],
])('%o is %s', (error, code, fate) => {
  const found = classify(error);
  expect(found).toMatchObject({ code, fate });
  expect(`${found.message} ${found.hint} ${String(found.cause)}`).not.toContain('SECRET');
});

test('the login that newer Nodes cannot encrypt names the way out', () => {
  expect(classify({ message: '[6071] 消息加密失败' }).hint).toContain('--openssl-legacy-provider');
});

test('no version of it is verified here', () => {
  expect(productOf('DM Database Server x64 V8.1.4.80-20250423')).toMatchObject({
    version: '8.1.4.80',
    isKin: true,
    isVerified: false,
  });
});
