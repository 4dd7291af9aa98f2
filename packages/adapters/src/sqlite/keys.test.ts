/** Rows by keys where one value may be stored in several ways. */
import { joinRow } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { scan, snapshotTable } from '../contract-suite/fixture.ts';
import { makeDepartment } from './department.testing.ts';

test('a row is found by the text of its key, however the key is spelled in the file', async () => {
  await using department = await makeDepartment();
  const types: [string, string[]][] = [
    ['timestamp', ["'2024-01-31T08:00'", "'2024-01-31 08:00:00.500'"]],
    ['timestamptz', ["'2024-01-31T08:00:00Z'", "'2024-01-31 08:00:00.5+00:00'"]],
    ['time', ["'08:00'", "'08:00:00.10'"]],
    ['uuid', ["'0F8FAD5B-d9cb-469f-a165-70867728950e'"]],
    ['decimal(20,2)', ['9007199254740993', '12.5', '0.1', '-3']],
    ['DECIMAL_TEXT', ["'12.50'", "'12.5'"]],
    ['DECIMAL_TEXT(9,2)', ["'12.5'", "'3'", "'7.000'"]],
    ['float4', ['0.10000000149011612', '16777216']],
    ['text', ["'12'", "'012'"]],
    ['boolean', ['0', '1']],
  ];
  for (const [index, [type, values]] of types.entries()) {
    const name = `t${index}`;
    await department.sql(`CREATE TABLE ${name} (k ${type} NOT NULL, no bigint NOT NULL, PRIMARY KEY (k, no))`);
    await department.sql(`INSERT INTO ${name} VALUES ${values.map((value) => `(${value}, 1)`).join(', ')}`);
    const table = await snapshotTable(department.dataSource, name, ['k', 'no'], 2);
    const whole = await scan(department.dataSource, table);
    expect(whole.rows.length, type).toBe(values.length);
    for (const row of whole.rows) {
      const found = await scan(department.dataSource, { ...table, keys: Buffer.from(`${joinRow(row)}\n`) });
      expect(found.rows, type).toEqual([row]);
    }
  }
});

test('a row of the key that cannot be carried is refused, and no other is counted', async () => {
  await using department = await makeDepartment();
  await department.sql(
    "CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x int); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 3)",
  );
  const table = await snapshotTable(department.dataSource, 't', ['id', 'x']);
  const found = await scan(department.dataSource, { ...table, keys: Buffer.from('1\n3\n4\n') });
  expect(found.rows).toEqual([['3', '3']]);
  expect(found.refused).toEqual([{ code: 'STORAGE_CLASS', column: 'x', count: 1 }]);
});

test('a primary key that SQLite lets be NULL is a warning, and its rows without one are refused and counted alone', async () => {
  await using department = await makeDepartment();
  await department.sql('CREATE TABLE area (code VARCHAR(255) PRIMARY KEY, name TEXT, other TEXT UNIQUE)');
  await department.sql("INSERT INTO area VALUES (NULL, 'a', 'x'), ('11', 'b', 'y'), (NULL, 'c', 'z')");
  const check = async (key?: string[]) =>
    (await department.dataSource.checkSource([{ table: 'area', ref: { name: 'area' }, key }]))
      .filter(({ code }) => code !== 'READS_STOP_WRITERS')
      .map(({ code, path, warning }) => `${code} ${path}${warning === true ? ' warned' : ''}`);
  expect(await check()).toEqual(['KEY_NULLABLE area.code warned']);
  expect(await check(['other'])).toEqual(['KEY_NULLABLE area.other']);
  const table = await snapshotTable(department.dataSource, 'area', ['code', 'name']);
  const { rows, refused } = await scan(department.dataSource, table);
  expect(rows).toEqual([['11', 'b']]);
  expect(refused).toEqual([{ code: 'VALUE_INVALID', column: 'code', count: 2 }]);
});
