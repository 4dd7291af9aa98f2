/** Triggers of PostgreSQL beyond the common contract: switched off, replicated rows, partitions, rights. */
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scan } from '../contract-suite/fixture.ts';
import type { TrackedTable } from '../triggers.ts';
import { openPostgres } from './dataSource.ts';
import { type PostgresServer, startPostgres } from './server.testing.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

async function world(ddl: string, tracked: Partial<TrackedTable> = {}) {
  const config = await server.database();
  const department = new Client({ ...config });
  await department.connect();
  await department.query(ddl);
  const source = openPostgres(config);
  const { triggers } = source;
  if (triggers === undefined) throw new Error('PostgreSQL has triggers');
  const plan = await triggers.plan({ table: 't', ref: { name: 't' }, owner: 'health', ...tracked });
  await triggers.run(plan.install);
  return {
    config,
    department,
    triggers,
    plan,
    entries: async () => (await scan(source, plan.entries)).rows.map(([, ...entry]) => entry.join(' ')).toSorted(),
    ids: async () => (await scan(source, plan.entries)).rows.map(([id]) => id ?? ''),
    state: () => triggers.state(plan),
    async [Symbol.asyncDispose]() {
      await source.close();
      await department.end();
    },
  };
}

test('a trigger that is switched off, and one that is on again, are no quiet resume', async () => {
  await using each = await world('CREATE TABLE t (id bigint PRIMARY KEY)');
  const before = await each.state();
  await each.department.query('ALTER TABLE t DISABLE TRIGGER USER');
  expect(await each.state()).toMatchObject({ kind: 'broken', code: 'TRIGGER_DISABLED' });
  await each.department.query('ALTER TABLE t ENABLE TRIGGER USER');
  expect(await each.state()).toMatchObject({ kind: 'broken', code: 'TRIGGER_DISABLED' });
  for (const name of [each.plan.changes.name, `${each.plan.changes.name}_truncate`]) {
    await each.department.query(`ALTER TABLE t ENABLE ALWAYS TRIGGER ${name}`);
  }
  const after = await each.state();
  expect(after).toMatchObject({ kind: 'ready' });
  expect(after).not.toEqual(before);
});

test('rows that replication writes, and TRUNCATE, are noted too', async () => {
  await using each = await world('CREATE TABLE t (id bigint PRIMARY KEY)');
  await each.department.query('SET session_replication_role = replica; INSERT INTO t VALUES (1); TRUNCATE t');
  expect(await each.entries()).toEqual(['I 1', 'S ', 'T ']);
});

test('a partitioned table notes the rows of every partition, later ones too, and says what it cannot see', async () => {
  await using each = await world(`
    CREATE TABLE t (id bigint NOT NULL, city text NOT NULL, PRIMARY KEY (id, city)) PARTITION BY LIST (city);
    CREATE TABLE t_jinan PARTITION OF t FOR VALUES IN ('济南'); CREATE TABLE t_rest PARTITION OF t DEFAULT;`);
  expect(each.plan.blind.map(({ code }) => code)).toEqual(['TRIGGER_BLIND']);
  expect(await each.state()).toMatchObject({ kind: 'ready' });
  await each.department.query(`CREATE TABLE t_qd PARTITION OF t FOR VALUES IN ('青岛')`);
  await each.department.query("INSERT INTO t VALUES (1, '济南'), (2, '青岛'); INSERT INTO t_rest VALUES (3, 'x')");
  await each.department.query("UPDATE t SET city = '青岛' WHERE id = 1");
  expect(await each.entries()).toEqual(['D 1 济南', 'I 1 济南', 'I 1 青岛', 'I 2 青岛', 'I 3 x', 'S  ']);
  expect(await each.state()).toMatchObject({ kind: 'ready' });
  await each.department.query('ALTER TABLE t_jinan DISABLE TRIGGER ALL');
  expect(await each.state()).toMatchObject({ kind: 'broken', code: 'TRIGGER_DISABLED' });
});

test('programs need no right on the change table, and its reader needs SELECT and DELETE', async () => {
  const role = `reader_${Math.random().toString(36).slice(2, 8)}`;
  await using each = await world(
    `CREATE ROLE ${role} LOGIN; CREATE TABLE t (id bigint PRIMARY KEY); GRANT ALL ON t TO ${role}`,
  );
  const program = new Client({ ...each.config, user: role });
  await program.connect();
  await program.query('INSERT INTO t VALUES (1)');
  await program.end();
  expect(await each.entries()).toEqual(['I 1', 'S ']);
  const reader = openPostgres({ ...each.config, user: role });
  const { triggers } = reader;
  expect(await triggers?.state(each.plan)).toMatchObject({ kind: 'broken', code: 'TRIGGER_RIGHTS' });
  await each.triggers.run((await triggers?.plan({ ...each.plan.table, grants: true }))?.install ?? []);
  expect(await triggers?.state(each.plan)).toMatchObject({ kind: 'ready' });
  await triggers?.forget(each.plan, [(await scan(reader, each.plan.entries)).rows[0]?.[0] ?? '']);
  expect(await each.entries()).toEqual([]);
  await reader.close();
});

