/** Triggers of MySQL and MariaDB beyond the common contract: the limit while others write, key columns that are widened. */
import { expect, test } from 'vitest';
import { scan } from '../contract-suite/fixture.ts';
import type { TrackedTable } from '../triggers.ts';
import { openMysql } from './dataSource.ts';
import { connectMysql, startMysql } from './server.testing.ts';

async function world(ddl: string, tracked: Partial<TrackedTable> = {}) {
  const server = await startMysql();
  const config = await server.database();
  const connect = () => connectMysql(server.url, config.database);
  const department = connect();
  await department.query(ddl);
  const source = openMysql(config);
  const { triggers } = source;
  if (triggers === undefined) throw new Error('MySQL has triggers');
  const plan = await triggers.plan({ table: 't', ref: { name: 't' }, owner: 'health', ...tracked });
  await triggers.run(plan.install);
  return {
    connect,
    department,
    plan,
    entries: async () => (await scan(source, plan.entries)).rows.map(([, ...entry]) => entry.join(' ')).toSorted(),
    state: async () => triggers.state(await triggers.plan(plan.table)),
    async [Symbol.asyncDispose]() {
      await source.close();
      await department[Symbol.asyncDispose]();
    },
  };
}

test('changes that pass the limit while it waits to be moved leave an F', async () => {
  await using each = await world('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)', { budget: 20 });
  for (let id = 0; id < 15; id++) await each.department.query(`INSERT INTO t VALUES (${id})`);
  await using other = each.connect();
  await other.query('BEGIN');
  await other.query('INSERT INTO t VALUES (100)');
  const moved = each.state();
  const waits = `SELECT count(*) FROM information_schema.PROCESSLIST
                  WHERE id <> CONNECTION_ID() AND info LIKE '%UPDATE%' AND info LIKE '%${each.plan.changes.name}_limit%'`;
  while ((await each.department.query(waits))[0]?.[0] !== '1');
  await other.query(`INSERT INTO t VALUES ${Array.from({ length: 10 }, (_, id) => `(${200 + id})`).join(', ')}`);
  await other.query('COMMIT');
  expect(await moved).toMatchObject({ kind: 'ready' });
  expect(await each.state()).toMatchObject({ kind: 'ready' });
  const entries = await each.entries();
  expect(entries).not.toContain('I 209');
  expect(entries).toContain('F ');
});

test('a key column that is widened makes no program fail, and its texts stay those of the table', async () => {
  await using each = await world(`CREATE TABLE t (a int unsigned, b varchar(2), c char(3), d decimal(4,2),
    e enum('low'), f varbinary(2), PRIMARY KEY (a, b, c, d, e, f))`);
  await each.department.query("INSERT INTO t VALUES (1, 'b ', 'c', 1.50, 'low', x'00')");
  expect(await each.entries()).toContain('I 1 b  c   1.50 low \\x00');
  await each.department.query(`ALTER TABLE t MODIFY a bigint, MODIFY b varchar(90), MODIFY c char(5),
    MODIFY d decimal(9,3), MODIFY e enum('low', 'high'), MODIFY f varbinary(8)`);
  await each.department.query("INSERT INTO t VALUES (9007199254740993, 'bbb', 'ccccc', 12345.125, 'high', x'000102')");
  expect((await each.department.query('SELECT count(*) FROM t'))[0]?.[0]).toBe('2');
  expect(await each.state()).toMatchObject({ kind: 'broken', code: 'TRIGGER_ALTERED' });
});

test('a negative key after an unsigned one makes no program fail', async () => {
  await using each = await world('CREATE TABLE t (a int unsigned PRIMARY KEY)');
  await each.department.query('ALTER TABLE t MODIFY a int');
  await each.department.query('INSERT INTO t VALUES (-1)');
  expect(await each.entries()).toContain('I -1');
});

test('rows that a foreign key changes by itself are said to fire no trigger, with the key’s name', async () => {
  await using each = await world(`CREATE TABLE city (id bigint NOT NULL PRIMARY KEY);
    CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, c bigint, CONSTRAINT of_city FOREIGN KEY (c) REFERENCES city (id) ON DELETE CASCADE)`);
  const cascade = each.plan.blind.find(({ code }) => code === 'TRIGGER_CASCADE');
  expect(cascade).toMatchObject({ warning: true, message: expect.stringContaining('of_city') });
  await each.department.query('INSERT INTO city VALUES (1); INSERT INTO t VALUES (7, 1); DELETE FROM city');
  expect(await each.entries()).toEqual(['I 7', 'S ']);
});

test('what no trigger of it sees is said before', async () => {
  await using each = await world('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
  const said = each.plan.blind.map(({ message }) => message).join('\n');
  expect(said).toContain('TRUNCATE');
  expect(said).toContain('EXCHANGE PARTITION');
  expect(said).toContain('replica');
});
