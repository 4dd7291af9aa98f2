/** What happens to tables in the catalog while their log is followed, and which tables cannot be followed at all. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { snapshotTable } from '../contract-suite/fixture.ts';
import { logWorld, standings, take } from './logWorld.testing.ts';
import { type PostgresServer, startPostgres } from './server.testing.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres(['wal_level=logical', 'max_slot_wal_keep_size=32GB']);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const world = (ddl: string) => logWorld(server, ddl);

test.each([
  ['another table takes the name', 'ALTER TABLE t RENAME TO old; CREATE TABLE t (id int PRIMARY KEY, x text)'],
  ['the table is dropped', 'DROP TABLE t'],
  ['a DBA takes the table out of the publication', 'ALTER PUBLICATION qiao_name DROP TABLE t'],
  ['a column is added', 'ALTER TABLE t ADD COLUMN y text'],
  ['a column is made anew under the same name', 'ALTER TABLE t DROP COLUMN x; ALTER TABLE t ADD COLUMN x text'],
  ['the replica identity is another', 'ALTER TABLE t REPLICA IDENTITY NOTHING'],
  ['another table inherits from it', 'CREATE TABLE heir () INHERITS (t)'],
])('what was prepared is not current any more when %s', async (_, ddl) => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t VALUES (1)');
  const prepared = await w.prepare([await snapshotTable(w.dataSource, 't', ['id', 'x'])]);
  await w.sql('UPDATE t SET x = id; CREATE INDEX ON t (x); ANALYZE t');
  expect(await prepared.isCurrent()).toBe(true);
  await w.sql(ddl.replace('qiao_name', w.name));
  expect(await prepared.isCurrent()).toBe(false);
});

test.each(['(id)', 'WHERE (id > 5)'])(
  'a table whose publication hides some of it is not followed, and says so: %s',
  async (hides) => {
    await using w = await world('CREATE TABLE t (id int PRIMARY KEY, x text)');
    const tables = [await snapshotTable(w.dataSource, 't', ['id', 'x'])];
    await w.prepare(tables);
    await w.sql(`ALTER PUBLICATION ${w.name} SET TABLE t ${hides}`);
    const { tables: states } = await w.prepare(tables);
    const hint = `ALTER PUBLICATION "${w.name}" DROP TABLE "public"."t";`;
    expect(states).toMatchObject([{ unfit: { code: 'LOG_FILTERED', hint } }]);
  },
);

test('a column that was dropped and made anew makes another table, one that was added beside the plan does not', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY, x text)');
  const tables = [await snapshotTable(w.dataSource, 't', ['id', 'x'])];
  const first = standings(await w.prepare(tables));
  await w.sql('ALTER TABLE t ADD COLUMN y text');
  expect(standings(await w.prepare(tables))).toEqual(first);
  await w.sql('ALTER TABLE t DROP COLUMN x; ALTER TABLE t ADD COLUMN x text');
  expect(standings(await w.prepare(tables))).not.toEqual(first);
});

test('rows that the log names by other columns than the key come as reshaped', async () => {
  await using w = await world(`CREATE TABLE t (a int PRIMARY KEY, b int NOT NULL UNIQUE);
    ALTER TABLE t REPLICA IDENTITY USING INDEX t_b_key`);
  await using reading = await w.follow([await snapshotTable(w.dataSource, 't', ['b'])]);
  await w.sql('INSERT INTO t VALUES (1, 10)');
  await w.sql('ALTER TABLE t REPLICA IDENTITY DEFAULT');
  await w.sql('DELETE FROM t');
  const changes = await take(reading, 2);
  expect(changes.map(({ kind, line }) => [kind, line.toString()])).toEqual([
    ['insert', '10\n'],
    ['reshaped', ''],
  ]);
});

test('so do those of a partition that names its rows in its own way', async () => {
  await using w = await world(`CREATE TABLE t (id int PRIMARY KEY, other int NOT NULL) PARTITION BY HASH (id);
    CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0); CREATE UNIQUE INDEX by_other ON t0 (other)`);
  await using reading = await w.follow([await snapshotTable(w.dataSource, 't', ['id', 'other'])]);
  await w.sql('INSERT INTO t VALUES (1, 10), (2, 20)');
  await w.sql('ALTER TABLE t0 REPLICA IDENTITY USING INDEX by_other');
  await w.sql('UPDATE t SET other = 11 WHERE id = 1');
  await w.sql('DELETE FROM t WHERE id = 2');
  const changes = await take(reading, 3);
  expect(changes.map(({ kind }) => kind)).toEqual(['insert', 'insert', 'reshaped', 'reshaped']);
});

test('a partition that is emptied, attached with its rows, or taken away makes another table', async () => {
  await using w = await world(`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY LIST (id);
    CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2) PARTITION BY LIST (id);
    CREATE TABLE t22 PARTITION OF t2 DEFAULT; CREATE TABLE t3 (id int PRIMARY KEY); INSERT INTO t3 VALUES (3)`);
  const tables = [await snapshotTable(w.dataSource, 't', ['id'])];
  let prepared = await w.prepare(tables);
  await w.sql('INSERT INTO t VALUES (1), (2)');
  expect(await prepared.isCurrent()).toBe(true);
  for (const ddl of [
    'TRUNCATE t22',
    'ALTER TABLE t ATTACH PARTITION t3 FOR VALUES IN (3)',
    'ALTER TABLE t DETACH PARTITION t1',
    'DROP TABLE t2',
  ]) {
    await w.sql(ddl);
    expect(await prepared.isCurrent()).toBe(false);
    const before = standings(prepared);
    prepared = await w.prepare(tables);
    expect(standings(prepared)).not.toEqual(before);
  }
});

test('a partition beside its whole, a whole with an unlogged partition, and a table that others inherit from are not followed', async () => {
  await using w =
    await world(`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
    CREATE TABLE u (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE UNLOGGED TABLE u1 PARTITION OF u FOR VALUES IN (1);
    CREATE TABLE person (id int PRIMARY KEY); CREATE TABLE citizen (PRIMARY KEY (id)) INHERITS (person)`);
  const names = ['t', 't1', 'u', 'person', 'citizen'];
  const problems = await w.dataSource.checkSource(names.map((table) => ({ table, ref: { name: table }, log: true })));
  expect(problems.map(({ path, code }) => `${path} ${code}`)).toEqual(['t1 LOG_KIND', 'u LOG_KIND', 'person LOG_KIND']);
  const tables = [];
  for (const name of names) tables.push(await snapshotTable(w.dataSource, name, ['id']));
  const [whole, ...others] = standings(await w.prepare(tables));
  expect(whole).not.toBe('LOG_KIND');
  expect(others).toEqual(['LOG_KIND', 'LOG_KIND', 'LOG_KIND', expect.stringMatching(/^\[/)]);
  expect(standings(await w.prepare(tables.slice(1, 2)))).toEqual([expect.stringMatching(/^\[/)]);
});

test('a table that was followed is left out once another inherits from it, and its own rows go on to be written', async () => {
  await using w = await world('CREATE TABLE person (id int PRIMARY KEY)');
  const tables = [await snapshotTable(w.dataSource, 'person', ['id'])];
  await w.prepare(tables);
  await w.sql('CREATE TABLE citizen (PRIMARY KEY (id)) INHERITS (person)');
  expect(standings(await w.prepare(tables))).toEqual(['LOG_KIND']);
  expect(await w.sql('SELECT count(*) FROM pg_publication_tables')).toEqual([['0']]);
});
