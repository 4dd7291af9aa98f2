/** The horizon on a real server: whoever may still commit behind a snapshot is in it, and nobody else for long. */
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DataSource } from '../adapter.ts';
import { openPostgres } from './dataSource.ts';
import { type PostgresServer, startPostgres } from './server.testing.ts';
import type { PostgresConfig } from './session.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres(['max_prepared_transactions=5']);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

describe('the horizon of a snapshot', () => {
  test('lasts while a transaction is open that has not written yet, and ends with its commit', async () => {
    await using world = await start();
    const writer = await world.session();
    await writer.query('BEGIN');
    await writer.query('SELECT now()');
    const horizon = await world.horizon();
    expect(await world.remains(horizon)).toBeDefined();
    await writer.query('INSERT INTO t VALUES (1)');
    expect(await world.remains(horizon)).toBeDefined();
    await writer.query('COMMIT');
    expect(await world.remains(horizon)).toBeUndefined();
  });

  test('does not wait for those who came later', async () => {
    await using world = await start();
    const early = await world.session();
    const late = await world.session();
    await early.query('BEGIN');
    await early.query('INSERT INTO t VALUES (1)');
    const horizon = await world.horizon();
    await late.query('BEGIN');
    await late.query('INSERT INTO t VALUES (2)');
    await early.query('ROLLBACK');
    expect(await world.remains(horizon)).toBeUndefined();
    await late.query('ROLLBACK');
  });

  test('waits for a transaction that is prepared, before or after', async () => {
    await using world = await start();
    const writer = await world.session();
    await writer.query("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'before'");
    const open = await world.session();
    await open.query('BEGIN');
    const horizon = await world.horizon();
    await open.query("INSERT INTO t VALUES (2); PREPARE TRANSACTION 'after'");
    let left = await world.remains(horizon);
    expect(left).toBeDefined();
    await writer.query("COMMIT PREPARED 'before'");
    left = await world.remains(left);
    expect(left).toBeDefined();
    await writer.query("BEGIN; INSERT INTO t VALUES (3); PREPARE TRANSACTION 'later'");
    await open.query("COMMIT PREPARED 'after'");
    expect(await world.remains(left)).toBeUndefined();
    await writer.query("ROLLBACK PREPARED 'later'");
  });

  test('looks past other databases, past itself and past a vacuum', async () => {
    await using world = await start();
    const elsewhere = await session(await server.database());
    await elsewhere.query('BEGIN');
    await elsewhere.query('SELECT now()');
    await using _reading = await world.dataSource.snapshot(forever());
    // A table that a reader holds lets VACUUM wait in its truncation; the sleeping cost delay keeps it under way in any case.
    const vacuum = await world.session();
    await vacuum.query('INSERT INTO t SELECT generate_series(10, 40000)');
    await vacuum.query('DELETE FROM t WHERE id % 2 = 0');
    await vacuum.query('SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1');
    const vacuuming = vacuum.query('VACUUM t').catch(() => undefined);
    const watcher = await world.session();
    for (let seen = 0; seen === 0; ) {
      seen = (await watcher.query('SELECT FROM pg_stat_progress_vacuum')).rowCount ?? 0;
    }
    const { virtual } = JSON.parse((await world.horizon()) ?? '{}') as { virtual: string[] };
    // The one reader above, which nobody can tell from a writer.
    expect(virtual.length).toBe(1);
    expect((await watcher.query('SELECT FROM pg_stat_progress_vacuum')).rowCount).toBe(1);
    await watcher.query('SELECT pg_cancel_backend(pid) FROM pg_stat_progress_vacuum');
    await vacuuming;
    await elsewhere.query('COMMIT');
    await elsewhere.end();
  });

  test('is seen by a user without any right beyond the table', async () => {
    await using world = await start();
    const writer = await world.session();
    await writer.query('CREATE ROLE plain LOGIN; GRANT SELECT ON t TO plain');
    const plain = openPostgres({ ...world.config, user: 'plain' });
    await writer.query('BEGIN');
    await using snapshot = await plain.snapshot(forever());
    const horizon = await snapshot.cursor?.horizon();
    expect(await snapshot.cursor?.identity({ name: 't' })).toMatch(/^\d+\/1\/\d+\/\d+$/);
    expect(await plain.remainsOpen?.(horizon ?? '')).toBeDefined();
    await writer.query('COMMIT');
    expect(await plain.remainsOpen?.(horizon ?? '')).toBeUndefined();
    await plain.close();
  });

  test('is unknown to a user who may not read the locks, and the check warns of it', async () => {
    await using world = await start();
    const admin = await world.session();
    await admin.query('CREATE ROLE blind LOGIN; GRANT SELECT ON t TO blind');
    await admin.query('REVOKE SELECT ON pg_locks FROM public');
    const blind = openPostgres({ ...world.config, user: 'blind' });
    await using snapshot = await blind.snapshot(forever());
    expect(await snapshot.cursor?.horizon()).toBeUndefined();
    // The refused right has not broken the snapshot.
    expect(await snapshot.cursor?.nowMs()).toBeGreaterThan(0);
    const codes = async (source: DataSource) =>
      (await source.checkSource([{ table: 't', ref: { name: 't' }, cursor: 'id' }])).map(({ code }) => code);
    expect(await codes(blind)).toEqual(['CURSOR_HORIZON_UNPROVEN']);
    expect(await codes(world.dataSource)).toEqual([]);
    await blind.close();
  });

  test('ends with a restart of the server, but for what was prepared', async () => {
    await using world = await start();
    const writer = await world.session();
    await writer.query("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'kept'");
    await writer.query('BEGIN; INSERT INTO t VALUES (2)');
    const horizon = await world.horizon();
    await server.restart();
    const left = await world.remains(horizon);
    expect(JSON.parse(left ?? '{}')).toMatchObject({ virtual: [] });
    const admin = await world.session();
    await admin.query("COMMIT PREPARED 'kept'");
    expect(await world.remains(left)).toBeUndefined();
  });
});

