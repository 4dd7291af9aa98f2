/** What the check of MySQL and MariaDB finds beyond the common contract. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { integer, mirror, text } from '../contract-suite/fixture.ts';
import { openMysql } from './dataSource.ts';
import { connectMysql, type MysqlServer, startMysql } from './server.testing.ts';

let server: MysqlServer;
beforeAll(async () => {
  server = await startMysql();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const TABLE = mirror('t', [
  { name: 'id', type: integer },
  { name: 'x', type: text },
]);

test('triggers are seen by an account that may only write rows', async () => {
  const config = await server.database();
  await using department = connectMysql(server.url, config.database);
  const user = `w_${config.user}`;
  await department.query(
    `CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x longtext);
     CREATE TRIGGER changes BEFORE INSERT ON t FOR EACH ROW SET NEW.x = 'other';
     DROP USER IF EXISTS '${user}'@'%'; CREATE USER '${user}'@'%' IDENTIFIED BY 'secret';
     GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE TEMPORARY TABLES ON ${config.database}.* TO '${user}'@'%'`,
  );
  const dataSource = openMysql({ ...config, user });
  const problems = await dataSource.checkTarget([TABLE], new Map());
  await dataSource.close();
  expect(problems.map(({ code }) => code)).toEqual(['TARGET_TRIGGER']);
});
