/** What only the binary log has: the forms in which values are stored, statements as text, XA, sessions with settings of their own, and files that are purged. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LogChange } from '../adapter.ts';
import { collect, scan, snapshotTable } from '../contract-suite/fixture.ts';
import { TYPES } from './logTypes.testing.ts';
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
  server = await startMysql([...BINLOG, '--max-binlog-size=4096', '--loose-log-bin-compress-min-len=40'], {
    own: true,
  });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const world = (ddl: string) => logWorld(server, ddl);

/** Settings of the server for one test. */
async function setting(name: string, value: string): Promise<AsyncDisposable> {
  const admin = connectMysql(server.url, 'mysql');
  const [before] = await admin.query(`SELECT @@GLOBAL.${name}`);
  await admin.query(`SET GLOBAL ${name} = ${value}`);
  return {
    async [Symbol.asyncDispose]() {
      await admin.query(
        `SET GLOBAL ${name} = ${/^[\d.]+$/.test(before?.[0] ?? '') ? before?.[0] : `'${before?.[0]}'`}`,
      );
      await admin[Symbol.asyncDispose]();
    },
  };
}

const RETENTION_OF_A_DAY: [name: string, value: string] = OWN_IS_MARIADB
  ? ['expire_logs_days', '1']
  : ['binlog_expire_logs_seconds', '86400'];

/** MySQL has no types of addresses. */
const TYPES_THERE = Object.entries(TYPES).filter(([type]) => OWN_IS_MARIADB || !/^(uuid|inet)/.test(type));

/** A table of every type, each value in a row of its own, and whoever writes it. */
async function allTypes(w: Awaited<ReturnType<typeof world>>, write: () => Promise<void>) {
  const columns = TYPES_THERE.map(([type], index) => `c${index} ${type} NULL`);
  await w.sql(`CREATE TABLE t (id int NOT NULL PRIMARY KEY, ${columns.join(', ')})`);
  const table = await snapshotTable(w.dataSource, 't', ['id', ...columns.map((_, index) => `c${index}`)]);
  await using reading = await w.follow([table]);
  await write();
  const changes = await take(reading, VALUES.length);
  return { table, changes };
}

const VALUES = TYPES_THERE.flatMap(([, values], index) => values.map((value) => ({ column: `c${index}`, value })));

/** Without the nulls beside. */
function valuesOf(lines: Buffer): string[] {
  const rows = lines.toString().split('\n').slice(0, -1);
  return rows.map((row) =>
    row
      .split('\t')
      .filter((field) => field !== '\\N')
      .join(' | '),
  );
}

const insertAll = (w: Awaited<ReturnType<typeof world>>) => async () => {
  await w.sql("SET sql_mode = 'NO_BACKSLASH_ESCAPES,ALLOW_INVALID_DATES'; SET time_zone = '+08:00'");
  for (const [id, { column, value }] of VALUES.entries())
    await w.sql(`SET timestamp = ${1_700_000_000 + id}; INSERT INTO t (id, ${column}) VALUES (${id}, ${value})`);
};

for (const compress of ['OFF', 'ON']) {
  test(`every type has the same bytes in the log as in a snapshot, and is refused alike (compression ${compress})`, async () => {
    await using _ = await setting(WORDS.compression, compress);
    await using w = await world(OWN_IS_MARIADB ? 'SELECT 1' : `SET binlog_transaction_compression = ${compress}`);
    const { table, changes } = await allTypes(w, insertAll(w));
    const { bytes, refused } = await scan(w.dataSource, table);
    const carried = changes.filter((change) => change.refused === undefined);
    expect(carried.flatMap(({ line }) => valuesOf(line))).toEqual(valuesOf(bytes));
    const codes = changes.flatMap((change) => change.refused ?? []);
    const counted = refused.flatMap(({ code, count }) => Array.from({ length: count }, () => code));
    expect(codes.toSorted()).toEqual(counted.toSorted());
    expect(codes.length).toBeGreaterThan(10);
  });
}

