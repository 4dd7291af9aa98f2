/** A real PostgreSQL that was put back, and slots that others took away. */
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copyOfFiles, noticesRestores } from './logRestored.testing.ts';
import { LOG_NAME, LogWorld } from './logWorld.testing.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres(['wal_level=logical', 'wal_keep_size=0', 'max_wal_size=64MB', 'min_wal_size=32MB']);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const PERSON = "CREATE TABLE person (id int PRIMARY KEY, name text); INSERT INTO person VALUES (1, 'a'), (2, 'b')";
const ROWS = 'SELECT id, name FROM person';

noticesRestores({
  world: (ddl) => LogWorld.on(server, ddl, { name: 'person' }),
  pasts: {
    'whose files were put back': copyOfFiles((between) => server.restart(between)),
    'whose lagging standby was promoted': () => server.standby(),
  },
  writtenSince: [1, 60],
});

test('a slot that somebody dropped and made again under the same name is a gap', async () => {
  await using w = await LogWorld.on(server, PERSON, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  await w.stop();
  await w.until(
    'nobody reads it',
    async () => (await w.sql('SELECT FROM pg_replication_slots WHERE active')).length === 0,
  );
  await w.sql(`SELECT pg_drop_replication_slot('${LOG_NAME}')`);
  await w.sql("UPDATE person SET name = 'unseen' WHERE id = 1; DELETE FROM person WHERE id = 2");
  await w.sql(`SELECT pg_create_logical_replication_slot('${LOG_NAME}', 'pgoutput')`);
  w.start();
  await w.until('the gap is told', () => w.trouble === 'LOG_GAP');
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
});

test('a promoted standby on which somebody made the slot at once is a gap', async () => {
  await using w = await LogWorld.on(server, PERSON, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  const promote = await server.standby();
  await w.sql("UPDATE person SET name = 'lost with the server' WHERE id = 1");
  await w.arrived('person', ROWS);
  await w.stop();
  await promote();
  await w.reconnect();
  await w.sql(`SELECT pg_create_logical_replication_slot('${LOG_NAME}', 'pgoutput')`);
  await w.sql('DELETE FROM person WHERE id = 2');
  w.start();
  await w.until('the gap is told', () => w.trouble === 'LOG_GAP');
  await w.arrived('person', ROWS);
  await w.sql("UPDATE person SET name = 'followed' WHERE id = 1");
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
});

test('a slot that the server gave up (max_slot_wal_keep_size) is made anew, and is a gap', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; CREATE TABLE other (x text)`, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  await w.stop();
  await w.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
  await w.sql('SELECT pg_reload_conf()');
  await w.sql("UPDATE person SET name = 'unseen' WHERE id = 1; DELETE FROM person WHERE id = 2");
  await w.until('the slot is lost', async () => {
    await w.sql("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 5000)");
    await w.sql('SELECT pg_switch_wal()');
    await w.sql('CHECKPOINT');
    return (await w.sql('SELECT wal_status FROM pg_replication_slots'))[0]?.[0] === 'lost';
  });
  w.start();
  await w.until('the gap is told', () => w.trouble === 'LOG_GAP');
  await w.arrived('person', ROWS);
  await w.sql("UPDATE person SET name = 'followed' WHERE id = 1");
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
});
