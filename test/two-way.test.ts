// Two departments edit one register, PostgreSQL and MariaDB, each captured by its log and landing at the other. Both are edited at once,
// the same rows too, and one agent is killed between what it notes of an arrival and the landing: in the end both have the same rows, the
// newer ones, and are still. The seed says who edits what.

import { join } from 'node:path';
import { BINLOG, connectMysql, type MysqlServer, startMysql } from '@qiao/adapters/mysql-testing';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { dieAtEach, Platform, postgresDatabase, seededRandom, storySeed, until } from '@qiao/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { applyBridges, booksLine, bridgeYaml, byOutcome, untilAtRest } from './world.ts';

const TABLE = (time: string) =>
  `CREATE TABLE register (id bigint NOT NULL PRIMARY KEY, name varchar(64), place varchar(64), seen_at ${time} NULL)`;
const ROWS = `SELECT CONCAT(id, ''), name, place, CONCAT(EXTRACT(HOUR FROM seen_at) * 60 + EXTRACT(MINUTE FROM seen_at), '') FROM register ORDER BY id`;
const KEYS = 60;
const ROUNDS = 6;
const POLICY = 'conflict: { newestWins: seen_at }';

let mysql: MysqlServer;
let postgres: PostgresServer;
beforeAll(async () => {
  [mysql, postgres] = await Promise.all([startMysql(BINLOG, { own: true }), startPostgres(['wal_level=logical'])]);
});
afterAll(async () => {
  await mysql?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

test('two nodes that edit the same rows at once end in the same rows, the newer ones, and are still', async () => {
  const random = seededRandom(storySeed('two-way'));
  const pick = (count: number) => Math.floor(random() * count);
  const { name: _, ...settings } = await mysql.database();
  await using department = connectMysql(mysql.url, settings.database);
  await using civil = await postgresDatabase(await postgres.database());
  await department.query(`GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO '${settings.user}'@'%'`);
  await department.query(TABLE('datetime(6)'));
  await civil.run(TABLE('timestamp(6)'), `INSERT INTO register VALUES ${edits(1, KEYS / 2, 'civil', 1)}`);

  await using platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { own: settings } },
      { code: 'civil-affairs', dataSources: { own: civil.config } },
    ],
  });
  const leg = (name: string, from: string, to: string, more = POLICY) =>
    bridgeYaml({
      name,
      from,
      source: 'own',
      table: 'register',
      to: [{ node: to, dataSource: 'own', table: 'register', more }],
    }).replace('capture: compare', 'capture: log');
  const [there, back] = [leg('there', 'civil-affairs', 'health'), leg('back', 'health', 'civil-affairs')];
  await applyBridges(platform, there);
  const blind = await platform.qiaoWith(back.replace('capture: log', 'capture: trigger'), 'bridge', 'check', '-f', '-');
  expect(`${blind.stdout}${blind.stderr}`).toContain('TWO_WAY_CAPTURE');
  await applyBridges(platform, back);
  await untilAtRest(platform, 'there', KEYS / 2);
  // What came is not what it sends: the load brings it back, found as it is, and the log brings it never.
  expect(byOutcome(await untilAtRest(platform, 'back', KEYS / 2))).toEqual({ unchanged: KEYS / 2 });

  /** Statements of one side's round: an edit never has the same minute twice at both ends, but for ties on purpose. */
  const round = (side: string, minute: number): string[] => {
    const statements: string[] = [];
    for (let n = 0; n < 12; n++) {
      const id = 1 + pick(KEYS);
      const at = `'${timeOf(pick(4) === 0 ? 1_000 : minute + pick(40))}'`;
      const write = `UPDATE register SET name = '${side} ${minute} ${n}', place = '${'甲乙丙'[pick(3)]}', seen_at = ${at} WHERE id = ${id}`;
      statements.push(pick(5) === 0 ? `DELETE FROM register WHERE id = ${id}` : write);
    }
    // Keys of their own: a key that both take up again after it was deleted is nobody's newer row.
    const own = (side === 'civil' ? 1_000 : 2_000) + minute;
    return [
      ...statements,
      `INSERT INTO register VALUES ${edits(own, 3, side, minute)}`,
      `DELETE FROM register WHERE id = ${own}`,
    ];
  };
  const same = () =>
    until(platform, 'both ends have the same rows', async () => {
      const [ours, theirs] = await Promise.all([civil.rows(ROWS), department.query(ROWS)]);
      return JSON.stringify(ours) === JSON.stringify(theirs) && ours;
    });
  const deaths = dieAtEach(platform.agent('health'), ['arrivals.noted']);
  await deaths.armed;
  for (let n = 0; n < ROUNDS; n++) {
    await Promise.all([
      civil.run(...round('civil', n * 50 + 1)),
      ...round('health', n * 50 + 1).map((statement) => department.query(statement)),
    ]);
    // What was edited on top of the other end's row, and what at once with it.
    if (n % 2 === 1) await atRest(platform);
  }
  await deaths.over;
  await same();

  // Still: nothing is under way, and what each end sends from here on is what its own people change.
  const before = await atRest(platform);
  await civil.run(`INSERT INTO register VALUES ${edits(5_000, 20, 'civil', 700)}`);
  await untilAtRest(platform, 'there', before.there + 20);
  await civil.run('DELETE FROM register WHERE id BETWEEN 5000 AND 5004');
  await untilAtRest(platform, 'there', before.there + 25);
  await department.query(
    `UPDATE register SET name = 'health', seen_at = '${timeOf(800)}' WHERE id BETWEEN 5005 AND 5009`,
  );
  await untilAtRest(platform, 'back', before.back + 5);
  await same();
  expect(await atRest(platform)).toEqual({ there: before.there + 25, back: before.back + 5 });

  // An edit that sets the time back, on a row that both have: the newer row stays, also where it was edited.
  await department.query(`UPDATE register SET name = 'back', seen_at = '${timeOf(1)}' WHERE id IN (5005, 5010)`);
  await untilAtRest(platform, 'back', before.back + 7);
  await untilAtRest(platform, 'there', before.there + 27);
  await same();
  expect(await civil.rows(`SELECT name FROM register WHERE id IN (5005, 5010) ORDER BY id`)).toEqual([
    ['health'],
    ['civil 5010'],
  ]);

  const check = await platform.tryQiao('reconcile', '--check');
  expect(check.code, check.stdout).toBe(0);
  for (const bridge of ['there', 'back']) {
    const verified = await platform.tryQiao('bridge', 'verify', bridge, '--wait');
    expect(verified.code, `${verified.stdout}${verified.stderr}`).toBe(0);
  }
});

