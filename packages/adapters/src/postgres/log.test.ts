/** What only PostgreSQL's log has: its own types, values out of line, partitions, replica identities, and the numbers of transactions. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scan, snapshotTable } from '../contract-suite/fixture.ts';
import { openPostgres } from './dataSource.ts';
import { PostgresLog } from './log.ts';
import { logWorld, standings, take } from './logWorld.testing.ts';
import { isSeen } from './seen.ts';
import { departmentSession, type PostgresServer, startPostgres } from './server.testing.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres(['wal_level=logical']);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const world = (ddl: string) => logWorld(server, ddl);

const TYPES: Readonly<Record<string, readonly string[]>> = {
  'numeric(30,10)': ['0', '-12345678901234567890.0123456789', "'NaN'"],
  numeric: ['1e-40', '123456789012345678901234567890.000', "'Infinity'", "'-Infinity'"],
  float8: ["'NaN'", "'-Infinity'", "'-0'", '0.1', '1e-310', '5e-324'],
  real: ['0.1', '16777216.0'],
  date: ["'infinity'", "'0044-03-15 BC'", "'10000-01-01'"],
  timestamp: ["'infinity'", "'0001-01-01 00:00:00.000001 BC'", "'10000-01-01 00:00:00'"],
  timestamptz: ["'2024-06-01 08:00:00+08'", "'-infinity'"],
  time: ["'24:00:00'", "'08:00:00.5'"],
  timetz: ["'08:00:00+08'"],
  interval: ["'1 year -2 days 03:04:05.678'", "'-1 month'", "'0'"],
  bytea: ["'\\x'", "'\\x00ff5c0a'"],
  'char(5)': ["'a'", "''"],
  text: ["E'\\b\\f\\n\\r\\t\\v\\\\N'", "'𪚥'"],
  json: [`'{"a" : [1,  2], "b":"\\u00e9"}'`],
  jsonb: [`'{"b": 1.50, "a": [null]}'`],
  uuid: ["'0F8FAD5B-D9CB-469F-A165-70867728950E'"],
  inet: ["'10.0.0.1/8'", "'::1'"],
  'bit varying(9)': ["B'101'"],
  'int4[]': ["'{1,NULL,3}'", "'[2:3]={1,2}'"],
  'text[]': [`'{"a b",NULL,"\\"q\\"",""}'`],
  int4range: ["'[1,5)'", "'empty'"],
  xml: ["'<a>b</a>'"],
  point: ["'(0.1,2)'"],
  tsvector: ["'a:1 b:2'"],
};

test('every type of PostgreSQL has the same bytes in the log as in a snapshot', async () => {
  const columns = Object.keys(TYPES).map((type, index) => `c${index} ${type}`);
  await using w = await world(`CREATE TABLE t (id int PRIMARY KEY, ${columns.join(', ')})`);
  // The department's own settings must not shape what is read.
  await w.sql(`ALTER DATABASE ${w.config.database} SET DateStyle = 'German'`);
  await w.sql(`ALTER DATABASE ${w.config.database} SET TimeZone = 'Asia/Shanghai'`);
  await w.sql(`ALTER DATABASE ${w.config.database} SET IntervalStyle = 'sql_standard'`);
  await w.sql(`ALTER DATABASE ${w.config.database} SET extra_float_digits = 0`);
  await w.sql(`ALTER DATABASE ${w.config.database} SET bytea_output = 'escape'`);
  const table = await snapshotTable(w.dataSource, 't', ['id', ...columns.map((_, index) => `c${index}`)]);
  await using reading = await w.follow([table]);
  let id = 0;
  for (const [index, values] of Object.values(TYPES).entries()) {
    for (const value of values) await w.sql(`INSERT INTO t (id, c${index}) VALUES (${++id}, ${value})`);
  }
  const lines = (await take(reading, id)).map(({ line }) => line.toString());
  const { bytes } = await scan(w.dataSource, table);
  expect(lines.join('')).toBe(bytes.toString());
});

test('a large value that an update leaves alone is named as missing; with the whole row as identity it is there', async () => {
  await using w = await world(
    'CREATE TABLE t (id int PRIMARY KEY, x text, note text); ALTER TABLE t ALTER x SET STORAGE EXTERNAL',
  );
  const table = await snapshotTable(w.dataSource, 't', ['id', 'x', 'note']);
  await using reading = await w.follow([table]);
  const large = 'x'.repeat(10_000);
  await w.sql(`INSERT INTO t VALUES (1, '${large}', 'a')`);
  await w.sql("UPDATE t SET note = 'b'");
  await w.sql('UPDATE t SET id = 2');
  await w.sql('ALTER TABLE t REPLICA IDENTITY FULL');
  await w.sql("UPDATE t SET note = 'c'");
  const changes = await take(reading, 4);
  expect(changes.map(({ kind, missing, oldKey }) => [kind, missing, oldKey?.toString()])).toEqual([
    ['insert', undefined, undefined],
    ['update', [1], undefined],
    ['update', [1], '1\n'],
    ['update', undefined, undefined],
  ]);
  expect(changes.map(({ line }) => line.toString())).toEqual([
    `1\t${large}\ta\n`,
    '1\t\\N\tb\n',
    '2\t\\N\tb\n',
    `2\t${large}\tc\n`,
  ]);
});

test('a partitioned table is followed as one, also where a row moves from one partition to another', async () => {
  await using w = await world(`CREATE TABLE t (id int, area text, PRIMARY KEY (id, area)) PARTITION BY LIST (area);
    CREATE TABLE t1 PARTITION OF t FOR VALUES IN ('a'); CREATE TABLE t2 PARTITION OF t FOR VALUES IN ('b')`);
  const table = await snapshotTable(w.dataSource, 't', ['id', 'area'], 2);
  await using reading = await w.follow([table]);
  await w.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')");
  await w.sql("CREATE TABLE t3 PARTITION OF t FOR VALUES IN ('c')");
  await w.sql("UPDATE t SET area = 'c' WHERE id = 1");
  await w.sql('TRUNCATE t');
  const changes = await take(reading, 3);
  expect(changes.map(({ kind, line, table: index }) => [kind, line.toString(), index])).toEqual([
    ['insert', '1\ta\n', 0],
    ['insert', '2\tb\n', 0],
    ['delete', '1\ta\n', 0],
    ['insert', '1\tc\n', 0],
    ['truncate', '', 0],
  ]);
});

test('MERGE and upserts come as what they did to the rows', async () => {
  await using w = await world("CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
  const table = await snapshotTable(w.dataSource, 't', ['id', 'x']);
  await using reading = await w.follow([table]);
  await w.sql(`INSERT INTO t VALUES (1, 'c'), (3, 'd') ON CONFLICT (id) DO UPDATE SET x = excluded.x`);
  await w.sql(`MERGE INTO t USING (VALUES (2), (4)) AS s (id) ON t.id = s.id
    WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'm')`);
  const changes = await take(reading, 2);
  expect(changes.map(({ kind, line }) => `${kind} ${line.toString().trim()}`)).toEqual([
    'update 1\tc',
    'insert 3\td',
    'delete 2',
    'insert 4\tm',
  ]);
});

test('a table that leaves the publication and comes back is another one, and so is one that was made anew', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)');
  const tables = [await snapshotTable(w.dataSource, 't', ['id']), await snapshotTable(w.dataSource, 'u', ['id'])];
  const identities = async () => standings(await w.prepare(tables));
  const first = await identities();
  expect(await identities()).toEqual(first);
  await w.sql(`ALTER PUBLICATION ${w.name} DROP TABLE t`);
  const second = await identities();
  expect(second[0]).not.toBe(first[0]);
  expect(second[1]).toBe(first[1]);
  await w.sql('DROP TABLE u; CREATE TABLE u (id int PRIMARY KEY)');
  expect((await identities())[1]).not.toBe(second[1]);
});

test('an account without the rights gets the statements for the DBA, and a slot that was dropped is one that keeps less', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY)');
  await w.sql('DO $$ BEGIN CREATE ROLE poor LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$');
  await w.sql('GRANT SELECT ON t TO poor');
  const poor = { log: new PostgresLog({ ...w.config, user: 'poor' }) };
  const tables = [await snapshotTable(w.dataSource, 't', ['id'])];
  await expect(poor.log.prepare({ name: w.name, tables })).rejects.toMatchObject({
    code: 'LOG_RIGHTS',
    hint: expect.stringMatching(
      /^as a DBA: CREATE PUBLICATION "qiao_\w+" FOR TABLE "public"."t" WITH .*ALTER ROLE "poor" REPLICATION;$/,
    ),
  });
  const first = await w.log.prepare({ name: w.name, tables });
  await w.sql('INSERT INTO t VALUES (1)');
  await w.sql(`SELECT pg_drop_replication_slot('${w.name}')`);
  expect(await w.log.kept(w.name)).toBeUndefined();
  const second = await w.log.prepare({ name: w.name, tables });
  expect(w.log.compare(first.newest, second.oldest)).toBeLessThan(0);
});

test('a horizon is past when those who were open have ended', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY)');
  const tables = [await snapshotTable(w.dataSource, 't', ['id'])];
  await w.prepare([]);
  await w.sql('BEGIN; INSERT INTO t VALUES (1)');
  const { horizon } = await w.prepare(tables);
  expect(await w.log.isPast(horizon)).toBe(false);
  await w.sql('COMMIT');
  expect(await w.log.isPast(horizon)).toBe(true);
  await w.log.remove(w.name);
  expect(await w.log.kept(w.name)).toBeUndefined();
});

test('what was confirmed is where the slot begins', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY)');
  const tables = [await snapshotTable(w.dataSource, 't', ['id'])];
  const reading = await w.follow(tables);
  await w.sql('INSERT INTO t VALUES (1)');
  for await (const pieces of reading) {
    const position = pieces.findLast(({ transaction }) => transaction !== undefined)?.position;
    if (position === undefined) continue;
    reading.confirm(position);
    await reading[Symbol.asyncDispose]();
    expect(w.log.compare((await w.prepare(tables)).oldest, position)).toBe(0);
    break;
  }
});

test('a slot that is still being made is waited for, and found when it is there', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY)');
  await using open = await departmentSession(w.config);
  await open.query('BEGIN; INSERT INTO t VALUES (1)');
  await using maker = await departmentSession(w.config);
  const made = maker.query(`SELECT pg_create_logical_replication_slot('${w.name}', 'pgoutput')`);
  while ((await w.log.kept(w.name)) === undefined);
  const tables = [await snapshotTable(w.dataSource, 't', ['id'])];
  await expect(w.prepare(tables)).rejects.toMatchObject({ code: 'SOURCE_BUSY', fate: 'transient' });
  await open.query('COMMIT');
  await made;
  expect((await w.prepare(tables)).oldest).toMatch(/^\w+\/\w+$/);
});

test('the check names what keeps a table from being followed, and makes nothing', async () => {
  await using w =
    await world(`CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL UNIQUE); CREATE UNLOGGED TABLE u (id int PRIMARY KEY);
    CREATE TABLE p (id int PRIMARY KEY) PARTITION BY HASH (id); CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    ALTER TABLE p0 REPLICA IDENTITY NOTHING; CREATE TABLE fine (id int PRIMARY KEY)`);
  const asked = ['t', 'u', 'p', 'fine'].map((table) => ({
    table,
    ref: { name: table },
    log: true,
    ...(table === 't' && { key: ['code'] }),
  }));
  const problems = await w.dataSource.checkSource(asked);
  expect(problems.map(({ path, code }) => `${path} ${code}`)).toEqual([
    ' LOG_UNBOUNDED',
    't LOG_NO_IDENTITY',
    'u LOG_KIND',
    'p LOG_NO_IDENTITY',
  ]);
  await w.sql(
    'DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader',
  );
  const reader = openPostgres({ ...w.config, user: 'reader' });
  const found = await reader.checkSource([{ table: 'fine', ref: { name: 'fine' }, log: true }]);
  expect(found.map(({ code, hint }) => `${code} ${hint}`)).toEqual([
    'LOG_RIGHTS ALTER ROLE "reader" REPLICATION;',
    expect.stringMatching(
      /^LOG_UNBOUNDED ALTER SYSTEM SET max_slot_wal_keep_size = '32GB'; SELECT pg_reload_conf\(\);/,
    ),
    expect.stringMatching(/^LOG_PUBLICATION .*FOR TABLE "public"."fine" WITH/),
  ]);
  await w.sql('ALTER TABLE t REPLICA IDENTITY FULL');
  expect((await w.dataSource.checkSource(asked.slice(0, 1))).map(({ code }) => code)).toEqual(['LOG_UNBOUNDED']);
  expect(await w.sql('SELECT count(*) FROM pg_publication')).toEqual([['0']]);
  await reader.close();
});

test('whoever stops while the log is opened is not left reading', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY)');
  const prepared = await w.prepare([await snapshotTable(w.dataSource, 't', ['id'])]);
  // Whatever step of the opening it meets: before the socket, in the handshake, in the settings, at the slot, in the stream.
  for (let ms = 0; ms < 20; ms++) {
    const stop = new AbortController();
    const end = prepared.read(prepared.oldest, stop.signal).then(async (reading) => {
      await using stopped = reading;
      for await (const pieces of stopped) expect(pieces.flatMap(({ changes }) => changes)).toEqual([]);
    });
    setTimeout(() => stop.abort(new Error('stopped')), ms);
    await expect(end).rejects.toThrow('stopped');
  }
}, 30_000);

test('a server that writes no logical log says so', async () => {
  await using other = await startPostgres();
  const config = await other.database();
  const dataSource = openPostgres(config);
  const department = await departmentSession(config);
  await department.query('CREATE TABLE t (id int PRIMARY KEY)');
  const problems = await dataSource.checkSource([{ table: 't', ref: { name: 't' }, log: true }]);
  expect(problems.map(({ code }) => code)).toEqual(['LOG_OFF']);
  await expect(dataSource.log?.prepare({ name: 'qiao_x', tables: [] })).rejects.toMatchObject({ code: 'LOG_OFF' });
  await department[Symbol.asyncDispose]();
  await dataSource.close();
});

test('the numbers of transactions are told apart across a round of 32 bits', () => {
  // Numbers 2^32 + 10 onwards are to come, 2^32 + 5 and 2^32 - 3 run.
  const seen = '4294967293:4294967306:4294967293,4294967301 0/2000';
  const at = 0x1000n;
  expect([4294967292, 4294967293, 4294967294, 4, 5, 9, 10, 11].map((xid) => isSeen(seen, at, xid))).toEqual([
    true,
    false,
    true,
    true,
    false,
    true,
    false,
    false,
  ]);
  expect(isSeen(seen, 0x2000n, 4)).toBe(false);
});
