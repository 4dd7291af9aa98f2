// Changes by the binary log of MariaDB: a backlog, until it is durable in the source agent's outbox and until it is committed at a PostgreSQL.

import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { BINLOG, connectMysql, type MysqlClient, startMysql } from '@qiao/adapters/mysql-testing';
import { Platform } from '@qiao/testkit';
import Sqlite from 'better-sqlite3';
import { AS_SHIPPED, LoadWorld, type Measured, profiled } from './load.ts';
import { PERSON_IN_MARIADB } from './maria.ts';
import { Road } from './road.ts';

/** Rows that are there before, and changes of the backlog: half inserts, 40,000 updates, 10,000 deletes, each a statement, a hundred to a transaction. */
const ROWS = 100_000;
const CHANGES = 100_000;

const COLUMNS = (id: string, phone: string) =>
  `${id}, LPAD(${id}, 18, '3'), CONCAT('王', ${id}), ${id} % 2, '1980-05-06', '01', CONCAT('浙江省杭州市西湖区文三路', ${id}, '号'),
   ${phone}, LPAD(${id}, 18, '9'), ${id} / 100, REPEAT('备注', 20), '2024-01-01 08:00:00'`;
const FILL = `INSERT INTO person SELECT ${COLUMNS('seq', "'13800000000'")} FROM seq_1_to_${ROWS}`;
const PROCEDURE = `CREATE PROCEDURE run_changes(n INT) BEGIN
  DECLARE k INT DEFAULT 0; DECLARE i INT DEFAULT 0; DECLARE u INT DEFAULT 0; DECLARE d INT DEFAULT 0;
  START TRANSACTION;
  WHILE k < n DO
    IF k % 10 < 5 THEN SET i = i + 1; INSERT INTO person VALUES (${COLUMNS(`(${ROWS} + i)`, "'13900000000'")});
    ELSEIF k % 10 < 9 THEN SET u = u + 1; UPDATE person SET phone = CONCAT('137', u), income = income + 1 WHERE id = (u * 7 % ${ROWS / 10}) * 10 + 1;
    ELSE SET d = d + 1; DELETE FROM person WHERE id = d * 10;
    END IF;
    SET k = k + 1;
    IF k % 100 = 0 THEN COMMIT; START TRANSACTION; END IF;
  END WHILE;
  COMMIT; END`;

export interface BinlogMeasured {
  readonly changes: number;
  /** Until all were in the outbox. */
  readonly capturedMs: number;
  readonly caughtUp: Measured;
}

export async function measureBinlog(): Promise<BinlogMeasured> {
  await using server = await startMysql(BINLOG, { own: true });
  const { name: _, ...config } = await server.database();
  await using owner = connectMysql(server.url, config.database);
  await owner.query(`GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${config.user}'@'%'`);
  await owner.query(PERSON_IN_MARIADB);
  await owner.query(FILL);
  await owner.query(PROCEDURE);
  await using world = await LoadWorld.create(1, 1);
  await world.target.run('TRUNCATE person');
  const platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { his: config }, more: { limits: AS_SHIPPED } },
      { code: 'civil-affairs', dataSources: { own: world.target.config }, more: { limits: AS_SHIPPED } },
    ],
    environment: profiled,
  });
  await using road = new Road(world, platform, { ...world.databases, MariaDB: `--port=${config.port}` });
  await road.loadBetween(
    'binlog',
    { node: 'health', dataSource: 'his' },
    { node: 'civil-affairs', dataSource: 'own' },
    'log',
    ROWS,
  );
  road.freezeSource();
  await owner.query(`CALL run_changes(${CHANGES})`);
  let capturedMs = 0;
  const caughtUp = await road.measure(async (startedAtMs) => {
    road.thawSource();
    await captured(join(platform.agentDirectory('health'), 'exchange.db'), ROWS + CHANGES / 2 - CHANGES / 10);
    capturedMs = Date.now() - startedAtMs;
    return road.lastAppliedAt('binlog', ROWS + CHANGES);
  });
  await same(owner, world);
  return { changes: CHANGES, capturedMs, caughtUp };
}

/** Resolves when the outbox's table has so many rows: digests become durable with the delivery that carries them. */
async function captured(file: string, rows: number): Promise<void> {
  const database = new Sqlite(file, { readonly: true });
  try {
    const count = database.prepare('SELECT sum(digest_count) FROM capture_table').pluck();
    while (count.get() !== rows) await pause(20);
  } finally {
    database.close();
  }
}

/** Throws when the tables differ, by sums that know nothing of Qiao. */
async function same(owner: Pick<MysqlClient, 'query'>, { target }: LoadWorld): Promise<void> {
  const [found] = await target.rows('SELECT count(*), sum(id), sum(income), sum(phone::numeric) FROM person');
  const [expected] = await owner.query(
    'SELECT COUNT(*), SUM(id), SUM(income), SUM(CAST(phone AS DECIMAL(20))) FROM person',
  );
  if (found?.join(' ') !== expected?.join(' '))
    throw new Error(`tables differ: ${found?.join(' ')} and ${expected?.join(' ')}`);
}
