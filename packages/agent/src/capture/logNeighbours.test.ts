/** Bridges of one data source share its log: what keeps one of them from following costs the others nothing, and keeps no log for ever. */
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { parseId, QiaoError } from '@qiao/exchange';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LOG_NAME, LogWorld, TWIN_ID } from './logWorld.testing.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres(['wal_level=logical']);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const TABLES = `CREATE TABLE person (id int PRIMARY KEY, name text, city text); ALTER TABLE person ALTER city SET STORAGE EXTERNAL;
  INSERT INTO person VALUES (1, 'a', repeat('x', 5000)); CREATE TABLE visit (id int PRIMARY KEY); CREATE TABLE other (x text)`;
const ROWS = 'SELECT id, name, city FROM person';
const MUCH = "INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 8000)";

async function isKept(w: LogWorld): Promise<boolean> {
  return (await w.sql(`SELECT 1 FROM pg_replication_slots WHERE slot_name = '${LOG_NAME}'`)).length === 1;
}

/** A bridge of `person`, and beside it one of `visit`, both following. */
async function neighbours(w: LogWorld): Promise<(visit: number) => Promise<void>> {
  w.start();
  await w.arrived('person', ROWS);
  const twin = w.addTwin({ name: 'visit' });
  w.changed();
  const arrives = async (visit: number) => {
    await w.sql(`INSERT INTO visit VALUES (${visit})`);
    await w.until('the neighbour follows', async () => {
      await w.deliver();
      return twin.rows('visit').includes(String(visit));
    });
  };
  await arrives(1);
  await w.until('its load has ended', () => w.database.logs.get(parseId(TWIN_ID))?.owes === undefined);
  return arrives;
}

test('a bridge that cannot take its share waits alone, says why, and is tried again', async () => {
  await using w = await LogWorld.on(server, TABLES, { name: 'person', where: "name <> 'hidden'" });
  const arrives = await neighbours(w);
  w.onSnapshot = () => {
    throw new QiaoError('SOURCE_BUSY', 'the table is locked', { fate: 'transient' });
  };
  await w.sql("UPDATE person SET name = 'b'");
  await w.until('it is told', () => w.trouble === 'SOURCE_BUSY');
  await arrives(2);
  await arrives(3);
  w.onSnapshot = () => {};
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(1);
  expect(w.trouble).toBe('');
});

test('a bridge whose share turns out to be on disk is well again, though nothing more comes', async () => {
  await using w = await LogWorld.on(server, TABLES, { name: 'person' });
  await neighbours(w);
  const news = w.onFlush;
  w.onFlush = () => {
    w.onFlush = news;
    throw new QiaoError('DISK_FULL', 'the disk is full behind the commit', { fate: 'transient' });
  };
  await w.sql("UPDATE person SET name = 'b'");
  await w.until('it is told', () => w.trouble === 'DISK_FULL');
  await w.until('it is over', () => w.trouble === '');
  await w.arrived('person', ROWS);
});

test('past the budget only those are given up that do not follow', async () => {
  await using w = await LogWorld.on(server, TABLES, { name: 'person' });
  await neighbours(w);
  await w.stop();
  w.bridgeLimits = { retention: { bytes: 1 } };
  await w.sql("UPDATE person SET name = 'between'");
  w.start();
  await w.sql('INSERT INTO visit VALUES (50)');
  await w.until('the neighbour follows', async () => {
    await w.deliver();
    return w.destinations[1]?.rows('visit').includes('50') === true;
  });
  await w.stop();
  await w.sql("UPDATE person SET name = 'after'");
  await w.sql(MUCH);
  w.logBudgetBytes = 4 * 1024 * 1024;
  w.start();
  await w.until('the gap is told', () => w.state?.owes?.code === 'LOG_GAP');
  await w.sql('INSERT INTO visit VALUES (51)');
  await w.until('the neighbour follows', async () => {
    await w.deliver();
    return w.destinations[1]?.rows('visit').includes('51') === true;
  });
  expect(w.database.logs.get(parseId(TWIN_ID))?.gapAtMs).toBe(0);
  w.bridgeLimits = undefined;
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
});

test('a bridge that is out of sight for a moment keeps its log, and goes on', async () => {
  await using w = await LogWorld.on(server, TABLES, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  w.isAway = true;
  w.changed();
  await w.sql("UPDATE person SET name = 'meanwhile'");
  await w.until(
    'nobody reads it',
    async () => (await w.sql('SELECT active FROM pg_replication_slots'))[0]?.[0] === 'f',
  );
  w.isAway = false;
  w.changed();
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(1);
  expect(w.trouble).toBe('');
});

test('a bridge that is captured otherwise now leaves nothing in the database', async () => {
  await using w = await LogWorld.on(server, TABLES, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  w.capture = 'compare';
  w.version = 2;
  w.changed();
  await w.until('the slot is gone', async () => !(await isKept(w)));
  expect(w.state).toBeUndefined();
});

test('without a token nothing that is kept is given up', async () => {
  await using w = await LogWorld.on(server, TABLES, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  await w.stop();
  w.hasToken = false;
  w.logBudgetBytes = 4 * 1024 * 1024;
  await w.sql(MUCH);
  await w.sql("UPDATE person SET name = 'b'");
  w.start();
  await w.until('it is told', () => w.trouble === 'LOG_KEPT_HIGH');
  await w.arrived('person', ROWS);
  w.isRetired = true;
  w.changed();
  await w.until(
    'nobody reads it',
    async () => (await w.sql('SELECT active FROM pg_replication_slots'))[0]?.[0] === 'f',
  );
  expect(await isKept(w)).toBe(true);
});
