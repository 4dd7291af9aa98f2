// A store on a real PostgreSQL is copied while it is written, and comes back as it was, sequences too.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copyServerStore, type Migration, openDatabase, passwordFile, placeServerStore } from './index.ts';

/** A child made before its parent's turn in the alphabet, rows that a step wrote, a trigger that refuses deletion, each type. */
const STEPS: readonly Migration[] = [
  {
    id: '0001-first',
    sql: `CREATE TABLE parent (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE child (parent_id INTEGER NOT NULL REFERENCES parent (id), bytes BLOB, share REAL, note TEXT) STRICT;
CREATE TRIGGER parent_stays BEFORE DELETE ON parent BEGIN SELECT RAISE(ABORT, 'parents stay'); END;`,
  },
  { id: '0002-row', sql: "INSERT INTO parent (title) VALUES ('written by a step')" },
];

interface Schema {
  parent: { id: number; title: string };
  child: { parent_id: number; bytes: Uint8Array | null; share: number | null; note: string | null };
}

let folder: string;
let server: PostgresServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-copy-'));
  server = await startPostgres();
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await server[Symbol.asyncDispose]();
});

async function freshUrl(): Promise<string> {
  const { host, port, database, user } = await server.database();
  return `postgres://${user}@${host}:${port}/${database}`;
}

const open = (url: string, steps = STEPS) => openDatabase<Schema>(url, steps);
const code = (value: string) => expect.objectContaining({ code: value });

async function everything(url: string) {
  const store = await open(url);
  try {
    const ledger = (await sql`SELECT * FROM qiao_migrations ORDER BY position`.execute(store)).rows;
    const parents = await store.selectFrom('parent').selectAll().orderBy('id').execute();
    const children = await store.selectFrom('child').selectAll().orderBy('parent_id').orderBy('note').execute();
    return { ledger, parents, children };
  } finally {
    await store.destroy();
  }
}

async function filled(): Promise<string> {
  const url = await freshUrl();
  const store = await open(url);
  await store
    .insertInto('parent')
    .values([
      { id: 40, title: 'a\tb\\N\n\\.\n' },
      { id: 41, title: '' },
    ])
    .execute();
  for (const title of ['共享', 'gone']) await sql`INSERT INTO parent (title) VALUES (${title})`.execute(store);
  await store
    .insertInto('child')
    .values([
      { parent_id: 40, bytes: Uint8Array.of(0, 92, 255), share: 0.1 + 0.2, note: '\\N' },
      { parent_id: 41, bytes: null, share: 5e-324, note: null },
    ])
    .execute();
  await store.destroy();
  return url;
}

test('a copy put into an empty database holds the same rows, keeps refusing what was refused, and its next number is the next one', async () => {
  const [from, url, copy] = [await filled(), await freshUrl(), join(folder, 'same')];
  await copyServerStore({ url: from }, copy);
  expect(readdirSync(copy).sort()).toEqual(['child', 'parent', 'qiao_migrations', 'store.json']);
  await placeServerStore(copy, { url }, STEPS);
  expect(readdirSync(folder)).not.toContain('same');
  expect(await everything(url)).toEqual(await everything(from));
  const store = await open(url);
  await expect(sql`DELETE FROM parent`.execute(store)).rejects.toThrow('parents stay');
  await expect(sql`INSERT INTO child (parent_id) VALUES (7)`.execute(store)).rejects.toThrow(/foreign key/);
  const next = await sql<{ id: number }>`INSERT INTO parent (title) VALUES ('next') RETURNING id`.execute(store);
  expect(next.rows).toEqual([{ id: 4 }]);
  await store.destroy();
});

test('what is written while a copy is made is in it whole or not at all', async () => {
  const [from, url, copy] = [await filled(), await freshUrl(), join(folder, 'live')];
  const store = await open(from);
  const stop = new AbortController();
  const writing = (async () => {
    for (let id = 1_000; !stop.signal.aborted; id += 1) {
      await store.transaction().execute(async (transaction) => {
        await transaction
          .insertInto('parent')
          .values({ id, title: `parent ${id}` })
          .execute();
        await transaction.insertInto('child').values({ parent_id: id, bytes: null, share: null, note: null }).execute();
      });
    }
  })();
  await copyServerStore({ url: from }, copy);
  stop.abort();
  await writing;
  await store.destroy();
  await placeServerStore(copy, { url }, STEPS);
  const { parents, children } = await everything(url);
  const written = (ids: number[]) => ids.filter((id) => id >= 1_000);
  expect(written(children.map((one) => one.parent_id))).toEqual(written(parents.map(({ id }) => id)));
});

test('a copy never goes over what is there, nor under a program that does not know its steps, and leaves nothing of a try that failed', async () => {
  const [from, url, copy] = [await filled(), await freshUrl(), join(folder, 'kept')];
  await copyServerStore({ url: from }, copy);
  await expect(placeServerStore(copy, { url: from }, STEPS)).rejects.toThrow(code('DATABASE_NOT_EMPTY'));
  await expect(placeServerStore(copy, { url }, STEPS.slice(0, 1))).rejects.toThrow(code('DATABASE_NEWER'));
  const [first, second] = STEPS as [Migration, Migration];
  const edited = [first, { ...second, sql: "INSERT INTO parent (title) VALUES ('another')" }];
  await expect(placeServerStore(copy, { url }, edited)).rejects.toThrow(code('MIGRATION_EDITED'));
  rmSync(join(copy, 'child'));
  await expect(placeServerStore(copy, { url }, STEPS)).rejects.toThrow(/ENOENT/);
  await expect(placeServerStore(join(folder, 'none'), { url }, STEPS)).rejects.toThrow(code('STORE_MISSING'));
  const later: Migration = { id: '0003-later', sql: 'ALTER TABLE child ADD COLUMN colour TEXT' };
  const whole = join(folder, 'whole');
  await copyServerStore({ url: from }, whole);
  await placeServerStore(whole, { url }, [...STEPS, later]);
  const store = await open(url, [...STEPS, later]);
  expect(await store.selectFrom('child').selectAll().execute()).toHaveLength(2);
  await store.destroy();
});

test('the file of a password goes along when it lies in the program’s directory, and only then', () => {
  const of = (file: string) => passwordFile('/var/lib/qiao-hub', { databasePassword: { file } });
  const inside = { name: 'database.password', file: '/var/lib/qiao-hub/database.password' };
  expect(of('database.password')).toEqual([inside]);
  expect(of(inside.file)).toEqual([inside]);
  for (const file of ['/etc/qiao/password', '../password', 'deeper/password']) expect(of(file)).toEqual([]);
  expect(passwordFile('/var/lib/qiao-hub', { databasePassword: { env: 'PASSWORD' } })).toEqual([]);
});
