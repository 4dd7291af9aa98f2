/** The command against a MariaDB over TCP, as an account with a password that may do everything in one database, and nothing else. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectMysql, type MysqlServer, startMysql } from '../mysql/server.testing.ts';
import { contractCommand } from './command.testing.ts';

const PASSWORD = 'hunter2';
let server: MysqlServer;

beforeAll(async () => {
  server = await startMysql();
  await using owner = connectMysql(server.url, 'mysql');
  await owner.query(`DROP USER IF EXISTS 'kin'@'%'; CREATE USER 'kin'@'%' IDENTIFIED BY '${PASSWORD}'; GRANT ALL PRIVILEGES ON \`suite\`.* TO 'kin'@'%';
    GRANT ALL PRIVILEGES ON \`taken\`.* TO 'kin'@'%'`);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const url = () => `mariadb://kin@127.0.0.1:${new URL(server.url).port}`;

test('the suite is run in a database of its own, and the report says what was not tried', async () => {
  const tests = 'a key that only|what was rolled back, to a savepoint|the horizon|the check names a column';
  const { status, output } = await contractCommand(['--url', url(), '--name', 'suite', '--test', tests], PASSWORD);
  expect(output).toContain('4 of 4 tests passed');
  expect(output).toMatch(/\| reading by keys \| 1 \| 0 \|/);
  expect(output).toMatch(/- capture: log: LOG_RIGHTS: the account 'kin'@'%' may not read the binary log/);
  expect(output).toMatch(/- an account that may only read: there is no account/);
  expect(output).toMatch(/- the wait of capture: cursor for open transactions: CURSOR_HORIZON_UNPROVEN/);
  expect(output).not.toContain(PASSWORD);
  expect(status).toBe(0);
  await using owner = connectMysql(server.url, 'mysql');
  expect(await owner.query("SHOW DATABASES LIKE 'suite'")).toEqual([]);
});

test('a database of that name is somebody’s: it is left as it is', async () => {
  await using owner = connectMysql(server.url, 'mysql');
  await owner.query('CREATE DATABASE taken; CREATE TABLE taken.precious (id bigint)');
  const { status, output } = await contractCommand(['--url', url(), '--name', 'taken'], PASSWORD);
  await owner.query('DROP DATABASE taken');
  expect(output).toMatch(/^CONTRACT_NAME_TAKEN found database taken; expected none of this name/);
  expect(status).toBe(2);
});
