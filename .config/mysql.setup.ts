// One MariaDB for all tests that need one; each test makes a database of its own there. QIAO_TEST_MYSQL names another server.

import { BINLOG, startMysql } from '@qiao/adapters/mysql-testing';

export default async function setup(): Promise<() => Promise<void>> {
  const server = await startMysql([...BINLOG]);
  process.env.QIAO_TEST_MYSQL = server.url;
  return () => server[Symbol.asyncDispose]();
}
