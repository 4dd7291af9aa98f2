/** Rows by keys of the types that only PostgreSQL has, and what it costs the source. */
import { joinRow } from '@qiao/exchange';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { collect, snapshotTable } from '../contract-suite/fixture.ts';
import { openPostgres } from './dataSource.ts';
import { keyCondition } from './keys.ts';
import { startPostgres } from './server.testing.ts';

test('a row is found by the text of its key, whatever the type', async () => {
  await using server = await startPostgres();
  const config = await server.database();
  const department = new Client({ ...config });
  await department.connect();
  await department.query("CREATE TYPE mood AS ENUM ('好', 'b''c'); CREATE DOMAIN code AS varchar(4)");
  const dataSource = openPostgres(config);
  const types: [string, string[]][] = [
    ['float4', ['0.1', "'NaN'", "'-Infinity'"]],
    ['float8', ['0.1', '1e300', "'NaN'"]],
    ['char(5)', ["'a'", "'A'"]],
    ['mood', ["'好'", "'b''c'"]],
    ['code', ["'ab'", "'a\\b'"]],
    ['timestamptz', ["'2024-01-31 08:00:00.25+08'", "'infinity'"]],
    ['numeric', ["'NaN'", '1.50', '123456789012345678901234567890.5']],
    ['int4range', ["'[1,5)'", "'empty'"]],
    ['inet', ["'10.0.0.1/8'", "'::1'"]],
    ['interval', ["'1 day 2 hours'"]],
    ['int[]', ["'{1,NULL}'"]],
  ];
  for (const [index, [type, values]] of types.entries()) {
    const name = `t${index}`;
    await department.query(`CREATE TABLE ${name} (k ${type} PRIMARY KEY, x int NOT NULL UNIQUE)`);
    await department.query(`INSERT INTO ${name} VALUES ${values.map((value, x) => `(${value}, ${x})`).join(', ')}`);
    for (const key of [['k'], ['k', 'x']]) {
      const table = await snapshotTable(dataSource, name, ['k', 'x'], key.length);
      await using snapshot = await dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
      const { rows } = await collect(snapshot.rows(table), 2);
      expect(rows.length, type).toBe(values.length);
      for (const row of rows) {
        const keys = Buffer.from(`${joinRow(row.slice(0, key.length))}\n`);
        expect((await collect(snapshot.rows({ ...table, keys }), 2)).rows, type).toEqual([row]);
      }
    }
  }
  await dataSource.close();
  await department.query('CREATE TABLE big (area text, no bigint, PRIMARY KEY (area, no))');
  await department.query("INSERT INTO big SELECT 'a' || n % 50, n FROM generate_series(1, 20000) n");
  await department.query('ANALYZE big');
  const table = {
    ref: { name: 'big' },
    keyColumns: 2,
    columns: ['area', 'no'].map((name) => ({ name, type: { type: 'text' } as const })),
  };
  const keys = Array.from({ length: 500 }, (_, n) => [`a${(n * 7) % 50}`, String(n * 7)]);
  const where = keyCondition(table, keys, (text) => department.escapeLiteral(text));
  const { rows } = await department.query<string[]>({
    text: `EXPLAIN SELECT * FROM big WHERE ${where}`,
    rowMode: 'array',
  });
  expect(rows.flat().join('\n')).toContain('Bitmap Index Scan on big_pkey');
  await department.end();
});
