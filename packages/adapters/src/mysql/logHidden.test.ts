/** What the binary log hides, or says in a way that is easily mistaken: cascades, statements behind settings, rows of no bytes, columns without names, and silence. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scan, snapshotTable } from '../contract-suite/fixture.ts';
import { openMysql } from './dataSource.ts';
import { logWorld, shown, take, takePieces } from './logWorld.testing.ts';
import {
  BINLOG,
  connectMysql,
  type MysqlServer,
  numbers,
  OWN_IS_MARIADB,
  startMysql,
  WORDS,
} from './server.testing.ts';

let server: MysqlServer;
beforeAll(async () => {
  server = await startMysql([...BINLOG], { own: true });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const world = (ddl: string) => logWorld(server, ddl);

async function metadata(value: string): Promise<void> {
  await using admin = connectMysql(server.url, 'mysql');
  await admin.query(`SET GLOBAL binlog_row_metadata = '${value}'`);
}

test('an account that may only read is told of cascades', async () => {
  await using w = await world(`CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int PRIMARY KEY, p int, CONSTRAINT \`go\`\`ne\` FOREIGN KEY (p) REFERENCES parent (id) ON UPDATE SET NULL);
    CREATE TABLE kept (id int PRIMARY KEY, p int COMMENT 'ON DELETE CASCADE', FOREIGN KEY (p) REFERENCES parent (id) ON DELETE RESTRICT)`);
  const user = `${w.config.database}_reads`;
  await using admin = connectMysql(server.url, w.config.database);
  await admin.query(`CREATE USER ${user}@'%' IDENTIFIED BY 'secret'; GRANT SELECT ON ${w.config.database}.* TO ${user}@'%';
    GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO ${user}@'%'`);
  const dataSource = openMysql({ ...w.config, user, password: 'secret' });
  const asked = ['parent', 'child', 'kept'].map((table) => ({ table, ref: { name: table }, log: true }));
  const problems = await dataSource.checkSource(asked);
  await dataSource.close();
  expect(problems.map(({ path, code, message }) => [path, code, /go`ne/.test(message)])).toEqual([
    ['child', 'LOG_CASCADE', true],
  ]);
});

test.runIf(OWN_IS_MARIADB)(
  'what stands behind settings, in front of a plan, or in a comment for some versions counts as what it is',
  async () => {
    await using w = await world(
      'CREATE TABLE t (id int PRIMARY KEY, x varchar(9)); CREATE TABLE other (id int PRIMARY KEY)',
    );
    const tables = [await snapshotTable(w.dataSource, 't', ['id', 'x'])];
    await using reading = await w.follow(tables);
    await using other = connectMysql(server.url, w.config.database);
    await other.query("SET binlog_format = 'STATEMENT'");
    let ends = 0;
    const after = async (statement: string) => {
      await other.query(statement);
      await w.sql(`REPLACE INTO t VALUES (1, 'end ${ends++}')`);
      const kinds: string[] = [];
      for (;;) {
        kinds.push(...shown(await take(reading, 1)));
        if (kinds.at(-1)?.includes(' end ')) return kinds.slice(0, -1).join() || 'none';
      }
    };
    await w.sql("INSERT INTO t VALUES (1, 'a')");
    await take(reading, 1);
    const expected: Record<string, string> = {
      'SET STATEMENT lock_wait_timeout = 5 FOR TRUNCATE TABLE t': 'truncate',
      'SET STATEMENT lock_wait_timeout = (1 + 4), sql_mode = "" FOR TRUNCATE TABLE t': 'truncate',
      'SET STATEMENT max_statement_time = 5 FOR TRUNCATE TABLE other': 'none',
      "SET STATEMENT max_statement_time = 5 FOR INSERT INTO t VALUES (7, 'FOR')": 'untold',
      'SET STATEMENT max_statement_time = 5 FOR ANALYZE TABLE t': 'none',
      "ANALYZE UPDATE t SET x = 'b' WHERE id = 7": 'untold',
      'ANALYZE DELETE FROM t WHERE id = 7': 'untold',
      '/*!40000 ALTER TABLE other DISABLE KEYS */': 'none',
      '/*M!100100 ALTER TABLE t MODIFY x varchar(9) NOT NULL */': 'reshaped',
      '/*!50001 CREATE VIEW v AS SELECT 1 */': 'none',
    };
    const found: Record<string, string> = {};
    for (const statement of Object.keys(expected)) found[statement] = await after(statement);
    expect(found).toEqual(expected);
  },
);

test('a statement that is not in UTF-8 concerns the tables that it names', async () => {
  await using w = await world(
    'CREATE TABLE t1 (id int PRIMARY KEY); CREATE TABLE `表` (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)',
  );
  const tables = await Promise.all(['t1', '表'].map((name) => snapshotTable(w.dataSource, name, ['id'])));
  await using reading = await w.follow(tables);
  await using other = connectMysql(server.url, w.config.database);
  await other.query('SET character_set_client = latin1');
  await other.query("ALTER TABLE other COMMENT 'é', ENGINE = InnoDB");
  await w.sql('INSERT INTO t1 VALUES (1)');
  const changes = await take(reading, 2);
  // Which name other bytes than ASCII stand for is not known.
  expect(changes.map(({ table, kind }) => [table, kind])).toEqual([
    [1, 'reshaped'],
    [0, 'insert'],
  ]);
});

