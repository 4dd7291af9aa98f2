import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import { sql } from 'kysely';
import { afterEach, expect, test } from 'vitest';
import { type DatabaseTarget, type Migration, openDatabase } from './index.ts';
import { isPostgresRun, testStore } from './store.testing.ts';

const FIRST: Migration = {
  id: '0001-first',
  sql: 'CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT',
};
const SECOND: Migration = { id: '0002-colour', sql: 'ALTER TABLE thing ADD COLUMN colour TEXT' };
const CHILD: Migration = {
  id: '0002-part',
  sql: 'CREATE TABLE part (thing_id INTEGER NOT NULL REFERENCES thing (id)) STRICT',
};
const BREAKING: Migration = { id: '0003-renamed', sql: 'ALTER TABLE thing RENAME TO item', breaking: true };

interface Schema {
  thing: { id: number; name: string; colour: string | null };
}

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function newStore(): Promise<DatabaseTarget> {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-database-'));
  folders.push(folder);
  return testStore(join(folder, 'store.db'));
}

async function open(store: DatabaseTarget | string, migrations: readonly Migration[]) {
  return openDatabase<Schema>(store, migrations);
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return error instanceof QiaoError ? error.code : String(error);
}

test('a store keeps its rows over a restart and takes only the steps it lacks', async () => {
  const store = await newStore();
  const before = await open(store, [FIRST]);
  await sql`INSERT INTO thing (id, name) VALUES (1, 'a')`.execute(before);
  await before.destroy();
  const after = await open(store, [FIRST, SECOND]);
  expect(await after.selectFrom('thing').selectAll().execute()).toEqual([{ id: 1, name: 'a', colour: null }]);
  await after.destroy();
});

test('commits are durable before they are answered, and foreign keys hold', async () => {
  const database = await open(await newStore(), [FIRST, CHILD]);
  await expect(sql`INSERT INTO part (thing_id) VALUES (7)`.execute(database)).rejects.toThrow(/foreign key/i);
  const setting = async (name: string) =>
    String(Object.values((await sql.raw(name).execute(database)).rows[0] as object)[0]);
  const found = isPostgresRun
    ? [await setting('SHOW synchronous_commit')]
    : [await setting('PRAGMA journal_mode'), await setting('PRAGMA synchronous'), await setting('PRAGMA busy_timeout')];
  expect(found).toEqual(isPostgresRun ? ['on'] : ['wal', '2', '5000']);
  await database.destroy();
});

test('a file with a breaking step of a newer program is refused, one with a harmless step is opened', async () => {
  const store = await newStore();
  await (await open(store, [FIRST, SECOND])).destroy();
  await (await open(store, [FIRST])).destroy();
  await (await open(store, [FIRST, SECOND, BREAKING])).destroy();
  expect(await codeOf(open(store, [FIRST, SECOND]))).toBe('DATABASE_NEWER');
});

test('a step that was applied may not be edited afterwards', async () => {
  const store = await newStore();
  await (await open(store, [FIRST])).destroy();
  expect(await codeOf(open(store, [{ ...FIRST, sql: `${FIRST.sql} -- changed` }]))).toBe('MIGRATION_EDITED');
});

test('a step that fails leaves nothing of itself behind', async () => {
  const store = await newStore();
  const broken: Migration = {
    id: '0002-broken',
    sql: 'CREATE TABLE half (id INTEGER) STRICT; CREATE TABLE half (id INTEGER) STRICT',
  };
  expect(await codeOf(open(store, [FIRST, broken]))).toBe('MIGRATION_FAILED');
  const database = await open(store, [FIRST, SECOND]);
  const tables = await database.introspection.getTables();
  expect(tables.map(({ name }) => name)).not.toContain('half');
  await database.destroy();
});

test('two transactions at once run one after the other, and a failed one takes nothing of the other with it', async () => {
  const database = await open(await newStore(), [FIRST, SECOND]);
  const failing = database.transaction().execute(async (step) => {
    await step.insertInto('thing').values({ id: 1, name: 'lost', colour: null }).execute();
    await new Promise((resolve) => setImmediate(resolve));
    throw new Error('on purpose');
  });
  const working = database.insertInto('thing').values({ id: 2, name: 'kept', colour: null }).execute();
  await expect(failing).rejects.toThrow('on purpose');
  await working;
  expect(await database.selectFrom('thing').select('name').execute()).toEqual([{ name: 'kept' }]);
  await database.destroy();
});

test.each([
  ['mysql://u@db/hub', 'DATABASE_UNSUPPORTED'],
  ['postgres://u:geheim@db/hub', 'DATABASE_URL_INVALID'],
  ['postgres://db/hub', 'DATABASE_URL_INVALID'],
  ['postgres://u@db', 'DATABASE_URL_INVALID'],
  ['postgres://u@db/hub?sslmode=maybe', 'DATABASE_URL_INVALID'],
  ['postgres://u@db/hub?host=other', 'DATABASE_URL_INVALID'],
] as const)('a URL that cannot be used is refused in words: %s', async (url, code) => {
  const error: unknown = await open(url, [FIRST]).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code });
  expect(JSON.stringify(error) + String((error as Error).stack)).not.toContain('geheim');
});

test('a server that does not answer is said to be away, and may be back', async () => {
  const error: unknown = await open('postgres://u@127.0.0.1:1/hub', [FIRST]).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: 'DATABASE_UNAVAILABLE', fate: 'transient' });
});
