// A million rows in bounded memory: the promise that no table, and no transaction, is too large for a front-end machine.

import { BINLOG, connectMysql, numbers, startMysql } from '@qiao/adapters/mysql-testing';
import { startPostgres } from '@qiao/adapters/testing';
import { Platform, postgresDatabase } from '@qiao/testkit';
import { expect, test } from 'vitest';
import { AS_SHIPPED, LoadWorld } from './bench/load.ts';
import { watchProcesses } from './bench/processes.ts';
import { applyBridges, bridgeYaml, untilAtRest } from './world.ts';

test('1,000,000 rows go from PostgreSQL to PostgreSQL and no agent holds more than 300 MB', {
  timeout: 600_000,
}, async () => {
  await using world = await LoadWorld.create(1_000_000, 100_000);
  const { use, ms } = await world.load();
  process.stdout.write(`a million rows in ${Math.round(ms)} ms; peaks ${JSON.stringify(use)}\n`);
  expect(use.health?.peakBytes).toBeLessThan(300 * 2 ** 20);
  expect(use['civil-affairs']?.peakBytes).toBeLessThan(300 * 2 ** 20);
});

test('a transaction of 1,000,000 changes goes by the log of PostgreSQL, and of MariaDB, and no agent holds more than 300 MB', {
  timeout: 600_000,
}, async () => {
  await using postgres = await startPostgres(['wal_level=logical', 'max_wal_size=4GB']);
  await using mysql = await startMysql(BINLOG, { own: true });
  await using source = await postgresDatabase(await postgres.database());
  await using target = await postgresDatabase(await postgres.database());
  const { name: _, ...settings } = await mysql.database();
  await using maria = connectMysql(mysql.url, settings.database);
  await maria.query(`GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${settings.user}'@'%'`);
  const name = "concat('name of ', n, repeat('x', 40))";
  const ends = [
    {
      node: 'health',
      ask: (sql: string) => source.rows(sql),
      numbers: (last: number) => `generate_series(1, ${last}) n`,
    },
    {
      node: 'school',
      ask: (sql: string) => maria.query(sql),
      numbers: (last: number) => numbers(1, last),
    },
  ];
  await using platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { his: source.config }, more: { limits: AS_SHIPPED } },
      { code: 'school', dataSources: { his: settings }, more: { limits: AS_SHIPPED } },
      { code: 'civil-affairs', dataSources: { own: target.config }, more: { limits: AS_SHIPPED } },
    ],
  });
  for (const { node, ask, numbers } of ends) {
    const columns = '(id int PRIMARY KEY, name varchar(100) NOT NULL)';
    await ask(`CREATE TABLE pupil ${columns}`);
    await ask("INSERT INTO pupil VALUES (0, 'first')");
    await target.run(`CREATE TABLE pupil_of_${node} ${columns}`);
    const to = [{ node: 'civil-affairs', dataSource: 'own', table: `pupil_of_${node}` }];
    await applyBridges(
      platform,
      bridgeYaml({ name: node, from: node, source: 'his', capture: 'log', table: 'pupil', to }),
    );
    await untilAtRest(platform, node, 1);
    const watch = watchProcesses(platform, {});
    await ask(`INSERT INTO pupil SELECT n, ${name} FROM ${numbers(1_000_000)}`);
    const committedAt = performance.now();
    await untilAtRest(platform, node, 1_000_001, undefined, 400_000);
    const ms = Math.round(performance.now() - committedAt);
    const use = watch.stop();
    process.stdout.write(
      `a transaction of a million by the log of ${node} in ${ms} ms; peaks ${JSON.stringify(use)}\n`,
    );
    for (const agent of [node, 'civil-affairs'])
      expect(use[agent]?.peakBytes, `memory of ${agent}`).toBeLessThan(300 * 2 ** 20);
    expect(
      await target.rows(
        `SELECT count(*), count(*) FILTER (WHERE name = ${name.replace(' n,', ' id,')}) FROM pupil_of_${node}`,
      ),
    ).toEqual([['1000001', '1000000']]);
  }
});