test.runIf(OWN_IS_MARIADB)(
  'rows whose columns have no names are not guessed, and a server that writes none is refused',
  async () => {
    await using w = await world('CREATE TABLE t (id int PRIMARY KEY, a varchar(9), b varchar(9))');
    const tables = [await snapshotTable(w.dataSource, 't', ['id', 'a', 'b'])];
    await using reading = await w.follow(tables);
    await metadata('NO_LOG');
    try {
      await w.sql('SET STATEMENT lock_wait_timeout = 5 FOR ALTER TABLE t MODIFY b varchar(9) AFTER id');
      await w.sql("INSERT INTO t (id, a, b) VALUES (1, 'A', 'B')");
      expect(shown(await take(reading, 2))).toEqual(['reshaped', 'reshaped']);
      const hint = expect.stringContaining('SET GLOBAL binlog_row_metadata');
      await expect(w.prepare(tables)).rejects.toMatchObject({ code: 'LOG_OFF', hint });
      const problems = await w.dataSource.checkSource([{ table: 't', ref: { name: 't' }, log: true }]);
      expect(problems).toMatchObject([{ code: 'LOG_OFF', hint }]);
    } finally {
      await metadata('FULL');
    }
  },
);

test('labels of any characters are those of a snapshot', async () => {
  await using w = await world(
    "CREATE TABLE t (id int PRIMARY KEY, e enum('a\\b', 'l\nm', 'c\rd', 'it''s', '\\n', 'x\\'), s set('x\\y', '''', 'n\n'))",
  );
  const table = await snapshotTable(w.dataSource, 't', ['id', 'e', 's']);
  await using reading = await w.follow([table]);
  for (let id = 1; id <= 6; id++) await w.sql(`INSERT INTO t VALUES (${id}, ${id}, ${id})`);
  const lines = (await take(reading, 6)).map(({ line }) => line.toString());
  expect(lines.join('')).toBe((await scan(w.dataSource, table)).bytes.toString());
});

test('a row of which the log has no bytes is not lost', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY DEFAULT 5, x varchar(9))');
  const tables = [await snapshotTable(w.dataSource, 't', ['id', 'x'])];
  await using reading = await w.follow(tables);
  await w.sql('SET binlog_row_image = MINIMAL; INSERT INTO t () VALUES ()');
  await w.sql("SET binlog_row_image = FULL; INSERT INTO t VALUES (6, 'b')");
  expect(shown(await take(reading, 2))).toEqual(['untold', 'insert 6 b']);
});

test('heartbeats that lay unread while nobody took what came say nothing of now', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY, x longtext)');
  const prepared = await w.prepare([await snapshotTable(w.dataSource, 't', ['id', 'x'])]);
  await using reading = await prepared.read(prepared.newest, new AbortController().signal);
  // More than may wait here; the rest, and the heartbeats behind it, wait in the socket.
  await w.sql(`INSERT INTO t SELECT n, REPEAT('x', 1000000) FROM ${numbers(1, 10)}`);
  await w.sql('DO SLEEP(5)');
  await w.sql("INSERT INTO t VALUES (11, 'late')");
  expect(await prepared.isCurrent()).toBe(true);
  expect(shown((await take(reading, 2)).slice(-1))).toEqual(['insert 11 late']);
});

test('whoever stops while a frozen server is asked does not wait for it', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY)');
  const prepared = await w.prepare([await snapshotTable(w.dataSource, 't', ['id'])]);
  const [file] = await w.sql('SELECT @@pid_file');
  const pid = Number(await readFile(file?.[0] as string, 'utf8'));
  process.kill(pid, 'SIGSTOP');
  try {
    const stop = new AbortController();
    const end = prepared.read(prepared.newest, stop.signal);
    setTimeout(() => stop.abort(new Error('stopped')), 50);
    await expect(end).rejects.toThrow('stopped');
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}, 5_000);

test.runIf(OWN_IS_MARIADB)('a replication domain that was deleted is no gap', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY)');
  const tables = [await snapshotTable(w.dataSource, 't', ['id'])];
  const first = await w.follow(tables);
  await using admin = connectMysql(server.url, w.config.database);
  await admin.query('SET gtid_domain_id = 7; INSERT INTO t VALUES (1); SET gtid_domain_id = 0; FLUSH BINARY LOGS');
  await w.sql('INSERT INTO t VALUES (2)');
  await take(first, 2);
  const [end] = await admin.query(WORDS.status);
  // A file that is read stays for a moment.
  do await admin.query(`PURGE BINARY LOGS TO '${end?.[0]}'`);
  while ((await admin.query('SHOW BINARY LOGS'))[0]?.[0] !== end?.[0]);
  await admin.query('FLUSH BINARY LOGS; INSERT INTO t VALUES (3)');
  await takePieces(first, 1);
  const [next] = await admin.query(WORDS.status);
  do await admin.query(`PURGE BINARY LOGS TO '${next?.[0]}'`);
  while ((await admin.query('SHOW BINARY LOGS'))[0]?.[0] !== next?.[0]);
  await admin.query('FLUSH BINARY LOGS DELETE_DOMAIN_ID = (7); INSERT INTO t VALUES (4)');
  const position = (await takePieces(first, 1)).at(-1)?.position;
  await first[Symbol.asyncDispose]();
  await using reading = await w.follow(tables, position);
  await w.sql('INSERT INTO t VALUES (5)');
  expect(shown(await take(reading, 1))).toEqual(['insert 5']);
});
