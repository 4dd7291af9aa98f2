import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { parseId } from '@qiao/exchange';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Arrival, type CaptureTable, type DigestRow, GONE } from '../exchange-database/index.ts';
import { BRIDGE_ID, circlesWith, placeThere } from './captureWorld.testing.ts';
import { digestOf } from './compare.ts';
import { followsLog } from './logFollow.testing.ts';
import { LOG_NAME, LogWorld } from './logWorld.testing.ts';
import { saidByOthers } from './said.suite.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres(['wal_level=logical']);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const PERSON = 'CREATE TABLE person (id int PRIMARY KEY, name text, city text)';
const ROWS = 'SELECT id, name, city FROM person';

followsLog({
  world: (ddl, ...tables) => LogWorld.on(server, ddl, ...tables),
  numbers: (last) => `generate_series(1, ${last}) n`,
  upsert: (id, name) =>
    `INSERT INTO person VALUES (${id}, '${name}', 'y') ON CONFLICT (id) DO UPDATE SET name = excluded.name`,
  move: (id, to) =>
    `UPDATE person SET id = ${to} WHERE id = ${id} AND NOT EXISTS (SELECT 1 FROM person WHERE id = ${to})`,
  also: () => [],
});

test('several changes of a key are folded into one, and the books add up', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x')`, {
    name: 'person',
  });
  w.start();
  await w.arrived('person', ROWS);
  await w.sql(`BEGIN; INSERT INTO person VALUES (3, 'c', 'y'); UPDATE person SET name = 'cc' WHERE id = 3; UPDATE person SET name = 'ccc' WHERE id = 3;
    DELETE FROM person WHERE id = 1; INSERT INTO person VALUES (1, 'new', 'z'); INSERT INTO person VALUES (4, 'gone', 'y'); DELETE FROM person WHERE id = 4;
    UPDATE person SET id = 9 WHERE id = 2; COMMIT`);
  await w.arrived('person', ROWS);
  expect(w.destination.outcomes.slice(2)).toEqual(['delete', 'insert-missing', 'insert-missing', 'update']);
  // packed / folded / filtered / refused: the load, then 3 and 9 inserted, 1 updated by a delete and an insert, 4 nothing, 2 deleted.
  expect(w.books).toEqual(['person delete 1/1/1/0', 'person insert 4/2/0/0', 'person update 1/1/0/0']);
});

test('keys that swap in one transaction arrive swapped', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'y')`, {
    name: 'person',
  });
  w.start();
  await w.arrived('person', ROWS);
  await w.sql(
    'BEGIN; UPDATE person SET id = 9 WHERE id = 1; UPDATE person SET id = 1 WHERE id = 2; UPDATE person SET id = 2 WHERE id = 9; COMMIT',
  );
  await w.arrived('person', ROWS);
  expect(w.destination.outcomes.slice(2)).toEqual(['update', 'update']);
});

test('rows that enter the filter are inserted, rows that leave it deleted, those outside are counted', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'in'), (2, 'b', 'out')`, {
    name: 'person',
    where: "city = 'in'",
  });
  w.start();
  const inside = `${ROWS} WHERE city = 'in'`;
  await w.arrived('person', inside);
  await w.sql("UPDATE person SET city = CASE city WHEN 'in' THEN 'out' ELSE 'in' END");
  await w.arrived('person', inside);
  await w.sql(
    "UPDATE person SET name = 'hidden' WHERE id = 1; DELETE FROM person WHERE id = 1; INSERT INTO person VALUES (3, 'c', 'in')",
  );
  await w.arrived('person', inside);
  expect(w.destination.outcomes.slice(1)).toEqual(['delete', 'insert-missing', 'insert-missing']);
  expect(w.scans).toBe(1);
});

