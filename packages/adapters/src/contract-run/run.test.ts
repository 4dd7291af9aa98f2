/** The command against a PostgreSQL over TCP, as an account with a password that owns nothing but what it makes. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { departmentSession, type PostgresServer, startPostgres } from '../postgres/server.testing.ts';
import type { PostgresConfig } from '../postgres/session.ts';
import { contractCommand } from './command.testing.ts';

const PASSWORD = 'hunter2';
let server: PostgresServer;
let owner: PostgresConfig;

beforeAll(async () => {
  server = await startPostgres();
  owner = await server.database();
  await using session = await departmentSession(owner);
  await session.query(`CREATE ROLE kin LOGIN CREATEROLE PASSWORD '${PASSWORD}'`);
  await session.query(`GRANT CREATE ON DATABASE ${owner.database} TO kin`);
  const access = join(server.directory, 'data', 'pg_hba.conf');
  const users = 'kin,suite_reader,taken_reader';
  await writeFile(access, `host all ${users} 127.0.0.1/32 scram-sha-256\n${await readFile(access, 'utf8')}`);
  await session.query('SELECT pg_reload_conf()');
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const url = () => `postgres://kin@127.0.0.1:${server.port}/${owner.database}`;

test('the suite is run in a schema of its own, and the report says what was not tried', async () => {
  const tests = 'a key that only|missing rights|what was rolled back, to a savepoint|the horizon';
  const { status, output } = await contractCommand(['--url', url(), '--name', 'suite', '--test', tests], PASSWORD);
  expect(output).toContain('4 of 4 tests passed');
  expect(output).toMatch(/\| reading by keys \| 1 \| 0 \|/);
  expect(output).toContain('- capture: log: LOG_OFF: found wal_level = replica; expected logical; LOG_RIGHTS');
  expect(output).not.toContain(PASSWORD);
  expect(status).toBe(0);
  await using session = await departmentSession(owner);
  expect(await session.query("SELECT nspname FROM pg_namespace WHERE nspname = 'suite'")).toEqual([]);
  expect(await session.query("SELECT rolname FROM pg_roles WHERE rolname LIKE '%reader'")).toEqual([]);
});

test('a schema of that name is somebody’s: it is left as it is', async () => {
  await using session = await departmentSession(owner);
  await session.query('CREATE SCHEMA taken AUTHORIZATION kin CREATE TABLE precious (id bigint)');
  const { status, output } = await contractCommand(['--url', url(), '--name', 'taken'], PASSWORD);
  expect(output).toMatch(/^CONTRACT_NAME_TAKEN found schema taken; expected nothing of this name/);
  expect(status).toBe(2);
  expect(await session.query('SELECT count(*) FROM taken.precious')).toEqual([['0']]);
});

test('a run that is told to end removes what it has made', async () => {
  const { status, output } = await contractCommand(['--url', url(), '--name', 'suite'], PASSWORD, /✓/);
  expect(output).toContain('CONTRACT_INTERRUPTED SIGTERM');
  expect(status).toBe(2);
  await using session = await departmentSession(owner);
  expect(await session.query("SELECT nspname FROM pg_namespace WHERE nspname = 'suite'")).toEqual([]);
  expect(await session.query("SELECT rolname FROM pg_roles WHERE rolname LIKE '%reader'")).toEqual([]);
});

test('a password that is wrong is said and not repeated', async () => {
  const { status, output } = await contractCommand(['--url', url()], 'a wrong one');
  expect(output).toMatch(/password authentication failed/);
  expect(output).not.toContain('a wrong one');
  expect(status).toBe(2);
});