test('rows of labels that are null are whole, wherever the memory for lines ends', async () => {
  // So many that lines leave more of it unused than a line was thought to need.
  const columns = Array.from({ length: 101 }, (_, index) => `c${index}`);
  await using w = await world(`CREATE TABLE t (id int PRIMARY KEY, ${columns.join(" enum('Y'), ")} enum('Y'))`);
  const table = await snapshotTable(w.dataSource, 't', ['id', ...columns]);
  await using reading = await w.follow([table]);
  await w.sql(`INSERT INTO t (id) SELECT n FROM ${numbers(1_000_001, 1_001_000)}`);
  const changes = await take(reading, 1);
  const row = new RegExp(`^\\d{7}(\\t\\\\N){${columns.length}}\\n$`);
  expect(changes.filter(({ line }) => !row.test(line.toString())).map(({ line }) => line.length)).toEqual([]);
  expect(changes).toHaveLength(1000);
});

test('a row that cannot be carried comes with its key, and without one when that cannot be carried either', async () => {
  await using w = await world('CREATE TABLE t (day date NOT NULL PRIMARY KEY, b tinyint(1))');
  const table = await snapshotTable(w.dataSource, 't', ['day', 'b']);
  await using reading = await w.follow([table]);
  await w.sql("INSERT INTO t VALUES ('2024-01-31', 1), ('2024-02-01', 7), ('0000-00-00', 1)");
  await w.sql("UPDATE t SET b = 5 WHERE day = '2024-01-31'");
  await w.sql("UPDATE t SET day = '0000-00-01' WHERE day = '2024-02-01'");
  await w.sql("DELETE FROM t WHERE day = '0000-00-00'");
  const changes = await take(reading, 4);
  expect(shown(changes)).toEqual([
    'insert 2024-01-31 t',
    'insert 2024-02-01 VALUE_INVALID',
    'insert VALUE_INVALID',
    'update 2024-01-31 VALUE_INVALID',
    'update VALUE_INVALID',
    'delete VALUE_INVALID',
  ]);
  expect(changes[4]?.oldKey?.toString()).toBe('2024-02-01\n');
});

test('a session that logs less than the whole row loses nothing', async () => {
  await using w = await world(
    "CREATE TABLE t (id int PRIMARY KEY, x text, n int, d int DEFAULT 5); INSERT INTO t VALUES (1, 'a', 1, 1), (2, 'b', 2, 2)",
  );
  const table = await snapshotTable(w.dataSource, 't', ['id', 'x', 'n', 'd']);
  await using reading = await w.follow([table]);
  await w.sql(
    "SET binlog_row_image = 'MINIMAL'; UPDATE t SET n = 9 WHERE id = 1; UPDATE t SET id = 3 WHERE id = 2; DELETE FROM t WHERE id = 1",
  );
  await w.sql("SET binlog_row_image = 'NOBLOB'; UPDATE t SET n = 8 WHERE id = 3");
  await w.sql('SET binlog_row_image = MINIMAL; INSERT INTO t (id, n) VALUES (4, 4)');
  const changes = await take(reading, 5);
  expect(
    changes.map(({ kind, line, oldKey, missing }) => [kind, line.toString(), oldKey?.toString(), missing]),
  ).toEqual([
    ['update', '1\t\\N\t9\t\\N\n', undefined, [1, 3]],
    ['update', '3\t\\N\t\\N\t\\N\n', '2\n', [1, 2, 3]],
    ['delete', '1\n', undefined, undefined],
    ['update', '3\t\\N\t8\t2\n', undefined, [1]],
    ['untold', '', undefined, undefined],
  ]);
});

test('what is written as a statement is never passed over, whatever session does it', async () => {
  await using w = await world(
    'CREATE TABLE t (id int PRIMARY KEY, x varchar(9)); CREATE VIEW v AS SELECT * FROM t; CREATE TABLE u (id int PRIMARY KEY)',
  );
  const tables = [await snapshotTable(w.dataSource, 't', ['id', 'x'])];
  await using reading = await w.follow(tables);
  await using other = connectMysql(server.url, w.config.database);
  await other.query("SET binlog_format = 'STATEMENT'; INSERT INTO v VALUES (1, 'a')");
  await w.sql('INSERT INTO u VALUES (1)');
  await w.sql("INSERT INTO t VALUES (2, 'b')");
  expect(shown(await take(reading, 2))).toEqual(['untold', 'insert 2 b']);
});