test('a large value that an update leaves alone stays as it is at the destination', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; ALTER TABLE person ALTER city SET STORAGE EXTERNAL; INSERT INTO person SELECT g, 'a', repeat(md5(g::text), 200) FROM generate_series(1, 3) g`,
    { name: 'person' },
  );
  w.start();
  await w.arrived('person', ROWS);
  await w.sql("UPDATE person SET name = 'b' WHERE id = 1");
  await w.arrived('person', ROWS);
  await w.sql(
    "BEGIN; UPDATE person SET city = repeat(md5('new'), 300) WHERE id = 2; UPDATE person SET name = 'c' WHERE id = 2; UPDATE person SET name = 'd' WHERE id = 1; COMMIT",
  );
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(1);
});

test.each([
  ['a mirror that takes what comes', { landing: 'mirror' }, 1],
  ['a journal', { landing: 'journal' }, 0],
  ['a mirror that judges whole rows', { landing: 'mirror', conflict: { newestWins: 'name' } }, 0],
] as const)(
  'for %s a row of which the log leaves a large value out travels as it can be laid down',
  async (_where, landing, parts) => {
    await using w = await LogWorld.on(
      server,
      `${PERSON}; ALTER TABLE person ALTER city SET STORAGE EXTERNAL; INSERT INTO person SELECT 1, 'a', repeat(md5('1'), 200)`,
      { name: 'person' },
    );
    w.landing = landing;
    w.start();
    await w.arrived('person', ROWS);
    await w.sql("UPDATE person SET name = 'b'");
    await w.arrived('person', ROWS);
    expect(w.destination.outcomes).toEqual(['insert-missing', 'update']);
    expect(w.destination.parts).toBe(parts);
  },
);

test('a row that a check refuses is named at once, and no more when it passes or is gone', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, {
    name: 'person',
    checks: [{ column: 'name', required: true }],
  });
  w.start();
  await w.arrived('person', ROWS);
  const table = w.database.captures.table(parseId(BRIDGE_ID), 'person') as CaptureTable;
  const counts = () => w.database.refusals.counts(table.id).map(({ column, count }) => `${column} ${count}`);
  await w.sql("INSERT INTO person VALUES (2, NULL, 'x'), (3, NULL, 'x'), (4, 'd', 'x')");
  await w.until('the refused rows are known', () => counts().length > 0);
  expect(counts()).toEqual(['name 2']);
  await w.sql("UPDATE person SET name = 'b' WHERE id = 2; DELETE FROM person WHERE id = 3");
  await w.arrived('person', ROWS);
  expect(counts()).toEqual([]);
});

test('a row of which the log leaves a large value out is read by its key where the bridge transforms it, or its key moves', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; ALTER TABLE person ALTER city SET STORAGE EXTERNAL; INSERT INTO person SELECT g, 'a', repeat(md5(g::text), 200) FROM generate_series(1, 4) g;
     CREATE TABLE plain (id int PRIMARY KEY, name text, city text); ALTER TABLE plain ALTER city SET STORAGE EXTERNAL; INSERT INTO plain SELECT * FROM person`,
    { name: 'person', where: "name <> 'hidden'" },
    { name: 'plain' },
  );
  w.start();
  const shown = `${ROWS} WHERE name <> 'hidden'`;
  await w.arrived('person', shown);
  await w.sql("UPDATE person SET name = 'b' WHERE id = 1");
  await w.sql("BEGIN; UPDATE person SET name = 'hidden' WHERE id = 2; UPDATE person SET id = 9 WHERE id = 3; COMMIT");
  await w.sql('UPDATE plain SET id = 8 WHERE id = 1');
  await w.sql("BEGIN; UPDATE person SET name = 'c' WHERE id = 4; DELETE FROM person WHERE id = 4; COMMIT");
  await w.arrived('person', shown);
  await w.arrived('plain', 'SELECT id, name, city FROM plain');
  expect(w.scans).toBe(1);
});

