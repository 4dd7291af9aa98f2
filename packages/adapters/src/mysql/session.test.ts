/** What one connection makes of the answers of its server. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RowError } from './errno.ts';
import { type MysqlServer, startMysql } from './server.testing.ts';
import { openSession } from './session.ts';

let server: MysqlServer;
beforeAll(async () => {
  server = await startMysql();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

test('what the server calls deprecated alters no value', async () => {
  const config = await server.database();
  const limits = { statementMs: 10_000, lockMs: 10_000, idleMs: 10_000 };
  const session = await openSession(config, { side: 'TARGET', purpose: 'test', limits });
  // MySQL and MariaDB regret different ones.
  await session.store(server.isMariaDb ? 'SET SESSION big_tables = 0' : "SET @old = BINARY 'a'");
  expect(await session.rows('SHOW WARNINGS')).toEqual([['Warning', '1287', expect.any(String)]]);
  await session.run('CREATE TABLE t (x decimal(3,1))');
  await expect(session.store('INSERT INTO t VALUES (1.55)')).rejects.toBeInstanceOf(RowError);
  await session.close();
});
