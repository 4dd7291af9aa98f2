import { parseFilter } from '@qiao/exchange';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { defaultJournalColumns, type TargetTable } from '../adapter.ts';
import { applied, Lane, scan, section, snapshotTable } from '../contract-suite/fixture.ts';
import { openPostgres } from './dataSource.ts';
import { type PostgresServer, startPostgres } from './server.testing.ts';
import type { PostgresConfig } from './session.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

async function databaseWith(ddl: string): Promise<PostgresConfig> {
  const config = await server.database();
  const admin = new Client({ ...config });
  await admin.connect();
  await admin.query(ddl);
  await admin.end();
  return config;
}

function target(name: string, columns: string[], more: Partial<TargetTable> = {}): TargetTable {
  return {
    table: name,
    ref: { name },
    key: columns.slice(0, 1),
    columns: columns.map((column) => ({ name: column, type: { type: 'text' } })),
    ownership: 'none',
    landing: 'mirror',
    onDelete: 'delete',
    journalColumns: defaultJournalColumns,
    ...more,
  };
}

test('a source is told every key, type and column that does not fit, at once', async () => {
  const config = await databaseWith(`
    CREATE TABLE keyless (a int);
    CREATE TABLE half (a int UNIQUE, b int NOT NULL);
    CREATE TABLE deferred (a int NOT NULL UNIQUE DEFERRABLE);
    CREATE TABLE odd (id int PRIMARY KEY, m money);
    CREATE VIEW seen AS SELECT 1 AS id;`);
  const problems = await openPostgres(config).checkSource([
    { table: 'keyless', ref: { name: 'keyless' } },
    { table: 'half', ref: { name: 'half' }, key: ['a'] },
    { table: 'half2', ref: { name: 'half' }, key: ['b'], columns: ['b', 'nope'] },
    { table: 'deferred', ref: { name: 'deferred' }, key: ['a'] },
    { table: 'odd', ref: { name: 'odd' } },
    { table: 'seen', ref: { name: 'seen' }, key: ['id'] },
    { table: 'gone', ref: { name: 'gone' } },
  ]);
  expect(problems.map(({ code, path, warning }) => `${code} ${path}${warning === true ? ' warning' : ''}`)).toEqual([
    'KEYLESS_TABLE keyless',
    'KEY_NULLABLE half.a',
    'COLUMN_MISSING half2.nope',
    'KEY_NOT_UNIQUE half2',
    'KEY_NOT_UNIQUE deferred',
    'TYPE_UNSUPPORTED odd.m',
    'KEY_NOT_UNIQUE seen warning',
    'TABLE_MISSING gone',
  ]);
});

test('a target is told every right, rule, trigger, column and collation that does not fit, with the statement that helps', async () => {
  const config = await databaseWith(`
    CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TABLE t (id text COLLATE loose PRIMARY KEY, v varchar(3), must int NOT NULL, made int GENERATED ALWAYS AS (1) STORED);
    CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE TABLE r (id int PRIMARY KEY); CREATE RULE r AS ON INSERT TO r DO ALSO NOTHING;
    CREATE TABLE p (id int NOT NULL, v text); CREATE UNIQUE INDEX ON p (id) WHERE v IS NULL;
    CREATE TABLE j (id int); CREATE TABLE m (id int PRIMARY KEY); CREATE VIEW w AS SELECT 1 AS id;
    CREATE ROLE clerk LOGIN; GRANT SELECT ON t, r, p, j, m TO clerk; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    REVOKE TEMP ON DATABASE test_2 FROM PUBLIC;`);
  const filter = parseFilter("city = '1'").filter;
  const problems = await openPostgres({ ...config, user: 'clerk' }).checkTarget(
    [
      target('t', ['id', 'v', 'made']),
      target('r', ['id'], filter === undefined ? {} : { ownership: filter }),
      target('p', ['id', 'v']),
      target('j', ['id'], { landing: 'journal' }),
      target('m', ['id'], { onDelete: 'mark', markColumn: 'gone' }),
      target('w', ['id']),
    ],
    new Map([['t', { columns: [{ name: 'v', type: { type: 'text' }, nullable: true }] }]]),
  );
  const found = problems.map(({ code, path }) => `${code} ${path}`);
  for (const expected of [
    'MARK_REFUSED mark',
    'RIGHTS_MISSING mark',
    'COLUMN_GENERATED t.made',
    'COLUMN_REQUIRED t.must',
    'TYPE_REFUSED t.v',
    'KEY_COLLATION_COARSE t.id',
    'RIGHTS_MISSING t',
    'TARGET_TRIGGER t',
    'TARGET_RULE r',
    'COLUMN_MISSING r.city',
    'KEY_NOT_UNIQUE p',
    'JOURNAL_COLUMN_MISSING j.qiao_operation',
    'MARK_COLUMN_MISSING m.gone',
    'TARGET_NOT_TABLE w',
  ]) {
    expect(found).toContain(expected);
  }
  expect(problems.find(({ code }) => code === 'MARK_REFUSED')?.hint).toContain(
    'CREATE TABLE IF NOT EXISTS "public"."qiao_mark"',
  );
  expect(problems.every(({ hint }) => hint !== '')).toBe(true);
});