test('statements that change the table are told from those that do not', async () => {
  await using w = await world(
    'CREATE TABLE t (id int PRIMARY KEY, x varchar(9)); CREATE TABLE other (id int PRIMARY KEY)',
  );
  const tables = [await snapshotTable(w.dataSource, 't', ['id', 'x'])];
  await using reading = await w.follow(tables);
  let ends = 0;
  const last = async (statement: string) => {
    await w.sql(statement);
    await w.sql(`REPLACE INTO t (id, x) VALUES (1, 'end ${ends++}')`);
    const changes: LogChange[] = [];
    while (!changes.some(({ line }) => line.includes('end'))) changes.push(...(await take(reading, 1)));
    return changes.find(({ line }) => line.length === 0)?.kind ?? 'none';
  };
  await w.sql("INSERT INTO t VALUES (1, 'a')");
  await take(reading, 1);
  const { database } = w.config;
  const replace = `CREATE OR REPLACE TABLE ${database}.t (id int PRIMARY KEY, x varchar(9))`;
  const replaced = OWN_IS_MARIADB ? { [replace]: 'reshaped' } : {};
  const found: Record<string, unknown> = {};
  for (const statement of [
    'CREATE INDEX i ON t (x)',
    '/* of t */ DROP INDEX i ON t',
    'ALTER TABLE other ADD COLUMN t int',
    'ALTER TABLE t ADD COLUMN fresh int FIRST',
    'ALTER TABLE t DROP COLUMN fresh',
    'ALTER TABLE t CHANGE x y varchar(9)',
    'ALTER TABLE t CHANGE y x varchar(9)',
    'ALTER TABLE `t` CONVERT TO CHARACTER SET utf8mb4',
    'RENAME TABLE t TO t2, other TO t',
    'RENAME TABLE t TO other, t2 TO t',
    ...Object.keys(replaced),
    'CREATE VIEW w AS SELECT * FROM t',
    'TRUNCATE TABLE t',
    `TRUNCATE ${database}.t`,
    'ANALYZE TABLE t',
    'CREATE TEMPORARY TABLE t (id int PRIMARY KEY, x varchar(9)); DROP TEMPORARY TABLE t',
  ]) {
    // Then there is no such table to write to.
    if (/ CHANGE x y | TO t2,/.test(statement)) {
      await w.sql(statement);
      found[statement] = (await take(reading, 1))[0]?.kind;
    } else found[statement] = await last(statement);
  }
  expect(found).toEqual({
    'CREATE INDEX i ON t (x)': 'none',
    '/* of t */ DROP INDEX i ON t': 'none',
    'ALTER TABLE other ADD COLUMN t int': 'none',
    'ALTER TABLE t ADD COLUMN fresh int FIRST': 'none',
    'ALTER TABLE t DROP COLUMN fresh': 'none',
    'ALTER TABLE t CHANGE x y varchar(9)': 'reshaped',
    'ALTER TABLE t CHANGE y x varchar(9)': 'reshaped',
    'ALTER TABLE `t` CONVERT TO CHARACTER SET utf8mb4': 'reshaped',
    'RENAME TABLE t TO t2, other TO t': 'reshaped',
    'RENAME TABLE t TO other, t2 TO t': 'reshaped',
    ...replaced,
    'CREATE VIEW w AS SELECT * FROM t': 'none',
    'TRUNCATE TABLE t': 'truncate',
    [`TRUNCATE ${database}.t`]: 'truncate',
    'ANALYZE TABLE t': 'none',
    'CREATE TEMPORARY TABLE t (id int PRIMARY KEY, x varchar(9)); DROP TEMPORARY TABLE t': 'none',
  });
});

