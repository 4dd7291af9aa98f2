/** The horizon on a real server: whoever may still commit behind a snapshot is in it, and nobody else for long. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DataSource } from '../adapter.ts';
import { openMysql } from './dataSource.ts';
import { connectMysql, type MysqlServer, startMysql } from './server.testing.ts';
import type { MysqlConfig } from './session.ts';

let server: MysqlServer;
beforeAll(async () => {
  server = await startMysql([], { own: true });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

describe('the horizon of a snapshot', () => {
  test('lasts while a transaction is open that has read and not written yet, and ends with its commit', async () => {
    await using world = await start();
    const writer = world.session();
    await writer.query('BEGIN');
    await writer.query('SELECT NOW(6) FROM t');
    const horizon = await world.horizon();
    expect(await world.remains(horizon)).toBeDefined();
    await writer.query('INSERT INTO t VALUES (1)');
    expect(await world.remains(horizon)).toBeDefined();
    await writer.query('COMMIT');
    expect(await world.remains(horizon)).toBeUndefined();
  });

  test('does not wait for those who came later, nor for those who only read', async () => {
    await using world = await start();
    const early = world.session();
    const late = world.session();
    await early.query('BEGIN');
    await early.query('INSERT INTO t VALUES (1)');
    await using _reader = await world.dataSource.snapshot(forever());
    const horizon = await world.horizon();
    await late.query('BEGIN');
    await late.query('INSERT INTO t VALUES (2)');
    await early.query('ROLLBACK');
    expect(await world.remains(horizon)).toBeUndefined();
    await late.query('ROLLBACK');
  });

  test('waits for a statement that has its time and not yet its table, and for the transaction that it leaves open', async () => {
    await using world = await start();
    const owner = world.session();
    const writer = world.session();
    await owner.query('LOCK TABLES t WRITE');
    await writer.query('BEGIN');
    const insert = writer.query('INSERT INTO t VALUES (UNIX_TIMESTAMP(NOW(6)))');
    const watcher = world.session();
    const waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table%'";
    for (let seen = 0; seen === 0; ) seen = Number((await watcher.query(waiting))[0]?.[0]);
    const horizon = await world.horizon();
    let left = await world.remains(horizon);
    expect(left).toBeDefined();
    await owner.query('UNLOCK TABLES');
    await insert;
    left = await world.remains(left);
    expect(left).toBeDefined();
    await writer.query('COMMIT');
    expect(await world.remains(left)).toBeUndefined();
  });

  test('waits for a transaction that is prepared, its connection gone', async () => {
    await using world = await start();
    const writer = world.session();
    await writer.query("XA START 'a'");
    await writer.query('INSERT INTO t VALUES (1)');
    const horizon = await world.horizon();
    await writer.query("XA END 'a'");
    await writer.query("XA PREPARE 'a'");
    await writer[Symbol.asyncDispose]();
    let left = await world.remains(horizon);
    expect(left).toBeDefined();
    await server.restart();
    left = await world.remains(left);
    expect(left).toBeDefined();
    await world.session().query("XA COMMIT 'a'");
    expect(await world.remains(left)).toBeUndefined();
  });

  test('is not told from an old copy of the server’s list, however often others look', async () => {
    await using world = await start();
    const watcher = world.session();
    const look = 'SELECT COUNT(*) FROM information_schema.INNODB_TRX';
    await watcher.query(look);
    const watching = (async () => {
      for (let looks = 0; looks < 200; looks++) await watcher.query(look);
    })();
    const writer = world.session();
    await writer.query('BEGIN');
    await writer.query('INSERT INTO t VALUES (1)');
    const horizon = await world.horizon();
    await watching;
    expect(await world.remains(horizon)).toBeDefined();
    await writer.query('COMMIT');
    expect(await world.remains(horizon)).toBeUndefined();
  });

  test('is unknown to a user without the right PROCESS, and the check says which GRANT helps', async () => {
    await using world = await start();
    const admin = world.session();
    await admin.query(`REVOKE PROCESS ON *.* FROM '${world.config.user}'@'%'`);
    await using snapshot = await world.dataSource.snapshot(forever());
    expect(await snapshot.cursor?.horizon()).toBeUndefined();
    // The refused right has not broken the snapshot.
    expect(await snapshot.cursor?.highest({ ref: { name: 't' }, column: 'id', type: BIGINT }, undefined)).toBe(
      undefined,
    );
    const problems = await world.dataSource.checkSource([{ table: 't', ref: { name: 't' }, cursor: 'id' }]);
    expect(problems.map(({ code }) => code)).toEqual(['CURSOR_HORIZON_UNPROVEN']);
    expect(problems[0]?.hint).toContain(`GRANT PROCESS ON *.* TO '${world.config.user}'@'%';`);
  });
});

test('zero dates and their like are passed over', async () => {
  await using world = await start();
  const admin = world.session();
  await admin.query("SET sql_mode = 'ALLOW_INVALID_DATES'");
  await admin.query('CREATE TABLE d (id int PRIMARY KEY, x datetime(3), z timestamp NULL)');
  await admin.query(
    "INSERT INTO d VALUES (1, '2024-02-29 23:59:59.25', '2024-01-01 00:00:00'), (2, '2024-02-31 00:00:00', 0), (3, '2025-00-00', NULL)",
  );
  await using snapshot = await world.dataSource.snapshot(forever());
  const highest = (column: string, type: 'timestamp' | 'timestamptz') =>
    snapshot.cursor?.highest({ ref: { name: 'd' }, column, type: { type, digits: 3 } }, undefined);
  expect(await highest('x', 'timestamp')).toBe('2024-02-29 23:59:59.25');
  expect(await highest('z', 'timestamptz')).toBe('2024-01-01 00:00:00+00');
});

const BIGINT = { type: 'integer', bits: 64 } as const;

interface World extends AsyncDisposable {
  readonly config: MysqlConfig;
  readonly dataSource: DataSource;
  session(): ReturnType<typeof connectMysql>;
  /** Of a snapshot that is over when this returns. */
  horizon(): Promise<string | undefined>;
  remains(horizon: string | undefined): Promise<string | undefined>;
}

async function start(): Promise<World> {
  const config = await server.database();
  const dataSource = openMysql(config);
  const sessions: ReturnType<typeof connectMysql>[] = [];
  const world: World = {
    config,
    dataSource,
    session() {
      const one = connectMysql(server.url, config.database);
      sessions.push(one);
      return one;
    },
    async horizon() {
      await using snapshot = await dataSource.snapshot(forever());
      return await snapshot.cursor?.horizon();
    },
    async remains(horizon) {
      expect(horizon).toBeDefined();
      return await dataSource.remainsOpen?.(horizon ?? '');
    },
    async [Symbol.asyncDispose]() {
      await dataSource.close();
      for (const one of sessions) await one[Symbol.asyncDispose]();
    },
  };
  const admin = world.session();
  await admin.query('CREATE TABLE t (id bigint PRIMARY KEY)');
  await admin.query(`GRANT PROCESS ON *.* TO '${config.user}'@'%'`);
  return world;
}

function forever() {
  return { signal: new AbortController().signal, maxMs: 60_000 };
}
