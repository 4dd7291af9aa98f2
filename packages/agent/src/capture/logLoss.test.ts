/** Nothing is lost between the log, the scans and the rows that are read by their keys, whatever is cut, or goes on beside it. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { ServiceCondition } from '@qiao/contract/node';
import { parseId } from '@qiao/exchange';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BRIDGE_ID } from './captureWorld.testing.ts';
import { LogWorld } from './logWorld.testing.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres(['wal_level=logical']);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const PERSON = 'CREATE TABLE person (id int PRIMARY KEY, name text, city text)';
const VISIT = 'CREATE TABLE visit (id int PRIMARY KEY)';
const ROWS = 'SELECT id, name, city FROM person';

test('a bridge without room keeps its log, however far its neighbour goes', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x'); ${VISIT}`, {
    name: 'person',
  });
  w.start();
  await w.arrived('person', ROWS);
  const twin = w.addTwin({ name: 'visit' });
  const twinHas = (rows: number) => async () => {
    await w.deliver();
    return twin.rows('visit').length === rows;
  };
  w.changed();
  await w.sql('INSERT INTO visit VALUES (1)');
  await w.until('the neighbour follows', twinHas(1));
  await w.stop();
  w.bridgeLimits = { retention: { bytes: 1 } };
  await w.sql("INSERT INTO person VALUES (2, 'waits', 'x')");
  for (const visit of [2, 3, 4]) {
    w.start();
    await w.sql(`INSERT INTO visit VALUES (${visit})`);
    await w.until('the neighbour follows', twinHas(visit));
    await w.stop();
  }
  w.bridgeLimits = undefined;
  w.start();
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(1);
  expect(w.trouble).toBe('');
});

test('a scan for a new version that is cut is begun again', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; INSERT INTO person SELECT g, repeat('a', 200), CASE WHEN g % 2 = 0 THEN 'in' ELSE 'out' END FROM generate_series(1, 20000) g`,
    { name: 'person', where: "city = 'in'" },
  );
  w.parcelBytes = 64 * 1024;
  w.start();
  await w.arrived('person', `${ROWS} WHERE city = 'in'`);
  await w.stop();
  w.version = 2;
  w.bridgeTables.splice(0, 1, { name: 'person', transform: [], checks: [] });
  const cut = w.flushed(2);
  w.start();
  await cut;
  await w.stop();
  expect(w.scans).toBe(1);
  w.start();
  await w.arrived('person', ROWS);
});

test('a row is read by its key only when its change can be seen', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; ALTER TABLE person ALTER city SET STORAGE EXTERNAL; INSERT INTO person SELECT g, 'a', repeat(md5(g::text), 200) FROM generate_series(1, 3) g`,
    { name: 'person', where: "name <> 'hidden'" },
  );
  w.start();
  await w.arrived('person', ROWS);
  const standby = async (name: string) => {
    await w.sql(`ALTER SYSTEM SET synchronous_standby_names = '${name}'`);
    await w.sql('SELECT pg_reload_conf()');
    await w.until('the setting holds', async () => (await w.sql('SHOW synchronous_standby_names'))[0]?.[0] === name);
  };
  await using writer = await w.another();
  // The commit is in the log, and nobody sees it, until a standby has it.
  await standby('nobody');
  const before = w.snapshots;
  const commit = writer.query("UPDATE person SET name = 'b' WHERE id = 1");
  await w.until('the row was looked for', () => w.snapshots > before);
  await standby('');
  await commit;
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(1);
});

test('many rows that are read by their keys leave in deliveries of the usual size', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; ALTER TABLE person ALTER city SET STORAGE EXTERNAL; INSERT INTO person SELECT g, 'a', repeat(md5(g::text), 600) FROM generate_series(1, 400) g`,
    { name: 'person', where: "name <> 'hidden'" },
  );
  w.parcelBytes = 1024 * 1024;
  w.start();
  await w.arrived('person', ROWS);
  const before = w.destination.sequence;
  await w.sql("UPDATE person SET name = 'b'");
  await w.arrived('person', ROWS);
  expect(w.destination.sequence - before).toBeGreaterThan(4n);
  expect(w.books).toContain('person update 400/0/0/0');
});

test('a gap that is found while the tables are scanned is closed by another scan', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; CREATE TABLE other (x text); INSERT INTO person SELECT g, 'a', 'x' FROM generate_series(1, 12000) g`,
    { name: 'person' },
  );
  w.logBudgetBytes = 4 * 1024 * 1024;
  w.parcelBytes = 16 * 1024;
  w.bridgeLimits = { rowsPerSecond: 3000 };
  const isUnderWay = w.flushed(1);
  w.start();
  await isUnderWay;
  await w.sql("UPDATE person SET name = 'changed' WHERE id = 1; INSERT INTO person VALUES (99999, 'new', 'y')");
  await w.sql("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 8000)");
  await w.until('the gap is told', () => w.state?.owes?.code === 'LOG_GAP');
  w.bridgeLimits = undefined;
  await w.arrived('person', ROWS);
  expect(w.database.captures.get(parseId(BRIDGE_ID))?.startedScan).toBeGreaterThan(1);
});

test('a scan that a limit cuts again and again is told with the settings to raise, and goes on once they are', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; CREATE TABLE other (x text); INSERT INTO person SELECT g, repeat('a', 100), 'x' FROM generate_series(1, 10000) g`,
    { name: 'person' },
  );
  w.parcelBytes = 16 * 1024;
  w.bridgeLimits = { rowsPerSecond: 6000 };
  const told = () => w.trouble === 'SCAN_TOO_LONG';
  w.snapshotMaxMs = 1000;
  w.start();
  await w.until('two scans took too long', told);
  await w.stop();
  w.snapshotMaxMs = 60_000;
  w.logBudgetBytes = 4 * 1024 * 1024;
  w.start();
  await w.until('two scans had too much log beside them', async () => {
    await w.sql("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 1000)");
    return told();
  });
  expect(w.state?.owes?.code).toBe('LOG_GAP');
  await w.stop();
  w.logBudgetBytes = 1024 * 1024 * 1024;
  w.start();
  await w.arrived('person', ROWS);
  expect(told()).toBe(false);
  await w.sql("UPDATE person SET name = 'followed' WHERE id = 1");
  await w.arrived('person', ROWS);
});

test('a log that the database cannot read any more is begun anew, and its tables are scanned', async () => {
  await using broken = await startPostgres(['wal_level=logical']);
  await using w = await LogWorld.on(broken, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  await w.stop();
  const [[file, offset] = []] = await w.sql(
    'SELECT l.file_name, l.file_offset FROM pg_current_wal_insert_lsn() AS at, pg_walfile_name_offset(at) AS l',
  );
  await w.sql("INSERT INTO person SELECT g, 'b', 'x' FROM generate_series(2, 50) g");
  const wal = await open(join(broken.directory, 'data', 'pg_wal', String(file)), 'r+');
  await wal.write(Buffer.alloc(256, 0xaa), 0, 256, Number(offset) + 512);
  await wal.close();
  w.start();
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
  // It goes on, and a person should know; whoever asks for a run does.
  expect(w.capturing.states()[0]).toMatchObject({ code: 'LOG_GAP', condition: ServiceCondition.RUNNING });
  await w.sql("UPDATE person SET name = 'c'");
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
  w.captureRun += 1n;
  w.capturing.wake();
  await w.until('the run has ended', () => w.scans === 3);
  expect(w.trouble).toBe('');
});
