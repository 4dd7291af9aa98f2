/** What happens to tables while they are followed, and is not in the log. */
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { afterAll, beforeAll, test } from 'vitest';
import { LogWorld } from './logWorld.testing.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres(['wal_level=logical']);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const ROWS = 'SELECT id, name FROM person';

test('a table that takes the name of another is scanned, and followed from then on', async () => {
  const ddl = 'CREATE TABLE person (id int PRIMARY KEY, name text)';
  await using w = await LogWorld.on(server, `${ddl}; INSERT INTO person VALUES (1, 'a')`, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  await w.sql(`ALTER TABLE person RENAME TO old; ${ddl}; INSERT INTO person VALUES (1, 'a'), (2, 'b')`);
  await w.arrived('person', ROWS);
  await w.sql("UPDATE person SET name = 'c' WHERE id = 1");
  await w.arrived('person', ROWS);
});

test('rows that come with a partition arrive', async () => {
  await using w = await LogWorld.on(
    server,
    `CREATE TABLE person (id int PRIMARY KEY, name text) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF person FOR VALUES IN (1);
     INSERT INTO person VALUES (1, 'a'); CREATE TABLE p2 (id int PRIMARY KEY, name text); INSERT INTO p2 VALUES (2, 'b')`,
    { name: 'person' },
  );
  w.start();
  await w.arrived('person', ROWS);
  await w.sql('ALTER TABLE person ATTACH PARTITION p2 FOR VALUES IN (2)');
  await w.arrived('person', ROWS);
});
