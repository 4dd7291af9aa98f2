/** Late commits on a real MariaDB: InnoDB’s list of transactions and the list of processes name whoever is open. */
import { connectMysql, type MysqlServer, startMysql } from '@qiao/adapters/mysql-testing';
import { afterAll, beforeAll } from 'vitest';
import { lateCommits } from './cursorLate.suite.ts';

let server: MysqlServer;
beforeAll(async () => {
  server = await startMysql();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

lateCommits({
  async database() {
    const config = await server.database();
    await using admin = connectMysql(server.url, config.database);
    await admin.query(`GRANT PROCESS ON *.* TO '${config.user}'@'%'`);
    return config;
  },
  async connect(config) {
    const writer = connectMysql(server.url, 'database' in config ? config.database : '');
    // Rows of others are not locked by a look at them.
    await writer.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET time_zone = '+00:00'");
    return writer;
  },
  tables: `CREATE TABLE entry (no bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, text text);
    CREATE TABLE person (id varchar(40) PRIMARY KEY, text text, at datetime(6) NOT NULL DEFAULT now(6), KEY (at))`,
  showTimes: "TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM at))",
  begin: (name) => `XA START '${name}'`,
  takeTime: 'SELECT now(6) FROM person LIMIT 1',
  takeNumber: undefined,
  now: ['now(6)', 'sysdate(6)'],
  commit: (name) => `XA END '${name}'; XA COMMIT '${name}' ONE PHASE`,
  rollback: (name) => `XA END '${name}'; XA ROLLBACK '${name}'`,
  prepare: (name) => `XA END '${name}'; XA PREPARE '${name}'`,
  commitPrepared: (name) => `XA COMMIT '${name}'`,
});