test('a target that fits has nothing to say', async () => {
  const config = await databaseWith('CREATE TABLE t (id int PRIMARY KEY, v text)');
  const shape = { columns: [{ name: 'id', type: { type: 'integer', bits: 32 }, nullable: false } as const] };
  expect(await openPostgres(config).checkTarget([target('t', ['id', 'v'])], new Map([['t', shape]]))).toEqual([]);
});

test('keys that refer to a partitioned target, to one of its partitions, or from another schema are seen, by the check and when rows land', async () => {
  const config = await databaseWith(`
    CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
    CREATE SCHEMA other;
    CREATE TABLE other.c (id int, p int REFERENCES p ON DELETE CASCADE) PARTITION BY RANGE (id);
    CREATE TABLE other.c1 PARTITION OF other.c FOR VALUES FROM (0) TO (100);
    CREATE TABLE leaf (id int, p int REFERENCES p1 ON DELETE SET DEFAULT);`);
  const dataSource = openPostgres(config);
  const p = target('p', ['id', 'v']);
  const problems = await dataSource.checkTarget([p], new Map());
  expect(problems.map(({ code, message }) => `${code} ${message.slice(0, message.indexOf(':'))}`)).toEqual([
    'FOREIGN_KEY_CASCADES foreign key c_p_fkey of c says ON DELETE CASCADE',
    'FOREIGN_KEY_CASCADES foreign key leaf_p_fkey of leaf says ON DELETE SET DEFAULT',
  ]);
  const landing = await dataSource.openTarget();
  await landing.prepare();
  const work = new Lane([p]).opening({ load: { begins: true } });
  await expect(landing.apply(work)).rejects.toMatchObject({
    code: 'TARGET_SCHEMA',
    message: expect.stringContaining('of c says'),
  });
  const both = await dataSource.checkTarget(
    [p, target('c', ['id', 'p'], { ref: { schema: 'other', name: 'c' } }), target('leaf', ['id'])],
    new Map(),
  );
  expect(both.filter(({ code }) => code === 'FOREIGN_KEY_CASCADES').map(({ warning }) => warning)).toEqual([
    true,
    true,
  ]);
  await dataSource.close();
});

test('triggers and constraints of single partitions are named, and those of the whole table once', async () => {
  const config = await databaseWith(`
    CREATE TABLE p (id int PRIMARY KEY, v text, w text CONSTRAINT all_w CHECK (w <> '')) PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (50) PARTITION BY RANGE (id);
    CREATE TABLE p11 PARTITION OF p1 FOR VALUES FROM (0) TO (25);
    CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (50) TO (100);
    CREATE UNIQUE INDEX one_v ON p11 (v);
    ALTER TABLE p2 ADD CONSTRAINT short_v CHECK (length(v) < 5);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER whole BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE TRIGGER part BEFORE INSERT ON p11 FOR EACH ROW EXECUTE FUNCTION touch();`);
  const dataSource = openPostgres(config);
  const problems = await dataSource.checkTarget([target('p', ['id', 'v', 'w'])], new Map());
  const part = await dataSource.checkTarget([target('p2', ['id', 'v', 'w'])], new Map());
  await dataSource.close();
  expect(part.map(({ message }) => message).join()).toContain('CHECK all_w; CHECK short_v');
  expect(problems.map(({ code, message }) => `${code} ${message}`)).toEqual([
    'TARGET_TRIGGER trigger part runs for every row that lands and may change it',
    'TARGET_TRIGGER trigger whole runs for every row that lands and may change it',
    'TARGET_CONSTRAINTS rows that break a constraint of the target will be quarantined: CHECK all_w; CHECK short_v; UNIQUE one_v (v)',
  ]);
});

