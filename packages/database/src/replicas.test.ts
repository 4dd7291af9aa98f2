import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { silentLog, supervise, systemClock } from '@qiao/runtime';
import { sql } from 'kysely';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { joinReplicas, type Migration, openDatabase, type Replicas } from './index.ts';

const STEPS: readonly Migration[] = [
  { id: '0001-counter', sql: 'CREATE TABLE counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL) STRICT' },
  { id: '0002-first', sql: 'INSERT INTO counter (id, value) VALUES (1, 0)' },
];

interface Schema {
  counter: { id: number; value: number };
}

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server[Symbol.asyncDispose]());

async function freshUrl(): Promise<string> {
  const { host, port, database, user } = await server.database();
  return `postgres://${user}@${host}:${port}/${database}`;
}

const join = (url: string, name: string) => joinReplicas({ url }, { name, log: silentLog(), namePatienceMs: 300 });

/** Runs the parts of some replicas until it is disposed. */
function running(...replicas: Replicas[]): AsyncDisposable {
  const stop = new AbortController();
  const parts = supervise(
    replicas.map(({ part }) => part),
    { signal: stop.signal, clock: systemClock, log: silentLog() },
  );
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await Promise.all(replicas.map((one) => one.close()));
      await parts;
    },
  };
}

function leads(replica: Replicas): Promise<void> {
  if (replica.isLeader) return Promise.resolve();
  return new Promise((resolve) => {
    const forget = replica.onLeader((isLeader) => {
      if (!isLeader) return;
      forget();
      resolve();
    });
  });
}

test('replicas that start together carry out each step once', async () => {
  const url = await freshUrl();
  const stores = await Promise.all([1, 2, 3, 4].map(() => openDatabase<Schema>(url, STEPS)));
  const [first] = stores;
  expect(await first?.selectFrom('counter').selectAll().execute()).toEqual([{ id: 1, value: 0 }]);
  await Promise.all(stores.map((store) => store.destroy()));
});

test('what is read, decided and written in one transaction is never lost to another replica', async () => {
  const url = await freshUrl();
  const stores = await Promise.all([1, 2].map(() => openDatabase<Schema>(url, STEPS)));
  await Promise.all(
    Array.from({ length: 40 }, async (_none, index) =>
      stores[index % 2]?.transaction().execute(async (store) => {
        const { value } = await store.selectFrom('counter').select('value').executeTakeFirstOrThrow();
        await store
          .updateTable('counter')
          .set({ value: value + 1 })
          .execute();
      }),
    ),
  );
  expect(await stores[0]?.selectFrom('counter').select('value').executeTakeFirst()).toEqual({ value: 40 });
  await Promise.all(stores.map((store) => store.destroy()));
});

test('a read-only transaction sees one moment and waits for nobody', async () => {
  const url = await freshUrl();
  const store = await openDatabase<Schema>(url, STEPS);
  const writing = Promise.withResolvers<void>();
  const isIn = Promise.withResolvers<void>();
  const writer = store.transaction().execute(async (inside) => {
    await inside.updateTable('counter').set({ value: 5 }).execute();
    isIn.resolve();
    await writing.promise;
  });
  await isIn.promise;
  const seen = await store
    .transaction()
    .setAccessMode('read only')
    .execute(async (view) => {
      const before = await view.selectFrom('counter').select('value').executeTakeFirst();
      writing.resolve();
      await writer;
      return [before, await view.selectFrom('counter').select('value').executeTakeFirst()];
    });
  expect(seen).toEqual([{ value: 0 }, { value: 0 }]);
  await store.destroy();
});

test('a text with U+0000, which PostgreSQL cannot hold, is kept with a sign in its place', async () => {
  const store = await openDatabase<Schema>(await freshUrl(), STEPS);
  const { rows } = await sql<{
    text: string;
    replica: string;
  }>`SELECT ${'a\0b'}::text AS text, qiao_replica() AS replica`.execute(store);
  expect(rows).toEqual([{ text: 'a\uFFFDb', replica: 'hub' }]);
  await store.destroy();
});

test('one replica leads; when its connection ends another does', async () => {
  const url = await freshUrl();
  const leader = await join(url, 'one');
  const other = await join(url, 'two');
  // Only the other has a supervisor: the leader is a process that does not come back.
  await using _running = running(other);
  expect([leader.isLeader, other.isLeader]).toEqual([true, false]);
  await endSession(url, 'one');
  await leads(other);
  expect(leader.isLeader).toBe(false);
});

test('all lose the lead when the server restarts, and one takes it again', async () => {
  const url = await freshUrl();
  const [one, two] = await Promise.all([join(url, 'one'), join(url, 'two')]);
  await using _running = running(one, two);
  await server.restart();
  await Promise.race([leads(one), leads(two)]);
  expect([one.isLeader, two.isLeader].filter(Boolean)).toHaveLength(1);
});

test('what one replica announces the others hear, and itself not', async () => {
  const url = await freshUrl();
  const [one, two] = await Promise.all([join(url, 'one'), join(url, 'two')]);
  await using _running = running(one, two);
  let own = 0;
  one.onNews(() => {
    own += 1;
  });
  const heard = new Promise<void>((resolve) => two.onNews(resolve));
  one.announce();
  await heard;
  expect(own).toBe(0);
});

test('a second replica of the same name is refused once the first had time to be gone', async () => {
  const url = await freshUrl();
  const one = await join(url, 'one');
  await using _running = running(one);
  await expect(join(url, 'one')).rejects.toMatchObject({ code: 'REPLICA_NAME_TAKEN' });
});

test('work that excludes itself runs one replica after the other', async () => {
  const url = await freshUrl();
  const [one, two] = await Promise.all([join(url, 'one'), join(url, 'two')]);
  await using _running = running(one, two);
  let inside = 0;
  let most = 0;
  const work = async () => {
    inside += 1;
    most = Math.max(most, inside);
    await new Promise((resolve) => setImmediate(resolve));
    inside -= 1;
  };
  await Promise.all([one.exclusively(work), two.exclusively(work), one.exclusively(work)]);
  expect(most).toBe(1);
});

test('a file has one program, which leads', async () => {
  const alone = await join('hub.db', 'hub');
  expect([alone.isLeader, alone.areSeveral]).toEqual([true, false]);
});

/** What happens to the leader's connection when its process dies. */
async function endSession(url: string, name: string): Promise<void> {
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1', [
    `qiao ${name}`,
  ]);
  await admin.end();
}

test('a connection that breaks in a transaction between two statements ends the transaction, not the process', async () => {
  const url = await freshUrl();
  const store = await openDatabase<Schema>(url, STEPS);
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  const work = store.transaction().execute(async (transaction) => {
    const { rows } = await sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`.execute(transaction);
    await other.query('SELECT pg_terminate_backend($1, 10000)', [rows[0]?.pid]);
    // Its last words arrive while nothing is asked: before the answers to these.
    for (const _turn of [1, 2, 3]) await other.query('SELECT 1');
    await transaction.selectFrom('counter').selectAll().execute();
  });
  await expect(work).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
  expect(await store.selectFrom('counter').selectAll().execute()).toEqual([{ id: 1, value: 0 }]);
  await other.end();
  await store.destroy();
});