test('a part of a row that has not travelled as it was does not travel either', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; ALTER TABLE person ALTER city SET STORAGE EXTERNAL; INSERT INTO person VALUES (1, 'a', 'small')`,
    { name: 'person' },
  );
  w.start();
  await w.arrived('person', ROWS);
  const passed = async (id: number) => {
    await w.sql(`INSERT INTO person VALUES (${id}, 'c', 'y')`);
    await w.until(`row ${id} has arrived`, async () => {
      await w.deliver();
      return w.destination.rows('person').includes(`${id}\tc\ty`);
    });
  };
  const tooLarge = "repeat(md5('x'), 600000)";
  await w.sql(`INSERT INTO person VALUES (2, 'b', ${tooLarge}); UPDATE person SET city = ${tooLarge} WHERE id = 1`);
  await passed(3);
  await w.sql("UPDATE person SET name = 'bb' WHERE id < 3");
  await passed(4);
  expect(w.destination.rows('person')).toEqual(['1\ta\tsmall', '3\tc\ty', '4\tc\ty']);
  await w.sql("UPDATE person SET city = 'small again' WHERE id < 3");
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(1);
});

test('an emptied table is scanned, and its deletes wait for a person', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; INSERT INTO person SELECT g, 'a', 'x' FROM generate_series(1, 50) g`,
    { name: 'person' },
  );
  w.deleteGuard = { rows: 10, share: 0.05 };
  w.start();
  await w.arrived('person', ROWS);
  await w.sql("BEGIN; TRUNCATE person; INSERT INTO person VALUES (60, 'new', 'y'); COMMIT");
  await w.until('the guard holds', () => w.trouble === 'DELETE_GUARD');
  await w.deliver();
  expect(w.destination.rows('person')).toHaveLength(51);
  // What comes later goes on meanwhile.
  await w.sql("INSERT INTO person VALUES (61, 'later', 'y')");
  await w.until('the row has arrived', async () => {
    await w.deliver();
    return w.destination.rows('person').length === 52;
  });
});

test('many deletes of one transaction are held by the guard too', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; INSERT INTO person SELECT g, 'a', 'x' FROM generate_series(1, 50) g`,
    { name: 'person' },
  );
  w.deleteGuard = { rows: 10, share: 0.05 };
  w.start();
  await w.arrived('person', ROWS);
  await w.sql('DELETE FROM person WHERE id <= 5');
  await w.arrived('person', ROWS);
  await w.sql('DELETE FROM person WHERE id <= 40');
  await w.until('the guard holds', () => w.trouble === 'DELETE_GUARD');
  await w.deliver();
  expect(w.destination.rows('person')).toHaveLength(45);
});

test('deletes that another node let through its own guard do not stop the bridge, those of people here do', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; INSERT INTO person SELECT g, 'a', 'x' FROM generate_series(1, 50) g`,
    { name: 'person' },
  );
  w.deleteGuard = { rows: 10, share: 0.05 };
  w.start();
  await w.arrived('person', ROWS);
  const { id } = w.database.captures.table(parseId(BRIDGE_ID), 'person') as CaptureTable;
  const gone = w.database.digests.after(id, '', 30).map(([key]) => ({ key, digest: GONE }));
  w.database.transaction(() => w.database.arrivals.put(id, gone, [placeThere('person')]));
  for (let n = 1; n <= 30; n++) w.destination.tables.get('person')?.delete(String(n));
  const before = w.destination.outcomes.length;
  await w.sql('DELETE FROM person WHERE id <= 31');
  await w.arrived('person', ROWS);
  expect([w.destination.outcomes.slice(before), w.trouble]).toEqual([['delete'], '']);
  await w.sql('DELETE FROM person WHERE id <= 45');
  await w.until('the guard holds', () => w.trouble === 'DELETE_GUARD');
});