test('XA transactions come when they are committed, as rows to be read', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)');
  const tables = [await snapshotTable(w.dataSource, 't', ['id']), await snapshotTable(w.dataSource, 'u', ['id'])];
  await using other = connectMysql(server.url, w.config.database);
  await other.query("XA START 'old'; INSERT INTO t VALUES (8); XA END 'old'; XA PREPARE 'old'");
  const { horizon } = await w.prepare(tables);
  expect(await w.log.isPast(horizon)).toBe(false);
  await other.query("XA COMMIT 'old'");
  expect(await w.log.isPast(horizon)).toBe(true);
  await using reading = await w.follow(tables);
  await other.query("XA START 'x', 'b'; INSERT INTO t VALUES (1); XA END 'x', 'b'; XA PREPARE 'x', 'b'");
  await w.sql('INSERT INTO u VALUES (1)');
  await other.query("XA COMMIT 'x', 'b'");
  await other.query("XA START 'y'; INSERT INTO t VALUES (2); XA END 'y'; XA PREPARE 'y'; XA ROLLBACK 'y'");
  await other.query("XA START 'z'; INSERT INTO t VALUES (3); XA END 'z'; XA COMMIT 'z' ONE PHASE");
  const changes = await take(reading, 3);
  expect(changes.map(({ table, kind, line }) => [table, kind, line.toString()])).toEqual([
    [1, 'insert', '1\n'],
    [0, 'untold', ''],
    // MySQL says behind its rows only that they were committed at once.
    OWN_IS_MARIADB ? [0, 'insert', '3\n'] : [0, 'untold', ''],
  ]);
});

test.runIf(OWN_IS_MARIADB)(
  'what is rolled back beside a table without transactions is not taken for committed',
  async () => {
    await using w = await world(
      'CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE m (id int PRIMARY KEY) ENGINE = MyISAM',
    );
    const tables = [await snapshotTable(w.dataSource, 't', ['id'])];
    await using reading = await w.follow(tables);
    await w.sql(
      'BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s; INSERT INTO t VALUES (2); INSERT INTO m VALUES (1); ROLLBACK TO s; COMMIT',
    );
    await w.sql('BEGIN; INSERT INTO t VALUES (3); INSERT INTO m SELECT * FROM t WHERE id = 3; ROLLBACK');
    await w.sql('INSERT INTO t VALUES (9)');
    const kinds: string[][] = [];
    while (!kinds.flat().includes('insert 9')) kinds.push(shown(await take(reading, 1)));
    for (const transaction of kinds.slice(0, -1)) {
      if (transaction.some((change) => /insert [23]/.test(change))) expect(transaction).toContain('untold');
    }
    expect(kinds[0]).toContain('insert 1');
  },
);

test('the place goes on through files of the log, restarts of the server, and while nothing of ours happens', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY, x text); CREATE TABLE other (x text)');
  const tables = [await snapshotTable(w.dataSource, 't', ['id', 'x'])];
  const first = await w.follow(tables);
  await w.sql("INSERT INTO t VALUES (1, 'a')");
  const [piece] = await takePieces(first, 1);
  await first[Symbol.asyncDispose]();
  for (let i = 0; i < 8; i++) await w.sql("INSERT INTO other VALUES (REPEAT('x', 1000))");
  await server.restart();
  await using again = connectMysql(server.url, w.config.database);
  await again.query("INSERT INTO t VALUES (2, 'b')");
  const { newest } = await w.prepare(tables);
  await using reading = await w.follow(tables, piece?.position);
  const positions: string[] = [];
  const lines: string[] = [];
  for await (const pieces of reading) {
    for (const { changes, position } of pieces) {
      lines.push(...shown(changes));
      if (position !== undefined) positions.push(position);
    }
    if (w.log.compare(positions.at(-1) as string, newest) >= 0) break;
  }
  expect(lines).toEqual(['insert 2 b']);
  for (const [index, position] of positions.entries())
    if (index > 0) expect(w.log.compare(positions[index - 1] as string, position)).toBeLessThanOrEqual(0);
  expect(Number(/\.(\d+):/.exec(newest)?.[1]) - Number(/\.(\d+):/.exec(piece?.position ?? '')?.[1])).toBeGreaterThan(2);
});