test('a table that was made anew has another identity, and a sequence that hands out numbers ahead is named', async () => {
  await using world = await start();
  const admin = await world.session();
  const identity = async () => {
    await using snapshot = await world.dataSource.snapshot(forever());
    return await snapshot.cursor?.identity({ name: 't' });
  };
  const before = await identity();
  await admin.query('DROP TABLE t; CREATE SEQUENCE ahead CACHE 20');
  await admin.query("CREATE TABLE t (id bigint NOT NULL PRIMARY KEY DEFAULT nextval('ahead'))");
  expect(await identity()).not.toBe(before);
  const problems = await world.dataSource.checkSource([{ table: 't', ref: { name: 't' }, cursor: 'id' }]);
  expect(problems.map(({ code, warning }) => [code, warning])).toEqual([['CURSOR_SEQUENCE_CACHED', true]]);
});

test('numbers without an end are passed over', async () => {
  await using world = await start();
  const admin = await world.session();
  await admin.query(
    "CREATE TABLE n (id int PRIMARY KEY, x numeric); INSERT INTO n VALUES (1, 5), (2, 'NaN'), (3, 'Infinity')",
  );
  await admin.query("CREATE TABLE d (id int PRIMARY KEY, x date); INSERT INTO d VALUES (1, '-infinity')");
  await using snapshot = await world.dataSource.snapshot(forever());
  const decimal = { type: 'decimal' } as const;
  const date = { type: 'date' } as const;
  expect(await snapshot.cursor?.highest({ ref: { name: 'n' }, column: 'x', type: decimal }, undefined)).toBe('5');
  expect(await snapshot.cursor?.highest({ ref: { name: 'd' }, column: 'x', type: date }, undefined)).toBeUndefined();
});

interface World extends AsyncDisposable {
  readonly config: PostgresConfig;
  readonly dataSource: DataSource;
  session(): Promise<Client>;
  /** Of a snapshot that is over when this returns. */
  horizon(): Promise<string | undefined>;
  remains(horizon: string | undefined): Promise<string | undefined>;
}

async function start(): Promise<World> {
  const config = await server.database();
  const dataSource = openPostgres(config);
  const sessions: Client[] = [];
  const world: World = {
    config,
    dataSource,
    async session() {
      const client = await session(config);
      sessions.push(client);
      return client;
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
      for (const client of sessions) await client.end().catch(() => undefined);
    },
  };
  await (await world.session()).query('CREATE TABLE t (id bigint PRIMARY KEY)');
  return world;
}

async function session(config: PostgresConfig): Promise<Client> {
  const client = new Client(config);
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

function forever() {
  return { signal: new AbortController().signal, maxMs: 60_000 };
}