test('a slot that was dropped while the agent was away is a gap: recorded, told, and closed by a scan', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  await w.stop();
  await w.sql("INSERT INTO person VALUES (2, 'lost', 'y')");
  await w.sql(`SELECT pg_drop_replication_slot('${LOG_NAME}')`);
  await w.sql('DELETE FROM person WHERE id = 1');
  w.start();
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
  expect(w.trouble).toBe('LOG_GAP');
  expect(w.destination.outcomes).toEqual(['insert-missing', 'insert-missing', 'delete']);
});

test.each([
  ['another timeline', "UPDATE capture_log SET identity = 'another'"],
  ['a database that stands before what was taken', "UPDATE capture_log SET position = 'FFFF/0'"],
  ['a database that kept less', "UPDATE capture_log SET position = '0/1'"],
])('%s is a gap', async (_what, sql) => {
  await using w = await LogWorld.on(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  await w.stop();
  w.database.sqlite.exec(sql);
  await w.sql("UPDATE person SET name = 'b'");
  w.start();
  await w.until('the tables were scanned', () => w.scans === 2);
  await w.arrived('person', ROWS);
  expect(w.trouble).toBe('LOG_GAP');
});

test('a column that is added, filled and retyped with a backlog from before arrives as it is', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  await w.stop();
  await w.sql("INSERT INTO person VALUES (2, 'b', 'x')");
  await w.sql("ALTER TABLE person ADD COLUMN born date DEFAULT '2000-01-01'");
  await w.sql("UPDATE person SET born = '2024-02-29', name = 'bb' WHERE id = 2");
  await w.sql('ALTER TABLE person ALTER COLUMN name TYPE varchar(40)');
  await w.sql("INSERT INTO person VALUES (3, 'c', 'x', '2024-03-01')");
  w.start();
  await w.arrived('person', 'SELECT id, name, city, born FROM person');
  await w.sql("UPDATE person SET name = 'after'");
  await w.arrived('person', 'SELECT id, name, city, born FROM person');
});

test('only the bridge’s tables are published, and slot and publication go with the last bridge', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  expect(await w.sql(`SELECT tablename FROM pg_publication_tables WHERE pubname = '${LOG_NAME}'`)).toEqual([
    ['person'],
  ]);
  w.isRetired = true;
  w.changed();
  const left = 'SELECT slot_name FROM pg_replication_slots UNION ALL SELECT pubname FROM pg_publication';
  await w.until('slot and publication are gone', async () => (await w.sql(left)).length === 0);
});

test('one reader feeds all bridges of a data source, and one that comes later costs the others nothing', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x'); CREATE TABLE visit (id int PRIMARY KEY); INSERT INTO visit VALUES (1)`,
    { name: 'person' },
  );
  w.start();
  await w.arrived('person', ROWS);
  const twin = w.addTwin({ name: 'person', columns: ['id', 'city'] }, { name: 'visit' });
  w.changed();
  const twinHas = (person: string[], visit: string[]) => async () => {
    await w.deliver();
    return twin.rows('person').join() === person.join() && twin.rows('visit').join() === visit.join();
  };
  await w.until('the twin has loaded', twinHas(['1\tx'], ['1']));
  await w.sql("BEGIN; INSERT INTO person VALUES (2, 'b', 'y'); INSERT INTO visit VALUES (2); COMMIT");
  await w.until('the twin follows', twinHas(['1\tx', '2\ty'], ['1', '2']));
  await w.arrived('person', ROWS);
  // A name is no column of the twin's.
  await w.sql("UPDATE person SET name = 'c'");
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(1);
  expect(await w.sql('SELECT count(*) FROM pg_replication_slots')).toEqual([['1']]);
  expect(await w.sql(`SELECT tablename FROM pg_publication_tables WHERE pubname = '${LOG_NAME}' ORDER BY 1`)).toEqual([
    ['person'],
    ['visit'],
  ]);
});

