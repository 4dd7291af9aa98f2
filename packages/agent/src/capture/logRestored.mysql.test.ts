/** A real MariaDB that was put back, and what its log does not say of a partitioned table. */
import { BINLOG, type MysqlServer, startMysql } from '@qiao/adapters/mysql-testing';
import { afterAll, beforeAll, test } from 'vitest';
import { copyOfFiles, noticesRestores } from './logRestored.testing.ts';
import { LogWorld } from './logWorld.testing.ts';

let server: MysqlServer;
beforeAll(async () => {
  server = await startMysql(BINLOG, { own: true });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

noticesRestores({
  world: (ddl) => LogWorld.onMysql(server, ddl, { name: 'person' }),
  pasts: {
    'whose files were put back': copyOfFiles((between) => server.restart(between)),
    'whose lagging replica took its place': () => server.replica(),
  },
  writtenSince: [1, 400],
});

test.each([
  ['emptied', 'ALTER TABLE person TRUNCATE PARTITION p1'],
  ['dropped', 'ALTER TABLE person DROP PARTITION p1'],
  ['exchanged', 'ALTER TABLE person EXCHANGE PARTITION p1 WITH TABLE other'],
])('rows of a partition that is %s go, and the table is followed from then on', async (_, sql) => {
  await using w = await LogWorld.onMysql(
    server,
    `CREATE TABLE person (id int PRIMARY KEY, name varchar(40)) PARTITION BY RANGE (id) (PARTITION p1 VALUES LESS THAN (10), PARTITION p2 VALUES LESS THAN (100));
     INSERT INTO person VALUES (1, 'a'), (2, 'b'), (50, 'stays'); CREATE TABLE other (id int PRIMARY KEY, name varchar(40)); INSERT INTO other VALUES (3, 'c')`,
    { name: 'person' },
  );
  const rows = 'SELECT id, name FROM person';
  w.start();
  await w.arrived('person', rows);
  await w.sql(sql);
  await w.arrived('person', rows);
  await w.sql("UPDATE person SET name = 'followed' WHERE id = 50");
  await w.arrived('person', rows);
});
