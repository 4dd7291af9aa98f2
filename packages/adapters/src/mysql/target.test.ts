/** What the common contract cannot ask of every database: the traps of MySQL and MariaDB as a target. */
import { type ColumnType, parseFilter } from '@qiao/exchange';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DataSource, Target, TargetTable } from '../adapter.ts';
import {
  applied,
  type Fixture,
  integer,
  Lane,
  mirror,
  openLane,
  scan,
  section,
  snapshotTable,
  text,
} from '../contract-suite/fixture.ts';
import { openMysql } from './dataSource.ts';
import { connectMysql, type MysqlServer, startMysql } from './server.testing.ts';

let server: MysqlServer;
beforeAll(async () => {
  server = await startMysql();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

type World = Pick<Fixture, 'dataSource' | 'sql' | 'query'> & AsyncDisposable;

async function world(of: MysqlServer = server): Promise<World> {
  const config = await of.database();
  const department = connectMysql(of.url, config.database);
  const dataSource = openMysql(config);
  return {
    dataSource,
    sql: async (statements) => void (await department.query(statements)),
    query: (statement) => department.query(statement),
    async [Symbol.asyncDispose]() {
      await dataSource.close();
      await department[Symbol.asyncDispose]();
    },
  };
}

const TABLE = mirror('t', [
  { name: 'id', type: integer },
  { name: 'x', type: text },
]);

async function lane(each: World, tables: readonly TargetTable[] = [TABLE]): Promise<{ target: Target; lane: Lane }> {
  return openLane(each as Fixture, tables);
}

async function readBack(dataSource: DataSource): Promise<(string | null)[]> {
  const { rows } = await scan(dataSource, await snapshotTable(dataSource, 't', ['id', 'x']));
  return rows.map(([, x]) => x ?? null);
}

/** Types that MySQL does not have. */
const MARIADB_TYPES = new Set(['uuid', 'inet6']);

describe('values', () => {
  test.each<[string, string[]]>([
    ['bigint unsigned', ['18446744073709551615', '0']],
    ['tinyint', ['-128', '127']],
    ['decimal(65,30)', ['-12345678901234567890123456789012345.123456789012345678901234567890']],
    ['float', ['0.1', '3.4028235e+38', '1.1754944e-38', '1.6777216e+07']],
    ['double', ['2.2250738585072014e-308', '1.7976931348623157e+308', '1.2345678901234568e+17']],
    ['double(10,2)', ['1.01', '-3', '12345678.89', '0.29']],
    ['float(7,3)', ['0.1', '-1234.5', '0.007', '-1.07']],
    ['boolean', ['t', 'f']],
    ['bit(1)', ['t', 'f']],
    ['bit(10)', ['0000000101', '1111111111']],
    ['year', ['2024', '0', '1970']],
    ["enum('a','B','it''s','1')", ['a', 'B', "it's", '1']],
    ["set('a','b')", ['', 'a', 'a,b']],
    ['char(4)', ['ab  ', '    ', '𠮷 a ']],
    ['varchar(4)', ['ab  ', '', '𠮷\\\t\n']],
    ['varchar(9) CHARACTER SET gbk', ['张三\\', '']],
    ['binary(3)', ['\\x000000', '\\x5c0a27']],
    ['varbinary(9)', ['\\x', '\\x00275c']],
    ['longtext', ["quote ' \\N \\' \r\n\t \b\u0001 \\", '\\N']],
    ['datetime(3)', ['2024-01-31 08:00:00.5', '0001-01-01 00:00:00', '9999-12-31 23:59:59.999']],
    ['timestamp(6) NULL', ['2024-01-31 08:00:00.00001+00', '1970-01-01 00:00:01+00']],
    ['time(1)', ['24:00:00', '08:30:00.5']],
    ['json', ['{"b": 1,  "a": [1, 2]}']],
    ['inet6', ['2001:db8::1']],
  ])('%s stores what it prints, the same again is unchanged', async (type, values) => {
    await using each = await world();
    const made = each.sql(`CREATE TABLE t (id int NOT NULL PRIMARY KEY, x ${type})`);
    if (!server.isMariaDb && MARIADB_TYPES.has(type)) return await expect(made).rejects.toThrow('syntax');
    await made;
    const { target, lane: sender } = await lane(each);
    const rows = [...values, null].map((value, index): (string | null)[] => [String(index), value]);
    const { quarantined } = await applied(target, sender.next([section('t', 'insert', ['id', 'x'], rows)]));
    expect(quarantined.map(({ index, reason }) => [index, reason])).toEqual([]);
    const stored = type === 'json' && !server.isMariaDb ? ['{"a": [1, 2], "b": 1}'] : values;
    expect(await readBack(each.dataSource)).toEqual([...stored, null]);
    const again = await applied(target, sender.next([section('t', 'update', ['id', 'x'], rows)]));
    expect(again.cells).toEqual([`t update unchanged ${rows.length}`]);
  });

  test.each<[string, string[]]>([
    ['int', ['1.5', '', 'twelve', '2147483648', '1e3']],
    ['int unsigned', ['-1', '1.5', '4294967296', '1e3']],
    ['tinyint', ['128']],
    ['decimal(5,2)', ['1.555', '1000.00', 'NaN']],
    ['double', ['NaN', 'Infinity', '-0', '1e+400']],
    ['float', ['1e+39']],
    ['double(10,2)', ['1.006', '-0.001', '-1.07', '123456789', 'NaN']],
    ['float(7,3)', ['0.0001', '1.23456']],
    ['boolean', ['2', '1', '']],
    ['bit(4)', ['11111', '2']],
    ['year', ['70', '1900', '2156', '']],
    ["enum('a','b')", ['1', 'A', 'a ', '', 'c']],
    ["set('a','b')", ['3', 'b,a', 'A', 'a,a', 'a,']],
    ['char(3)', ['abcd', 'abc ']],
    ['varchar(3)', ['abcd', 'ab  ']],
    ['tinytext', ['x'.repeat(256), '字'.repeat(100)]],
    ['tinyblob', [`\\x${'00'.repeat(256)}`]],
    ['text', ['x'.repeat(65_536)]],
    ['varchar(9) CHARACTER SET latin1', ['张']],
    ['varchar(9) CHARACTER SET utf8mb3', ['𠮷']],
    ['binary(3)', ['\\x00', '\\x00000000']],
    ['varbinary(2)', ['\\x000000', 'text', '\\xzz']],
    ['date', ['2023-02-29', '0000-00-00', 'infinity', '2024-01-31 00:00:00', '0044-03-15 BC']],
    ['datetime', ['2024-01-31 08:00:00.5', '10000-01-01 00:00:00', 'infinity']],
    ['timestamp NULL', ['2039-01-01 00:00:00+00', '1970-01-01 00:00:00+00', '1969-12-31 23:59:59+00']],
    ['time', ['08:00:00.5', 'infinity']],
    ['uuid', ['no uuid']],
  ])('%s alters nothing: what does not fit is isolated', async (type, values) => {
    await using each = await world();
    const made = each.sql(`CREATE TABLE t (id int NOT NULL PRIMARY KEY, x ${type})`);
    if (!server.isMariaDb && MARIADB_TYPES.has(type)) return await expect(made).rejects.toThrow('syntax');
    await made;
    const { target, lane: sender } = await lane(each);
    const rows = values.map((value, index) => [String(index), value]);
    const { quarantined } = await applied(target, sender.next([section('t', 'insert', ['id', 'x'], rows)]));
    expect(await each.query('SELECT * FROM t')).toEqual([]);
    expect(quarantined.map(({ index, code }) => [index, code])).toEqual(values.map((_, i) => [i, 'VALUE_INVALID']));
    for (const { reason } of quarantined)
      for (const value of values) if (value.length > 3) expect(reason).not.toContain(value);
  });

  test('NULL invents neither a number nor the present moment', async () => {
    await using each = await world();
    await each.sql(
      'CREATE TABLE t (id int NOT NULL PRIMARY KEY, x timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, n int NOT NULL AUTO_INCREMENT UNIQUE)',
    );
    const table = mirror(
      't',
      ['id', 'x', 'n'].map((name) => ({ name, type: text as ColumnType })),
    );
    const { target, lane: sender } = await lane(each, [table]);
    const rows = [
      ['1', null, '1'],
      ['2', '2024-01-01 00:00:00+00', null],
      ['3', '2024-01-01 00:00:00+00', '0'],
    ];
    const { cells } = await applied(target, sender.next([section('t', 'insert', ['id', 'x', 'n'], rows)]));
    expect(cells).toEqual(['t insert inserted 1', 't insert quarantined 2']);
    expect(await each.query('SELECT id, n FROM t')).toEqual([['3', '0']]);
  });
});

describe('keys and collations', () => {
  test('keys that the target takes for one are never merged: the second is isolated', async () => {
    await using each = await world();
    await each.sql('CREATE TABLE t (id varchar(20) COLLATE utf8mb4_general_ci NOT NULL PRIMARY KEY, x longtext)');
    const { target, lane: sender } = await lane(each, [
      mirror('t', [
        { name: 'id', type: text },
        { name: 'x', type: text },
      ]),
    ]);
    const first = await applied(
      target,
      sender.next([
        section(
          't',
          'insert',
          ['id', 'x'],
          [
            ['a', '1'],
            ['B', '2'],
          ],
        ),
      ]),
    );
    expect(first.cells).toEqual(['t insert inserted 2']);
    const second = await applied(
      target,
      sender.next([
        section(
          't',
          'insert',
          ['id', 'x'],
          [
            ['A', '3'],
            ['a ', '4'],
            ['a', '5'],
          ],
        ),
      ]),
    );
    expect(second.cells).toEqual(['t insert quarantined 2', 't insert updatedInsteadOfInsert 1']);
    expect(second.quarantined.map(({ code }) => code)).toEqual(['UNIQUE', 'UNIQUE']);
    const gone = await applied(target, sender.next([section('t', 'delete', ['id', 'x'], [['b'], ['a ']])]));
    expect(gone.cells).toEqual(['t delete deletedNothing 2']);
    expect(await each.query('SELECT id, x FROM t ORDER BY id')).toEqual([
      ['a', '5'],
      ['B', '2'],
    ]);
  });

  test('check names coarse keys, engines without transactions and narrow character sets', async () => {
    await using each = await world();
    await each.sql(`CREATE TABLE ci (id varchar(20) NOT NULL PRIMARY KEY, x varchar(9) CHARACTER SET gbk);
      CREATE TABLE bin (id varchar(20) COLLATE utf8mb4_bin NOT NULL PRIMARY KEY); CREATE TABLE exact (id varchar(20) COLLATE ${server.isMariaDb ? 'utf8mb4_nopad_bin' : 'utf8mb4_0900_bin'} NOT NULL PRIMARY KEY);
      CREATE TABLE myisam (id int NOT NULL PRIMARY KEY) ENGINE = MyISAM`);
    const key = { name: 'id', type: text };
    const shape = { columns: [{ name: 'x', type: { type: 'text', maxLength: 9 } as const, nullable: true }] };
    const problems = await each.dataSource.checkTarget(
      [
        mirror('ci', [key, { name: 'x', type: text }]),
        mirror('bin', [key]),
        mirror('exact', [key]),
        mirror('myisam', [{ ...key, type: integer }]),
      ],
      new Map([['ci', shape]]),
    );
    expect(problems.map(({ code, path, warning }) => `${code} ${path}${warning === true ? ' warning' : ''}`)).toEqual([
      'ENCODING_NARROW ci.x warning',
      'KEY_COLLATION_COARSE ci.id',
      'KEY_COLLATION_COARSE bin.id warning',
      'ENGINE_WITHOUT_TRANSACTIONS myisam',
      'FOREIGN_KEYS_UNSEEN ci warning',
    ]);
    const { target, lane: sender } = await lane(each, [mirror('myisam', [{ ...key, type: integer }])]);
    const work = sender.next([section('myisam', 'insert', ['id'], [['1']])]);
    await expect(target.apply(work)).rejects.toMatchObject({ code: 'TARGET_SCHEMA', fate: 'permanent' });
    expect(await each.query('SELECT * FROM myisam')).toEqual([]);
  });

  test('a key too long for an index is named before the table is made', async () => {
    await using each = await world();
    const long = mirror('t', [{ name: 'id', type: { type: 'text', maxLength: 800 } }]);
    await expect(each.dataSource.createTable(long)).rejects.toMatchObject({
      code: 'TYPE_REFUSED',
      message: expect.stringContaining('3072'),
    });
    const endless = mirror('t', [{ name: 'id', type: text }]);
    await expect(each.dataSource.createTable(endless)).rejects.toMatchObject({ code: 'TYPE_REFUSED' });
    const unlimited = mirror('t', [
      { name: 'id', type: integer },
      { name: 'x', type: { type: 'decimal' } },
    ]);
    await expect(each.dataSource.createTable(unlimited)).rejects.toMatchObject({ code: 'TYPE_REFUSED' });
  });

  test('a filter compares by code point, whatever the collation', async () => {
    await using each = await world();
    await each.sql('CREATE TABLE t (id int NOT NULL PRIMARY KEY, x varchar(20))');
    for (const [filter, kept] of [
      ["x = 'a'", ['a']],
      ["x LIKE '王_'", ['王五']],
      ["x LIKE 'A%'", ['A%']],
      ["x > 'a'", ['a ', 'á', '王五']],
      ["x IN ('A%', 'a ')", ['A%', 'a ']],
      ['id BETWEEN 0.5 AND 2', ['a', 'A%']],
    ] as const) {
      const ownership = parseFilter(filter).filter;
      if (ownership === undefined) throw new Error(`${filter} does not parse`);
      const { target } = await openLane(each as Fixture, [{ ...TABLE, ownership }]);
      const other = new Lane([{ ...TABLE, ownership }], filter.replace(/\W/g, '').padEnd(32, '0').slice(0, 32));
      await applied(target, other.opening());
      const rows = ['a', 'A%', 'a ', 'á', '王五'].map((value, index) => [String(index + 1), value]);
      await applied(target, other.next([section('t', 'insert', ['id', 'x'], rows)]));
      expect({ filter, kept: (await each.query('SELECT x FROM t ORDER BY id')).flat() }).toEqual({
        filter,
        kept: [...kept],
      });
      await each.sql('DELETE FROM t; DELETE FROM qiao_mark');
      await target.close();
    }
  });
});

describe('the road into the table', () => {
  test('without LOAD DATA LOCAL the same rows land by statements', async () => {
    await using own = await startOwn(['--local-infile=0']);
    await using each = await world(own);
    await each.sql('CREATE TABLE t (id int NOT NULL PRIMARY KEY, x longtext)');
    const { target, lane: sender } = await lane(each);
    const values = [
      "it's",
      '\\N',
      '\\',
      "\\'",
      'a\tb\nc\r',
      '',
      ' ',
      '𠮷',
      "'); DROP TABLE t; --",
      null,
      'x'.repeat(1_500_000),
    ];
    const rows = values.map((value, index) => [String(index), value]);
    const many = Array.from({ length: 30_000 }, (_, index) => [String(100 + index), `行'${index}`]);
    const { cells } = await applied(target, sender.next([section('t', 'insert', ['id', 'x'], [...rows, ...many])]));
    expect(cells).toEqual([`t insert inserted ${rows.length + many.length}`]);
    expect((await readBack(each.dataSource)).slice(0, values.length)).toEqual(values);
  });

  test('a secondary unique value never moves another row', async () => {
    await using each = await world();
    await each.sql(
      "CREATE TABLE t (id int NOT NULL PRIMARY KEY, x varchar(9) UNIQUE); INSERT INTO t VALUES (1, 'plate')",
    );
    const { target, lane: sender } = await lane(each);
    const { cells, quarantined } = await applied(
      target,
      sender.next([
        section(
          't',
          'insert',
          ['id', 'x'],
          [
            ['2', 'plate'],
            ['3', 'other'],
          ],
        ),
      ]),
    );
    expect(cells).toEqual(['t insert inserted 1', 't insert quarantined 1']);
    expect(quarantined).toMatchObject([{ code: 'UNIQUE', reason: expect.stringMatching(/^error 1062, key (t\.)?x$/) }]);
    expect(await each.query('SELECT id, x FROM t ORDER BY id')).toEqual([
      ['1', 'plate'],
      ['3', 'other'],
    ]);
  });

  test('a tree is deleted root first, and rows that others still point to stay', async () => {
    await using each = await world();
    await each.sql(`CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x bigint REFERENCES t (id));
      CREATE TABLE own (id bigint NOT NULL PRIMARY KEY REFERENCES t (id));
      INSERT INTO t VALUES (1, NULL), (2, 1), (3, 2), (4, 1), (5, NULL); INSERT INTO own VALUES (5)`);
    const { target, lane: sender } = await lane(each, [
      mirror('t', [
        { name: 'id', type: integer },
        { name: 'x', type: integer },
      ]),
    ]);
    const { cells } = await applied(
      target,
      sender.next([section('t', 'delete', ['id', 'x'], [['1'], ['2'], ['3'], ['5']])]),
    );
    expect(cells).toEqual(['t delete deleted 2', 't delete quarantined 2']);
    const load = await applied(target, sender.next([], { load: { begins: true, ends: true } }));
    expect(load.answer.extras).toEqual([{ table: 't', deleted: 2, kept: 1 }]);
    expect(await each.query('SELECT id FROM t')).toEqual([['5']]);
  });

  test('a lock of the department is waited for and then given back as busy, with nothing written', async () => {
    await using each = await world();
    await each.sql(
      'CREATE TABLE t (id int NOT NULL PRIMARY KEY, x longtext); INSERT INTO t VALUES (1, NULL), (2, NULL)',
    );
    const { target, lane: sender } = await lane(each);
    // Two who wait for each other: the server ends one of them at once, as error 1213.
    await each.sql('BEGIN; UPDATE t SET x = 1 WHERE id = 2');
    const work = sender.next([
      section('t', 'update', ['id', 'x'], [['1', 'a']]),
      section('t', 'update', ['id', 'x'], [['2', 'b']]),
    ]);
    const applying = target.apply(work);
    applying.catch(() => undefined);
    await expect
      .poll(() => each.query("SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'"), {
        // The server looks anew when nobody asked for a tenth of a second.
        interval: 300,
        timeout: 10_000,
      })
      .not.toEqual([['0']]);
    await each.sql('UPDATE t SET x = 2 WHERE id = 1').catch(() => undefined);
    await each.sql('ROLLBACK');
    const outcome = await applying.then(
      (result) => result.kind,
      (error: { code?: string }) => error.code,
    );
    expect(['applied', 'TARGET_BUSY']).toContain(outcome);
    if (outcome === 'TARGET_BUSY') await applied(target, work);
    expect(await each.query('SELECT x FROM t ORDER BY id')).toEqual([['a'], ['b']]);
  });

  test('a server that restarted is used again', async () => {
    await using own = await startOwn();
    await using each = await world(own);
    await each.sql('CREATE TABLE t (id int NOT NULL PRIMARY KEY, x longtext)');
    const { target, lane: sender } = await lane(each);
    await applied(target, sender.next([section('t', 'insert', ['id', 'x'], [['1', 'a']])]));
    await own.restart();
    const work = sender.next([section('t', 'insert', ['id', 'x'], [['2', 'b']])]);
    expect((await applied(target, work)).cells).toEqual(['t insert inserted 1']);
  });

  test('nothing of the server or its other sessions is changed', async () => {
    await using each = await world();
    const settings = () => each.query('SHOW GLOBAL VARIABLES');
    const before = await settings();
    await each.sql('CREATE TABLE t (id int NOT NULL PRIMARY KEY, x longtext)');
    const { target, lane: sender } = await lane(each);
    await applied(
      target,
      sender.next([section('t', 'insert', ['id', 'x'], [['1', 'a']])], { load: { begins: true, ends: true } }),
    );
    const volatile =
      /^(timestamp|gtid_|rand_seed|last_insert|insert_id|warning_count|error_count|pseudo_thread|innodb_buffer_pool_load)/i;
    const lasting = (rows: (string | null)[][]) => rows.filter(([name]) => !volatile.test(name ?? ''));
    expect(lasting(await settings())).toEqual(lasting(before));
    expect((await each.query('SHOW TABLES')).map(([name]) => name ?? '').toSorted()).toEqual([
      'qiao_mark',
      'qiao_note',
      't',
    ]);
  });
});

/** A server of this test alone, whatever QIAO_TEST_MYSQL says. */
async function startOwn(settings: readonly string[] = []): Promise<MysqlServer> {
  return startMysql(settings, { own: true });
}