test('a scan that becomes due while one is under way is not answered by that', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; INSERT INTO person SELECT g, 'a', repeat('x', 100) FROM generate_series(1, 4000) g`,
    { name: 'person' },
  );
  w.parcelBytes = 64 * 1024;
  const news = w.onFlush;
  let flushes = 0;
  w.onFlush = () => {
    news();
    if (++flushes === 2) w.database.logs.owe(parseId(BRIDGE_ID), { code: 'LOG_ROWS', message: 'asked for' });
  };
  w.start();
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
});

test('a person is told at half of the budget, and again at four fifths', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; CREATE TABLE other (x text)`, { name: 'person' });
  w.hasToken = false;
  w.start();
  await w.arrived('person', ROWS);
  await w.sql("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 8000)");
  const kept = Number(
    (
      await w.sql(
        'SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) FROM pg_replication_slots WHERE database = current_database()',
      )
    )[0]?.[0],
  );
  await w.stop();
  w.logBudgetBytes = Math.floor(kept * 1.7);
  w.start();
  await w.until('half is told', () => w.trouble === 'LOG_KEPT');
  await w.stop();
  w.logBudgetBytes = Math.floor(kept * 1.15);
  w.start();
  await w.until('four fifths are told', () => w.trouble === 'LOG_KEPT_HIGH');
  expect(w.scans).toBe(1);
});

test('past the budget the log is given up before the disk fills, with a gap', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; CREATE TABLE other (x text)`, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  await w.stop();
  w.logBudgetBytes = 4 * 1024 * 1024;
  await w.sql("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 8000)");
  await w.sql("INSERT INTO person VALUES (1, 'a', 'x')");
  w.start();
  await w.until('the gap is told', () => w.trouble === 'LOG_GAP');
  await w.arrived('person', ROWS);
});

test('small transactions leave together where their lane has much to do, and none waits long', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; INSERT INTO person VALUES (0, 'a', 'x')`, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  const lane = () => w.database.lanesOut.ofBridge(parseId(BRIDGE_ID))[0];
  const digests = w.database.sqlite.prepare('SELECT count(*) FROM row_digest').pluck();
  const before = lane()?.lastSequence ?? 0n;
  const beganAtMs = performance.now();
  for (let id = 1; id <= 100; id++) await w.sql(`INSERT INTO person VALUES (${id}, 'b', 'x'); SELECT pg_sleep(0.01)`);
  await w.until('all are in the outbox', () => digests.get() === 101);
  const tookMs = performance.now() - beganAtMs;
  // Eight at once, and from then on one every 100 ms at most.
  expect(Number((lane()?.lastSequence ?? 0n) - before)).toBeLessThanOrEqual(8 + tookMs / 100 + 1);
  await w.arrived('person', ROWS);
});

