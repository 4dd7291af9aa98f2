/** Rows by keys of the types that only MySQL and MariaDB have, and what it costs the source. */
import { joinRow } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { scan, snapshotTable } from '../contract-suite/fixture.ts';
import { openMysql } from './dataSource.ts';
import { readTable } from './describe.ts';
import { keyCondition } from './keys.ts';
import { connectMysql, startMysql } from './server.testing.ts';
import { openSession } from './session.ts';

test('a row is found by the text of its key, whatever the type and the collation', async () => {
  await using server = await startMysql();
  const config = await server.database();
  await using department = connectMysql(server.url, config.database);
  const dataSource = openMysql(config);
  const types: [string, string[]][] = [
    ['float', ['0.1', '16777216', '-1e-10']],
    ['double', ['0.1', '1e300']],
    ['char(5)', ["'a'", "'张'"]],
    [
      `char(5) CHARACTER SET utf8mb4 COLLATE ${server.isMariaDb ? 'utf8mb4_nopad_bin' : 'utf8mb4_0900_bin'}`,
      ["'a'", "'A'"],
    ],
    ["enum('好','b''c')", ["'好'", "'b''c'"]],
    ["set('x','y')", ["'x'", "'x,y'", "''"]],
    ['bit(3)', ["b'101'", "b'0'"]],
    ['tinyint(1)', ['0', '1']],
    ['year', ['2024', '1970']],
    ['time(3)', ["'08:00:00.5'"]],
    ['timestamp(6)', ["'2024-01-31 08:00:00.25'"]],
    ['bigint unsigned', ['18446744073709551615', '18446744073709551614']],
    ['int(6) zerofill', ['42']],
    ['decimal(65,0)', ['12345678901234567890123456789012345678901234567890123456789012345']],
    ['varchar(20) CHARACTER SET gbk', ["'张三'", "'b'"]],
    ['binary(3)', ["x'61'", "x'000102'"]],
  ];
  for (const [index, [type, values]] of types.entries()) {
    const name = `t${index}`;
    await department.query(`CREATE TABLE ${name} (k ${type} NOT NULL PRIMARY KEY)`);
    await department.query(`INSERT INTO ${name} VALUES ${values.map((value) => `(${value})`).join(', ')}`);
    const table = await snapshotTable(dataSource, name, ['k']);
    const whole = await scan(dataSource, table);
    expect(whole.rows.length, type).toBe(values.length);
    for (const row of whole.rows) {
      const found = await scan(dataSource, { ...table, keys: Buffer.from(`${joinRow(row)}\n`) });
      expect(found.rows, type).toEqual([row]);
    }
  }
  await dataSource.close();
});

test('keys are looked up by their index', async () => {
  await using server = await startMysql();
  const config = await server.database();
  await using department = connectMysql(server.url, config.database);
  await department.query(
    'CREATE TABLE t (area varchar(40) NOT NULL, no bigint NOT NULL, d decimal(20,0) NOT NULL UNIQUE, PRIMARY KEY (area, no))',
  );
  const values = Array.from({ length: 5_000 }, (_, n) => `('a${n % 50}', ${n}, ${n})`);
  await department.query(`INSERT INTO t VALUES ${values.join(', ')}; ANALYZE TABLE t`);
  const session = await openSession(config, {
    side: 'SOURCE',
    purpose: 'test',
    limits: { statementMs: 60_000, lockMs: 1_000, idleMs: 60_000 },
  });
  const table = await readTable(session, config.database, 't');
  const column = (name: string) => table?.columns.find((each) => each.name === name) as NonNullable<typeof each>;
  const each = table?.columns[0];
  const plan = async (names: readonly string[], keys: readonly (readonly string[])[]) => {
    const rows = await session.rows(
      `EXPLAIN FORMAT = TRADITIONAL SELECT * FROM t WHERE ${keyCondition(names.map(column), keys)}`,
    );
    return rows[0]?.[server.isMariaDb ? 3 : 4];
  };
  const some = Array.from({ length: 100 }, (_, n) => n * 7);
  expect(
    await plan(
      ['area', 'no'],
      some.map((n) => [`a${n % 50}`, String(n)]),
    ),
  ).toBe('range');
  expect(
    await plan(
      ['d'],
      some.map((n) => [String(n)]),
    ),
  ).toBe('range');
  await session.close();
});