/** Nothing is under way, and no row waits to be sent back. */
async function atRest(platform: Platform): Promise<{ there: number; back: number }> {
  return until(platform, 'nothing is under way', async () => {
    if (['health', 'civil-affairs'].some((node) => sendsBack(platform.agentDirectory(node)))) return false;
    const [there, back] = await Promise.all([booksLine(platform, 'there'), booksLine(platform, 'back')]);
    return (
      there.inFlightDeliveries + back.inFlightDeliveries === 0 && { there: there.sent.total, back: back.sent.total }
    );
  });
}

function edits(first: number, count: number, side: string, minute: number): string {
  const row = (id: number) => `(${id}, '${side} ${id}', '甲', '${timeOf(minute)}')`;
  return Array.from({ length: count }, (_none, index) => row(first + index)).join(', ');
}

function timeOf(minute: number): string {
  const [hours, minutes] = [Math.floor(minute / 60), minute % 60];
  return `2026-01-01 ${String(hours).padStart(2, '0')}:${String(minutes).padStart(2, '0')}:00`;
}

/** Asked of the exchange database: the look that sends it comes within a second. */
function sendsBack(directory: string): boolean {
  const database = new Database(join(directory, 'exchange.db'), { readonly: true });
  try {
    return database.prepare('SELECT 1 FROM kept_row WHERE is_due = 1').get() !== undefined;
  } finally {
    database.close();
  }
}