saidByOthers(async (circle) => {
  const w = await LogWorld.on(
    server,
    `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'x')`,
    { name: 'person' },
  );
  w.circles = circlesWith(circle);
  w.start();
  await w.arrived('person', ROWS);
  return {
    get database() {
      return w.database;
    },
    destination: w.destination,
    rows: async () => (await w.sql(ROWS)).map((row) => row.join('\t')).sort(),
    async scanWhole(...statements) {
      await w.stop();
      await w.sql(`BEGIN; ${statements.join('; ')}; COMMIT`);
      w.database.logs.owe(parseId(BRIDGE_ID), { code: 'LOG_ROWS', message: 'a test asks for it' });
      const { scans } = w;
      w.start();
      await w.until('the scan is over', () => w.scans > scans);
    },
    async looked() {
      await w.until('all were looked at', () => !w.database.arrivals.isAnyDue);
      await w.deliver();
    },
    async change(statements, last) {
      await w.sql(`BEGIN; ${statements.join('; ')}; INSERT INTO person VALUES ${last}; COMMIT`);
      await w.until('the last row has arrived', async () => {
        await w.deliver();
        return w.destination.rows('person').includes(last.replace(/[()']/g, '').replaceAll(', ', '\t'));
      });
    },
    [Symbol.asyncDispose]: () => w[Symbol.asyncDispose](),
  };
});

test('landed, and altered at once to what cannot be carried, then deleted: the destination is told', async () => {
  await using w = await LogWorld.on(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, { name: 'person' });
  w.start();
  await w.arrived('person', ROWS);
  const { id } = w.database.captures.table(parseId(BRIDGE_ID), 'person') as CaptureTable;
  const [[one]] = w.database.digests.after(id, '', 1) as [DigestRow];
  const said = { key: one.replace('1', '9'), digest: digestOf(Buffer.from('9\tb\tx\n')) };
  w.database.transaction(() => w.database.arrivals.put(id, [said], [placeThere('person')]));
  w.destination.tables.get('person')?.set('9', '9\tb\tx');
  const arrived = (key: string) =>
    w.until(`row ${key} has arrived`, async () => {
      await w.deliver();
      return w.destination.tables.get('person')?.has(key) === true;
    });
  await w.sql(`BEGIN; INSERT INTO person VALUES (9, 'b', 'x'); UPDATE person SET name = repeat('n', 17 * 1024 * 1024) WHERE id = 9;
    INSERT INTO person VALUES (8, 'end', 'x'); COMMIT`);
  await arrived('8');
  await w.sql("BEGIN; DELETE FROM person WHERE id = 9; INSERT INTO person VALUES (7, 'end', 'x'); COMMIT");
  await arrived('7');
  expect(w.destination.tables.get('person')?.has('9')).toBe(false);
});

test('a row that stayed against an older one of the other end is sent back, once for each; one that landed, or is gone, is not', async () => {
  await using w = await LogWorld.on(
    server,
    `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'x')`,
    {
      name: 'person',
    },
  );
  w.start();
  await w.arrived('person', ROWS);
  const { arrivals, captures, digests, sendBacks } = w.database;
  const { id } = captures.table(parseId(BRIDGE_ID), 'person') as CaptureTable;
  const [one, two, three] = digests.after(id, '', 10) as [DigestRow, DigestRow, DigestRow];
  await w.sql('DELETE FROM person WHERE id = 3');
  await w.arrived('person', ROWS);
  const say = (...said: Arrival[]) =>
    w.database.transaction(() => {
      arrivals.put(id, said, [placeThere('person')]);
      sendBacks.keepAgainst(id, said);
    });
  const looked = () => w.until('all were looked at', () => sendBacks.due(id, 10).length === 0);
  const before = w.destination.outcomes.length;
  say({ key: one[0], digest: 'older' }, { key: two[0], digest: two[1] }, { key: three[0], digest: 'older' });
  await looked();
  await w.arrived('person', ROWS);
  expect(w.destination.outcomes.slice(before)).toEqual(['update']);
  // An update that changes nothing here is news there: the other end has another row.
  say({ key: two[0], digest: 'oldest' });
  await w.sql('UPDATE person SET name = name WHERE id = 2');
  await looked();
  await w.arrived('person', ROWS);
  expect(w.destination.outcomes.slice(before)).toEqual(['update', 'update']);
  // The same word again: both ends think theirs the newer one, and neither shall say so for ever.
  say({ key: one[0], digest: 'older' });
  await looked();
  say({ key: two[0], digest: 'older' });
  await looked();
  await w.arrived('person', ROWS);
  expect(w.destination.outcomes.slice(before)).toEqual(['update', 'update', 'update']);
  expect(w.books).toEqual(['person delete 1/0/0/0', 'person insert 3/0/0/0', 'person update 3/0/0/0']);
  // What leaves of itself makes both ends forget it.
  await w.sql("UPDATE person SET name = 'z' WHERE id IN (1, 2)");
  await w.arrived('person', ROWS);
  expect(sendBacks.keptOf(id, [one[0], two[0]])).toEqual(new Map());
});
