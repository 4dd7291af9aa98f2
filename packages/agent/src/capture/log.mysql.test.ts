/** The binary log of a real MariaDB: what differs from PostgreSQL in the log itself, and every road that a change can take. */
import { BINLOG, type MysqlServer, numbers, startMysql, WORDS } from '@qiao/adapters/mysql-testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { followsLog } from './logFollow.testing.ts';
import { LogWorld } from './logWorld.testing.ts';

let server: MysqlServer;
beforeAll(async () => {
  // Its log is purged and begun anew.
  server = await startMysql(BINLOG, { own: true });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const PERSON = 'CREATE TABLE person (id int PRIMARY KEY, name varchar(40), city varchar(40))';
const ROWS = 'SELECT id, name, city FROM person';

followsLog({
  world: (ddl, ...tables) => LogWorld.onMysql(server, ddl, ...tables),
  numbers: (last) => numbers(1, last),
  upsert: (id, name) => `INSERT INTO person VALUES (${id}, '${name}', 'y') ON DUPLICATE KEY UPDATE name = VALUES(name)`,
  move: (id, to) => `UPDATE IGNORE person SET id = ${to} WHERE id = ${id}`,
  also: (id) => [`REPLACE INTO person VALUES (${id}, 'replaced', 'z')`],
  nextFile: 'FLUSH BINARY LOGS',
});

test('a row that cannot be carried is counted, stays as it was there, and comes when it can be carried again', async () => {
  await using w = await LogWorld.onMysql(
    server,
    `CREATE TABLE person (id int PRIMARY KEY, born date); INSERT INTO person VALUES (1, '2000-01-01')`,
    { name: 'person' },
  );
  w.start();
  const rows = 'SELECT id, born FROM person';
  await w.arrived('person', rows);
  await w.sql(
    "SET sql_mode = ''; UPDATE person SET born = '0000-00-00'; INSERT INTO person VALUES (2, '2001-01-01'), (3, '0000-00-00')",
  );
  await w.arrived('person', `${rows} WHERE id = 2 UNION SELECT 1, '2000-01-01'`);
  // With the row of the load.
  expect(w.books).toEqual(['person insert 2/0/0/1', 'person update 0/0/0/1']);
  await w.sql("UPDATE person SET born = '2002-02-02' WHERE id <> 2");
  await w.arrived('person', rows);
  await w.sql("UPDATE person SET born = '0000-00-00' WHERE id = 1; DELETE FROM person WHERE id = 1");
  await w.arrived('person', rows);
  expect(w.scans).toBe(1);
});

test('tables that are altered, emptied, swapped, or written by statements are scanned where the log does not do', async () => {
  await using w = await LogWorld.onMysql(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, {
    name: 'person',
    columns: ['id', 'name', 'city'],
  });
  w.start();
  await w.arrived('person', ROWS);
  await w.sql(
    "ALTER TABLE person ADD COLUMN beside int FIRST; INSERT INTO person VALUES (9, 2, 'b', 'x'); CREATE INDEX i ON person (city)",
  );
  await w.stop();
  await w.sql(
    "ALTER TABLE person MODIFY name varchar(50), DROP COLUMN beside; UPDATE person SET name = 'aa' WHERE id = 1",
  );
  w.start();
  await w.arrived('person', ROWS);
  await w.sql(
    "SET SESSION binlog_format = 'STATEMENT'; INSERT INTO person VALUES (3, 'c', 'x'); SET SESSION binlog_format = 'ROW'",
  );
  await w.arrived('person', ROWS);
  await w.sql(
    "CREATE TABLE fresh LIKE person; INSERT INTO fresh VALUES (3, 'c', 'x'), (4, 'd', 'x'); RENAME TABLE person TO old, fresh TO person",
  );
  await w.arrived('person', ROWS);
  await w.sql("XA START 'x'; INSERT INTO person VALUES (5, 'e', 'x'); XA END 'x'; XA PREPARE 'x'");
  await w.sql("XA COMMIT 'x'; UPDATE person SET name = 'after' WHERE id = 4");
  await w.arrived('person', ROWS);
  w.deleteGuard = { rows: 100, share: 1 };
  await w.sql("TRUNCATE person; INSERT INTO person VALUES (7, 'g', 'x')");
  await w.arrived('person', ROWS);
  expect(w.trouble).toBe('');
  // A bridge that names no columns has the new one, too.
  w.version += 1;
  w.bridgeTables.splice(0, 1, { name: 'person', transform: [], checks: [] });
  const scans = w.scans + 1;
  w.changed();
  await w.until('the new version is captured', () => w.scans === scans);
  await w.sql("ALTER TABLE person ADD COLUMN born date DEFAULT '2000-01-01'");
  await w.arrived('person', 'SELECT id, name, city, born FROM person');
  expect(w.scans).toBe(scans + 1);
});

test.each([
  ['purged', "FLUSH BINARY LOGS; PURGE BINARY LOGS TO 'END'"],
  ['begun anew', `${WORDS.reset}; DO SLEEP(1.1); ${WORDS.reset}`],
])('a log that was %s while the agent was away is a gap: recorded, told, and closed by a scan', async (_, sql) => {
  await using w = await LogWorld.onMysql(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, {
    name: 'person',
  });
  w.start();
  await w.arrived('person', ROWS);
  await w.stop();
  await w.sql("INSERT INTO person VALUES (2, 'lost', 'y')");
  if (sql.includes('END')) {
    await w.sql('FLUSH BINARY LOGS');
    const end = (await w.sql(WORDS.status))[0]?.[0];
    // A file that somebody reads stays: the server has yet to notice that nobody does.
    do await w.sql(`PURGE BINARY LOGS TO '${end}'`);
    while ((await w.sql('SHOW BINARY LOGS'))[0]?.[0] !== end);
  } else await w.sql(sql);
  await w.sql('DELETE FROM person WHERE id = 1');
  w.start();
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
  expect(w.trouble).toBe('LOG_GAP');
  await w.sql("UPDATE person SET name = 'after'");
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
});

test.each([
  ['less', 600],
  ['more', 5000],
])('a log that is begun anew while it is followed, and has %s in it then, is a gap, once', async (_, last) => {
  await using w = await LogWorld.onMysql(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, {
    name: 'person',
  });
  w.start();
  await w.arrived('person', ROWS);
  await w.sql(`INSERT INTO person SELECT n, 'many', REPEAT('x', 40) FROM ${numbers(2, 500)}`);
  await w.arrived('person', ROWS);
  await w.sql(
    `${WORDS.reset}; INSERT INTO person SELECT n, 'lost', 'y' FROM ${numbers(600, last)}; DELETE FROM person WHERE id = 1`,
  );
  await w.until('the gap is told', () => w.trouble === 'LOG_GAP');
  await w.arrived('person', ROWS);
  await w.sql("UPDATE person SET name = 'after'");
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
});

test('a log that is another one at the same place is found out when it is read, and scanned once', async () => {
  await using w = await LogWorld.onMysql(server, `${PERSON}; INSERT INTO person VALUES (1, 'a', 'x')`, {
    name: 'person',
  });
  w.start();
  await w.arrived('person', ROWS);
  await w.sql("INSERT INTO person VALUES (2, 'b', 'y')");
  await w.arrived('person', ROWS);
  await w.stop();
  w.database.sqlite.exec("UPDATE capture_log SET position = substr(position, 1, instr(position, '#')) || '1'");
  w.start();
  await w.until('the gap is told', () => w.trouble === 'LOG_GAP');
  await w.arrived('person', ROWS);
  await w.sql('DELETE FROM person WHERE id = 1');
  await w.arrived('person', ROWS);
  expect(w.scans).toBe(2);
});