test('a log that was purged, or begun anew, is not read on', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY)');
  const tables = [await snapshotTable(w.dataSource, 't', ['id'])];
  const reading = await w.follow(tables);
  await w.sql('INSERT INTO t VALUES (1)');
  const [piece] = await takePieces(reading, 1);
  const held = piece?.position as string;
  await reading[Symbol.asyncDispose]();
  await w.sql('FLUSH BINARY LOGS');
  const [end] = await w.sql(WORDS.status);
  // A file that somebody reads stays: the server has yet to notice that nobody does.
  do await w.sql(`PURGE BINARY LOGS TO '${end?.[0]}'`);
  while ((await w.sql('SHOW BINARY LOGS'))[0]?.[0] !== end?.[0]);
  const purged = await w.prepare(tables);
  expect(w.log.compare(held, purged.oldest)).toBeLessThan(0);
  await expect(purged.read(held, new AbortController().signal)).rejects.toMatchObject({ code: 'LOG_LOST' });

  // The same transactions at the same places of a file of the same name.
  const again = async (id: number) => {
    await w.sql(WORDS.reset);
    const followed = await w.follow(tables);
    await w.sql(`INSERT INTO t VALUES (${id})`);
    const [last] = await takePieces(followed, 1);
    await followed[Symbol.asyncDispose]();
    return last?.position as string;
  };
  const before = await again(5);
  // Files are told apart by the second at which they were begun.
  await w.sql('DO SLEEP(1.1)');
  const after = await again(6);
  expect(after.replace(/#.*/, '')).toBe(before.replace(/#.*/, ''));
  await using stream = await w.follow(tables, before);
  await expect(take(stream, 1)).rejects.toMatchObject({ code: 'LOG_LOST' });
});

test('whoever stops while the log is opened is not left reading', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY)');
  const prepared = await w.prepare([await snapshotTable(w.dataSource, 't', ['id'])]);
  // Whatever step of the opening it meets: before the socket, in the handshake, in the settings, at the place, in the stream.
  for (let ms = 0; ms < 20; ms++) {
    const stop = new AbortController();
    const end = prepared.read(prepared.newest, stop.signal).then(async (reading) => {
      await using stopped = reading;
      for await (const pieces of stopped) expect(pieces.flatMap(({ changes }) => changes)).toEqual([]);
    });
    setTimeout(() => stop.abort(new Error('stopped')), ms);
    await expect(end).rejects.toThrow('stopped');
  }
}, 30_000);

test('a snapshot sees exactly the transactions before its place, while many commit at once', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY)');
  const table = await snapshotTable(w.dataSource, 't', ['id']);
  await using reading = await w.follow([table]);
  const over = new AbortController();
  let id = 0;
  const write = async () => {
    await using session = connectMysql(server.url, w.config.database);
    let transactions = 0;
    for (; !over.signal.aborted; transactions++) await session.query(`INSERT INTO t VALUES (${++id}), (${++id})`);
    return transactions;
  };
  const writers = Array.from({ length: 8 }, write);
  const looks: { seen: string; rows: string[] }[] = [];
  // The log goes on in another file after every few of them.
  while (looks.length < 25) {
    await using snapshot = await w.dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
    const seen = await snapshot.seen?.();
    if (seen === undefined) continue;
    const { rows } = await collect(snapshot.rows(table), 1);
    looks.push({ seen, rows: rows.map(([field]) => field as string).toSorted() });
  }
  over.abort();
  const transactions = (await Promise.all(writers)).reduce((sum, each) => sum + each);
  const pieces = await takePieces(reading, transactions);
  for (const { seen, rows } of looks) {
    const before = pieces.filter(({ transaction }) => transaction?.isSeen(seen) === true);
    const lines = before.flatMap(({ changes }) => changes.map(({ line }) => line.toString().trim()));
    expect(lines.toSorted()).toEqual(rows);
  }
  expect(looks.at(-1)?.rows.length).toBeGreaterThan(looks[0]?.rows.length ?? 0);
});

