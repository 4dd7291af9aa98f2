/** What the common contract cannot ask of every database: the values, types and engines of MySQL and MariaDB as a source. */
import { MAX_ROW_BYTES } from '@qiao/exchange';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DataSource } from '../adapter.ts';
import { collect, scan, snapshotTable } from '../contract-suite/fixture.ts';
import { openMysql } from './dataSource.ts';
import { connectMysql, type MysqlClient, type MysqlServer, startMysql } from './server.testing.ts';
import { type MysqlConfig, openSession } from './session.ts';

let server: MysqlServer;
beforeAll(async () => {
  server = await startMysql();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

interface World extends AsyncDisposable {
  readonly config: MysqlConfig;
  readonly department: MysqlClient;
  readonly dataSource: DataSource;
}

async function world(): Promise<World> {
  const config = await server.database();
  const department = connectMysql(server.url, config.database);
  const dataSource = openMysql(config);
  return {
    config,
    department,
    dataSource,
    async [Symbol.asyncDispose]() {
      await dataSource.close();
      await department[Symbol.asyncDispose]();
    },
  };
}

/** Stores values of a type without strict mode, as old programs do, and reads them back. */
async function read(type: string, values: readonly string[]) {
  await using each = await world();
  await each.department.query(
    `SET SESSION sql_mode = 'ALLOW_INVALID_DATES'; CREATE TABLE t (id int NOT NULL PRIMARY KEY, x ${type});
     INSERT INTO t VALUES ${values.map((value, index) => `(${index}, ${value})`).join(', ')}`,
  );
  const table = await snapshotTable(each.dataSource, 't', ['id', 'x']);
  const { rows, refused } = await scan(each.dataSource, table);
  return { type: table.columns[1]?.type, texts: rows.map(([, text]) => text), refused };
}

/** Types that MySQL does not have, and what it makes of others. */
const MARIADB_TYPES = new Set(['uuid', 'inet6']);
const OF_MYSQL = new Map([
  ['json', { type: { type: 'native', system: 'mysql', name: 'json' }, texts: ['{"a": [1, 2], "b": 1}'] }],
]);

describe('values of MySQL', () => {
  test.each<[string, string[], object, (string | null)[]]>([
    [
      'bigint unsigned',
      ['18446744073709551615', '0'],
      { type: 'integer', bits: 64, unsigned: true },
      ['18446744073709551615', '0'],
    ],
    ['int(6) zerofill', ['42'], { type: 'integer', bits: 32, unsigned: true }, ['42']],
    ['tinyint', ['-128', 'NULL'], { type: 'integer', bits: 8 }, ['-128', null]],
    ['mediumint unsigned', ['16777215'], { type: 'integer', bits: 24, unsigned: true }, ['16777215']],
    [
      'decimal(65,30)',
      ['-12345678901234567890123456789012345.123456789012345678901234567890'],
      { type: 'decimal', precision: 65, scale: 30 },
      ['-12345678901234567890123456789012345.123456789012345678901234567890'],
    ],
    ['decimal(8,2) zerofill', ['1.5'], { type: 'decimal', precision: 8, scale: 2 }, ['1.50']],
    [
      'float',
      ['0.1', '16777217', '3.4028234e38', '1.17549435e-38', '1e-7', '1e6'],
      { type: 'float', bits: 32 },
      ['0.1', '1.6777216e+07', '3.4028235e+38', '1.1754944e-38', '1e-07', '1e+06'],
    ],
    [
      'double',
      ['0.1', '1e15', '123456789012345680', '2.2250738585072014e-308', '0.0001', '0.00001'],
      { type: 'float', bits: 64 },
      ['0.1', '1e+15', '1.2345678901234568e+17', '2.2250738585072014e-308', '0.0001', '1e-05'],
    ],
    ['double(10,2)', ['1.006', '-3'], { type: 'float', bits: 64 }, ['1.01', '-3']],
    ['bit(1)', ["b'1'", "b'0'", 'NULL'], { type: 'boolean' }, ['t', 'f', null]],
    ['bit(10)', ["b'101'"], { type: 'native', system: 'mysql', name: 'bit(10)' }, ['0000000101']],
    ['year', ['2024', '0'], { type: 'native', system: 'mysql', name: 'year' }, ['2024', '0']],
    ["enum('男','女')", ["'女'", 'NULL'], { type: 'native', system: 'mysql', name: "enum('男','女')" }, ['女', null]],
    ["set('a','b')", ["'b,a'", "''"], { type: 'native', system: 'mysql', name: "set('a','b')" }, ['a,b', '']],
    ['char(4)', ["'ab  '", "''"], { type: 'text', maxLength: 4, padded: true }, ['ab  ', '    ']],
    ['varchar(4)', ["'ab  '", "''"], { type: 'text', maxLength: 4 }, ['ab  ', '']],
    ['binary(3)', ["'a'"], { type: 'bytes', maxBytes: 3 }, ['\\x610000']],
    ['blob', ["x'00ff5c0a'", "''"], { type: 'bytes', maxBytes: 65_535 }, ['\\x00ff5c0a', '\\x']],
    ['text', ["'a\tb\nc\\\\'", "''", 'NULL'], { type: 'text', maxLength: 65_535 }, ['a\tb\nc\\', '', null]],
    ['varchar(20) CHARACTER SET gbk', ["'张三\\\\'"], { type: 'text', maxLength: 20 }, ['张三\\']],
    ['varchar(20) CHARACTER SET latin1', ["'café'"], { type: 'text', maxLength: 20 }, ['café']],
    ['char(3) CHARACTER SET utf16', ["'𠮷'"], { type: 'text', maxLength: 3, padded: true }, ['𠮷  ']],
    ['json', [`'{"b": 1,  "a": [1, 2]}'`], { type: 'json' }, ['{"b": 1,  "a": [1, 2]}']],
    [
      'datetime(3)',
      ["'2024-01-31 08:00:00.500'", "'9999-12-31 23:59:59'", "'0001-01-01 00:00:00'"],
      { type: 'timestamp', digits: 3 },
      ['2024-01-31 08:00:00.5', '9999-12-31 23:59:59', '0001-01-01 00:00:00'],
    ],
    [
      'timestamp(6) NULL',
      ["'2024-01-31 08:00:00.000010'", 'NULL'],
      { type: 'timestamptz', digits: 6 },
      ['2024-01-31 08:00:00.00001+00', null],
    ],
    ['time(1)', ["'24:00:00'", "'08:30:00.5'"], { type: 'time', digits: 1 }, ['24:00:00', '08:30:00.5']],
    [
      'uuid',
      ["'0F8FAD5B-D9CB-469F-A165-70867728950E'", 'NULL'],
      { type: 'uuid' },
      ['0f8fad5b-d9cb-469f-a165-70867728950e', null],
    ],
    ['inet6', ["'2001:DB8::1'"], { type: 'native', system: 'mysql', name: 'inet6' }, ['2001:db8::1']],
  ])('%s is read exactly', async (type, values, described, texts) => {
    if (!server.isMariaDb && MARIADB_TYPES.has(type)) return await expect(read(type, values)).rejects.toThrow('syntax');
    const ofMysql = server.isMariaDb ? undefined : OF_MYSQL.get(type);
    expect(await read(type, values)).toEqual({ type: described, texts, refused: [], ...ofMysql });
  });

  test.each<[string, string[], string]>([
    ['date', ["'0000-00-00'", "'2024-00-10'", "'2024-01-00'", "'2024-02-31'", "'0000-01-01'"], 'VALUE_INVALID'],
    ['datetime', ["'0000-00-00 00:00:00'", "'2024-00-10 10:00:00'", "'2023-02-29 10:00:00'"], 'VALUE_INVALID'],
    ['timestamp NULL', ["'0000-00-00 00:00:00'"], 'VALUE_INVALID'],
    ['time(1)', ["'-00:00:01'", "'24:00:00.1'", "'838:59:59'"], 'VALUE_INVALID'],
    ['boolean', ['2', '-1'], 'VALUE_INVALID'],
    ["enum('a')", ["'no label'"], 'VALUE_INVALID'],
    ['text', ["'a\\0b'"], 'TEXT_HAS_NUL'],
    ['varchar(9)', ["'\\0'"], 'TEXT_HAS_NUL'],
    ['varchar(9) CHARACTER SET gbk', ["x'AAA1'"], 'TEXT_NOT_UTF8'],
  ])('a value of %s that has no text stays behind, counted', async (type, values, code) => {
    const { texts, refused } = await read(type, values);
    expect({ texts, refused }).toEqual({ texts: [], refused: [{ code, column: 'x', count: values.length }] });
  });

  test('a row over the limit stays behind among rows that go', async () => {
    await using each = await world();
    await each.department.query(
      `CREATE TABLE t (id int NOT NULL PRIMARY KEY, x longblob, y longtext);
       INSERT INTO t VALUES (1, 'a', ''), (2, REPEAT('a', ${MAX_ROW_BYTES / 2}), ''), (3, 'b', REPEAT('x', 1000)), (4, NULL, REPEAT('\t', ${MAX_ROW_BYTES / 2}))`,
    );
    const { rows, refused } = await scan(each.dataSource, await snapshotTable(each.dataSource, 't', ['id', 'x', 'y']));
    expect(rows.map(([id]) => id)).toEqual(['1', '3']);
    expect(refused.reduce((sum, { code, count }) => sum + (code === 'ROW_TOO_LARGE' ? count : 100), 0)).toBe(2);
  });

  test('a text longer than a row may be does not travel only to be refused', async () => {
    await using own = await startMysql(['--max-allowed-packet=64M'], { own: true });
    const config = await own.database();
    await using department = connectMysql(own.url, config.database);
    await department.query(
      `CREATE TABLE t (id int NOT NULL PRIMARY KEY, x longtext);
       INSERT INTO t VALUES (1, 'a'), (2, REPEAT('x', ${MAX_ROW_BYTES + 1})), (3, NULL)`,
    );
    const sent = async () => Number((await department.query("SHOW GLOBAL STATUS LIKE 'Bytes_sent'"))[0]?.[1]);
    const dataSource = openMysql(config);
    const before = await sent();
    const { rows, refused } = await scan(dataSource, await snapshotTable(dataSource, 't', ['id', 'x']));
    expect(rows).toEqual([
      ['1', 'a'],
      ['3', null],
    ]);
    expect(refused).toEqual([{ code: 'ROW_TOO_LARGE', column: '', count: 1 }]);
    await dataSource.close();
    expect((await sent()) - before).toBeLessThan(MAX_ROW_BYTES);
  });

  test('hidden columns are absent and computed ones are read', async () => {
    await using each = await world();
    await each.department.query(
      `CREATE TABLE t (id int NOT NULL PRIMARY KEY, secret int INVISIBLE DEFAULT 7, twice int AS (id * 2) STORED);
       INSERT INTO t (id) VALUES (21)`,
    );
    const described = await each.dataSource.describe({ name: 't' });
    expect(described?.columns.map(({ name, generated }) => [name, generated])).toEqual([
      ['id', false],
      ['twice', true],
    ]);
    const { rows } = await scan(each.dataSource, await snapshotTable(each.dataSource, 't', ['id', 'twice']));
    expect(rows).toEqual([['21', '42']]);
  });
});

describe('reading without harm', () => {
  test('a table without transactions is read in steps, and says so', async () => {
    await using each = await world();
    const values = Array.from({ length: 25_000 }, (_, n) => `(${n + 1}, ${n + 1})`);
    await each.department.query(
      `CREATE TABLE t (id int NOT NULL PRIMARY KEY, x text) ENGINE = MyISAM; INSERT INTO t VALUES ${values.join(', ')}`,
    );
    const problems = await each.dataSource.checkSource([{ table: 't', ref: { name: 't' } }]);
    expect(problems).toMatchObject([{ code: 'ENGINE_WITHOUT_TRANSACTIONS', warning: true }]);
    await using snapshot = await each.dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
    const reading = snapshot.rows(await snapshotTable(each.dataSource, 't', ['id', 'x']));
    const first = await reading[Symbol.asyncIterator]().next();
    expect(first.done).toBe(false);
    expect(snapshot.consistency).toBe('chunks');
    // Its writer is not stopped while the reader waits.
    await each.department.query("INSERT INTO t VALUES (30000, 'new')");
    const rest = await collect(reading, 2);
    expect(rest.rows.length + (first.value?.rows.toString().split('\n').length ?? 0) - 1).toBe(25_001);
  });

  test.each([
    ['varchar(20) COLLATE utf8mb4_general_ci', (n: number) => `'k${n % 2 === 0 ? 'Ä' : 'b'}${n}'`],
    ['varchar(20) CHARACTER SET gbk', (n: number) => `'键${n}'`],
    ['binary(4)', (n: number) => `x'${n.toString(16).padStart(8, '0')}'`],
    ['timestamp(6)', (n: number) => `'2024-01-01 00:00:00' + INTERVAL ${n} MICROSECOND`],
    ['decimal(20,4)', (n: number) => `${n} / 7`],
    ['bigint unsigned', (n: number) => `18446744073709551615 - ${n}`],
    ['bit(16)', (n: number) => `${n}`],
  ])('steps over a key of %s lose no row', async (type, valueOf) => {
    await using each = await world();
    await each.department.query(`CREATE TABLE t (k ${type} NOT NULL PRIMARY KEY, d date);
      SET SESSION sql_mode = ''; INSERT INTO t VALUES ${Array.from({ length: 500 }, (_, n) => `(${valueOf(n)}, ${n % 3 === 0 ? "'0000-00-00'" : 'NULL'})`).join(', ')}`);
    const signal = new AbortController().signal;
    await using snapshot = await each.dataSource.snapshot({ signal, maxMs: 60_000, stepRows: 7 });
    const { rows, refused } = await collect(snapshot.rows(await snapshotTable(each.dataSource, 't', ['k', 'd'])), 2);
    expect(new Set(rows.map(([key]) => key)).size).toBe(333);
    expect(refused.reduce((sum, { count }) => sum + count, 0)).toBe(167);
  });

  test('a reader that goes away ends its statement at the server', async () => {
    await using each = await world();
    await each.department.query(
      'CREATE TABLE t (id bigint NOT NULL, x int NOT NULL); CREATE VIEW slow AS SELECT a.id, SLEEP(30) AS x FROM t a; INSERT INTO t VALUES (1, 1)',
    );
    const controller = new AbortController();
    await using snapshot = await each.dataSource.snapshot({ signal: controller.signal, maxMs: 60_000 });
    const reading = collect(snapshot.rows(await snapshotTable(each.dataSource, 'slow', ['id', 'x'])), 2);
    reading.catch(() => undefined);
    const mine = `SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = '${each.config.user}' AND INFO LIKE '%slow%' AND COMMAND = 'Query'`;
    await expect.poll(() => each.department.query(mine), { timeout: 10_000 }).toEqual([['1']]);
    controller.abort(new Error('stopped'));
    await expect(reading).rejects.toThrow('stopped');
    await expect.poll(() => each.department.query(mine), { timeout: 10_000 }).toEqual([['0']]);
  });

  test('the connection for reading cannot write', async () => {
    await using each = await world();
    await each.department.query('CREATE TABLE t (id int NOT NULL PRIMARY KEY)');
    const limits = { statementMs: 10_000, lockMs: 10_000, idleMs: 10_000 };
    const session = await openSession(each.config, { side: 'SOURCE', purpose: 'test', limits });
    await expect(session.run('INSERT INTO t VALUES (1)')).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' });
    await session.close();
    expect(await each.department.query('SELECT COUNT(*) FROM t')).toEqual([['0']]);
  });
});
