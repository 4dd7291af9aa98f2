import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import { sql } from 'kysely';
import { afterEach, expect, test } from 'vitest';
import { type Migration, openDatabase } from './index.ts';

const FIRST: Migration = {
  id: '0001-first',
  sql: 'CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT',
};
const SECOND: Migration = { id: '0002-colour', sql: 'ALTER TABLE thing ADD COLUMN colour TEXT' };
const BREAKING: Migration = { id: '0003-renamed', sql: 'ALTER TABLE thing RENAME TO item', breaking: true };

interface Schema {
  thing: { id: number; name: string; colour: string | null };
}

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function newFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-database-'));
  folders.push(folder);
  return join(folder, 'store.db');
}

async function open(file: string, migrations: readonly Migration[]) {
  return openDatabase<Schema>(file, migrations);
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return error instanceof QiaoError ? error.code : String(error);
}

test('a store keeps its rows over a restart and takes only the steps it lacks', async () => {
  const file = newFile();
  const before = await open(file, [FIRST]);
  await sql`INSERT INTO thing (id, name) VALUES (1, 'a')`.execute(before);
  await before.destroy();
  const after = await open(file, [FIRST, SECOND]);
  expect(await after.selectFrom('thing').selectAll().execute()).toEqual([{ id: 1, name: 'a', colour: null }]);
  await after.destroy();
});

test('commits are durable before they are answered, and foreign keys hold', async () => {
  const database = await open(newFile(), [FIRST]);
  const pragma = async (name: string) =>
    Object.values((await sql.raw(`PRAGMA ${name}`).execute(database)).rows[0] as object)[0];
  expect([await pragma('journal_mode'), await pragma('synchronous'), await pragma('foreign_keys')]).toEqual([
    'wal',
    2,
    1,
  ]);
  expect(await pragma('busy_timeout')).toBe(5_000);
  await database.destroy();
});

test('a file with a breaking step of a newer program is refused, one with a harmless step is opened', async () => {
  const file = newFile();
  await (await open(file, [FIRST, SECOND])).destroy();
  await (await open(file, [FIRST])).destroy();
  await (await open(file, [FIRST, SECOND, BREAKING])).destroy();
  expect(await codeOf(open(file, [FIRST, SECOND]))).toBe('DATABASE_NEWER');
});

test('a step that was applied may not be edited afterwards', async () => {
  const file = newFile();
  await (await open(file, [FIRST])).destroy();
  expect(await codeOf(open(file, [{ ...FIRST, sql: `${FIRST.sql} -- changed` }]))).toBe('MIGRATION_EDITED');
});

test('a step that fails leaves nothing of itself behind', async () => {
  const file = newFile();
  const broken: Migration = {
    id: '0002-broken',
    sql: 'CREATE TABLE half (id INTEGER) STRICT; CREATE TABLE half (id INTEGER) STRICT',
  };
  expect(await codeOf(open(file, [FIRST, broken]))).toBe('MIGRATION_FAILED');
  const database = await open(file, [FIRST, SECOND]);
  const tables = await sql<{ name: string }>`SELECT name FROM sqlite_schema WHERE name = 'half'`.execute(database);
  expect(tables.rows).toEqual([]);
  await database.destroy();
});

test('two transactions at once run one after the other, and a failed one takes nothing of the other with it', async () => {
  const database = await open(newFile(), [FIRST, SECOND]);
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

test('a URL is refused in words until its dialect is built', async () => {
  expect(await codeOf(open('postgres://localhost/hub', [FIRST]))).toBe('DATABASE_UNSUPPORTED');
});