test('a database that takes no writes, that stores few characters, and one whose policies hide rows are told to a target', async () => {
  const config = await databaseWith(`
    CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
    CREATE ROLE lander LOGIN; GRANT ALL ON t TO lander; GRANT CREATE ON SCHEMA public TO lander;`);
  const admin = new Client({ ...config });
  await admin.connect();
  const codes = async (changes: Partial<PostgresConfig>) => {
    const dataSource = openPostgres({ ...config, ...changes });
    const problems = await dataSource.checkTarget([target('t', ['id', 'v'])], new Map());
    await dataSource.close();
    return problems.map(({ code, path }) => `${code} ${path}`);
  };
  expect(await codes({ user: 'lander' })).toEqual(['ROW_SECURITY t']);
  await admin.query(`ALTER ROLE lander SET default_transaction_read_only = on; ALTER ROLE lander BYPASSRLS`);
  expect(await codes({ user: 'lander' })).toEqual(['TARGET_READ_ONLY mark']);
  await admin.query(`CREATE DATABASE narrow TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`);
  expect(await codes({ database: 'narrow' })).toEqual(['ENCODING_NARROW mark', 'TABLE_MISSING t']);
  await admin.end();
});

test('a server without room for another reader of its log is told', async () => {
  await using full = await startPostgres(['wal_level=logical', 'max_replication_slots=1']);
  const config = await full.database();
  const admin = new Client({ ...config });
  await admin.connect();
  await admin.query("CREATE TABLE t (id int PRIMARY KEY); SELECT pg_create_physical_replication_slot('taken')");
  await admin.end();
  const dataSource = openPostgres(config);
  const problems = await dataSource.checkSource([{ table: 't', ref: { name: 't' }, log: true }]);
  await dataSource.close();
  expect(problems.filter(({ code }) => code === 'LOG_NO_ROOM')).toMatchObject([
    { message: expect.stringContaining('max_replication_slots'), warning: true },
  ]);
});

test('an identity that is generated always is read, and lands once the statement of the check has released it', async () => {
  const config = await databaseWith(
    'CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text); INSERT INTO t (v) VALUES (NULL)',
  );
  const dataSource = openPostgres(config);
  expect(await dataSource.checkSource([{ table: 't', ref: { name: 't' } }])).toEqual([]);
  expect((await scan(dataSource, await snapshotTable(dataSource, 't', ['id', 'v']))).rows).toEqual([['1', null]]);
  const check = () => dataSource.checkTarget([target('t', ['id', 'v'])], new Map());
  const [problem, ...rest] = await check();
  expect([problem?.code, rest]).toEqual(['COLUMN_GENERATED', []]);
  const admin = new Client({ ...config });
  await admin.connect();
  await admin.query(problem?.hint ?? '');
  await admin.end();
  expect(await check()).toEqual([]);
  const landing = await dataSource.openTarget();
  await landing.prepare();
  const lane = new Lane([target('t', ['id', 'v'])]);
  await applied(landing, lane.opening());
  const { cells } = await applied(
    landing,
    lane.next([
      section(
        't',
        'insert',
        ['id', 'v'],
        [
          ['1', 'a'],
          ['7', 'b'],
        ],
      ),
    ]),
  );
  expect(cells).toEqual(['t insert inserted 1', 't insert updatedInsteadOfInsert 1']);
  await dataSource.close();
});