test.runIf(OWN_IS_MARIADB)('a place at the beginning of a file is relied on once it has stayed there', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)');
  await w.sql('FLUSH BINARY LOGS');
  const [end] = await w.sql(WORDS.status);
  const look = async () => {
    await using snapshot = await w.dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
    return await snapshot.seen?.();
  };
  const began = performance.now();
  expect(await look()).toBeUndefined();
  let seen: string | undefined;
  while (seen === undefined) seen = await look();
  expect(seen).toContain(`@${end?.[0]}:`);
  expect(performance.now() - began).toBeGreaterThan(1_900);
});

test('the check names every problem at once, each with its fix', async () => {
  await using w = await world(`CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int PRIMARY KEY, p int, FOREIGN KEY gone (p) REFERENCES parent (id) ON DELETE CASCADE);
    CREATE TABLE m (id int PRIMARY KEY) ENGINE = MyISAM; CREATE TABLE keyless (x int); CREATE VIEW v AS SELECT id FROM parent;
    CREATE TABLE odd (id int PRIMARY KEY, made int AS (id + 1) STORED, x varchar(9) CHARACTER SET ujis, y ${OWN_IS_MARIADB ? 'varchar(300) COMPRESSED' : 'varchar(9) CHARACTER SET gb18030'});
    CREATE TABLE history (id int PRIMARY KEY) ${OWN_IS_MARIADB ? 'WITH SYSTEM VERSIONING' : 'ENGINE = MyISAM'}; CREATE TABLE fine (id int PRIMARY KEY, x text)`);
  const asked = ['child', 'm', 'keyless', 'v', 'odd', 'history', 'fine'].map((table) => ({
    table,
    ref: { name: table },
    log: true,
    ...(table === 'v' && { key: ['id'] }),
  }));
  const found = async () => {
    const problems = await w.dataSource.checkSource(asked);
    expect(problems.every(({ hint }) => hint.length > 10)).toBe(true);
    return problems.map(({ path, code }) => `${path} ${code}`.trim());
  };
  const odd = ['odd LOG_COLUMN', 'odd LOG_COLUMN', 'odd LOG_COLUMN'];
  const tables = ['child LOG_CASCADE', 'm LOG_KIND', 'v LOG_KIND', ...odd, 'history LOG_KIND'];
  expect(await found()).toEqual(['keyless KEYLESS_TABLE', 'v KEY_NOT_UNIQUE', ...tables]);
  await using _e = await setting(...RETENTION_OF_A_DAY);
  expect((await found()).slice(2, 3)).toEqual(['LOG_RETENTION']);
  await using _ = await setting('binlog_row_metadata', 'MINIMAL');
  await using _f = await setting('binlog_format', 'STATEMENT');
  await using _i = await setting('binlog_row_image', 'MINIMAL');
  await w.sql(`REVOKE REPLICATION SLAVE ON *.* FROM '${w.config.user}'@'%'`);
  expect((await found()).slice(2)).toEqual(['LOG_OFF', 'LOG_OFF', 'LOG_OFF', 'LOG_RIGHTS', ...tables]);
});

test('a server that writes no log that can be read says so, and an account that may not read it', async () => {
  await using w = await world('CREATE TABLE t (id int PRIMARY KEY)');
  const tables = [await snapshotTable(w.dataSource, 't', ['id'])];
  {
    await using _ = await setting('binlog_format', "'MIXED'");
    await expect(w.prepare(tables)).rejects.toMatchObject({
      code: 'LOG_OFF',
      hint: expect.stringContaining('SET GLOBAL binlog_format'),
    });
  }
  await w.sql(`REVOKE REPLICATION SLAVE, ${WORDS.monitor} ON *.* FROM '${w.config.user}'@'%'`);
  await expect(w.prepare(tables)).rejects.toMatchObject({
    code: 'LOG_RIGHTS',
    hint: `as a DBA: GRANT REPLICATION SLAVE, ${WORDS.monitor} ON *.* TO '${w.config.user}'@'%';`,
  });
});