test('a domain that forbids null as a key does not make TRUNCATE fail', async () => {
  await using each = await world('CREATE DOMAIN code AS varchar(4) NOT NULL; CREATE TABLE t (id code PRIMARY KEY)');
  await each.department.query("INSERT INTO t VALUES ('a'); TRUNCATE t");
  expect(await each.entries()).toEqual(['I a', 'S ', 'T ']);
});

test.each(['REPEATABLE READ', 'SERIALIZABLE'])(
  '%s: who still sees an F that was forgotten since notes what it changes',
  async (isolation) => {
    await using each = await world('CREATE TABLE t (id bigint PRIMARY KEY)', { budget: 10 });
    for (let id = 0; !(await each.entries()).includes('F '); id++) {
      await each.department.query(`INSERT INTO t VALUES (${id})`);
    }
    const program = new Client({ ...each.config });
    await program.connect();
    await program.query(`BEGIN ISOLATION LEVEL ${isolation}; SELECT FROM t`);
    await each.triggers.forget(each.plan, await each.ids());
    await program.query('INSERT INTO t VALUES (1000); COMMIT');
    await program.end();
    expect(await each.entries()).toContain('I 1000');
  },
);

test('entries are forgotten under a publication of all tables, too', async () => {
  await using each = await world(
    'CREATE TABLE t (id bigint PRIMARY KEY); CREATE PUBLICATION everything FOR ALL TABLES',
  );
  await each.triggers.forget(each.plan, await each.ids());
  expect(await each.entries()).toEqual([]);
  await each.department.query(`ALTER TABLE ${each.plan.changes.name} REPLICA IDENTITY DEFAULT`);
  expect(await each.state()).toMatchObject({ kind: 'broken', code: 'TRIGGER_ALTERED' });
});

test('a change table that was truncated is no quiet resume', async () => {
  await using each = await world('CREATE TABLE t (id bigint PRIMARY KEY)');
  const before = await each.state();
  await each.department.query(`TRUNCATE ${each.plan.changes.name}`);
  const after = await each.state();
  expect(after).toMatchObject({ kind: 'ready' });
  expect(after).not.toEqual(before);
});

test('a table that took the place of a renamed one has its triggers by installing again, and the old one none', async () => {
  await using each = await world('CREATE TABLE t (id bigint PRIMARY KEY)');
  await each.department.query('ALTER TABLE t RENAME TO t_old; CREATE TABLE t (id bigint PRIMARY KEY)');
  expect(await each.state()).toMatchObject({ kind: 'broken', code: 'TRIGGER_MISSING' });
  await each.triggers.run(each.plan.install);
  await each.department.query('INSERT INTO t VALUES (1); INSERT INTO t_old VALUES (2)');
  expect(await each.entries()).toEqual(['I 1', 'S ']);
  expect(await each.state()).toMatchObject({ kind: 'ready' });
});

test('a key column that is widened makes no program fail, and its texts stay those of the table', async () => {
  await using each = await world(`
    CREATE TYPE level AS ENUM ('low');
    CREATE TABLE t (a int, b varchar(2), c char(3), d numeric(4,2), e level, f timestamp(3), PRIMARY KEY (a, b, c, d, e, f))`);
  const row = "1, 'b', 'c', 1.50, 'low', '2024-01-31 08:00:00.5'";
  await each.department.query(`INSERT INTO t VALUES (${row})`);
  expect(await each.entries()).toContain('I 1 b c   1.50 low 2024-01-31 08:00:00.5');
  await each.department.query("ALTER TYPE level ADD VALUE 'high'");
  await each.department.query(
    'ALTER TABLE t ALTER b TYPE varchar(90), ALTER c TYPE char(5), ALTER d TYPE numeric(9,3), ALTER f TYPE timestamp',
  );
  const others = "'bbb', 'cccc', 12345.125, 'high', '2024-01-31 08:00:00.000001'";
  await each.department.query(`INSERT INTO t VALUES (2, ${others})`);
  await each.department.query('ALTER TABLE t ALTER a TYPE bigint');
  // PL/pgSQL of an open connection holds on to the type that a column had.
  await each.department.query('DISCARD PLANS');
  await each.department.query(`INSERT INTO t VALUES (9007199254740993, ${others})`);
  expect(await each.entries()).toContain('I 2 bbb cccc  12345.125 high 2024-01-31 08:00:00.000001');
  expect(await each.entries()).toContain('I 9007199254740993 bbb cccc  12345.125 high 2024-01-31 08:00:00.000001');
  expect(await each.state()).toMatchObject({ kind: 'ready' });
});
