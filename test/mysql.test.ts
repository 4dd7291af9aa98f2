// MariaDB on the road, both ways: a load and mixed changes MariaDB → PostgreSQL and PostgreSQL → MariaDB through real agents, in tables
// and columns with Chinese names. Both ends are compared by their own clients, and the counts with those that the story made.

import { connectMysql, type MysqlServer, startMysql } from '@qiao/adapters/mysql-testing';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { Platform, postgresDatabase, readBooks } from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { applyBridges, bridgeYaml, byOutcome, untilAtRest, untilSame } from './world.ts';

const ROWS = 2_000;
const READ = (table: string) =>
  `SELECT CONCAT("证明编号", ''), "姓名", CAST("出生日期" AS char(10)), "备注" FROM "${table}" ORDER BY "证明编号"`;

let mysql: MysqlServer;
let postgres: PostgresServer;
beforeAll(async () => {
  [mysql, postgres] = await Promise.all([startMysql(), startPostgres()]);
});
afterAll(async () => {
  await mysql?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

function values(from: number, to: number): string {
  const notes = ["''", 'NULL', "'制表\t符'", "'两\n行'", "'反\\\\斜'", "'𠮷野家'", "'it''s'"];
  const row = (n: number) => `(${n}, '张${n}', '2024-0${1 + (n % 9)}-1${n % 10}', ${notes[n % notes.length]})`;
  return Array.from({ length: to - from + 1 }, (_none, index) => row(from + index)).join(', ');
}

test('MariaDB → PostgreSQL and PostgreSQL → MariaDB end in the same rows and balanced books', async () => {
  const config = await mysql.database();
  await using department = connectMysql(mysql.url, config.database);
  await using civil = await postgresDatabase(await postgres.database());
  const maria = { rows: (sql: string) => department.query(sql), run: (sql: string) => department.query(sql) };
  const { name: _, ...settings } = config;

  // 9007199254740993 is a key that no JavaScript number holds; a zero date stays behind, counted.
  await maria.run(`CREATE TABLE "出生医学证明" ("证明编号" bigint unsigned NOT NULL PRIMARY KEY, "姓名" varchar(64) NOT NULL, "出生日期" date, "备注" longtext);
    INSERT INTO "出生医学证明" VALUES ${values(1, ROWS)}, (9007199254740993, '李四', NULL, '');
    SET SESSION sql_mode = 'ANSI_QUOTES'; INSERT INTO "出生医学证明" VALUES (5000, '零', '0000-00-00', ''); SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES'`);
  await maria.run(
    `CREATE TABLE "婚姻登记" ("证明编号" bigint NOT NULL PRIMARY KEY, "姓名" varchar(64) NOT NULL, "出生日期" date, "备注" longtext)`,
  );
  const columns = `("证明编号" numeric(20,0) PRIMARY KEY, "姓名" varchar(64) NOT NULL, "出生日期" date, "备注" text)`;
  await civil.run(
    `CREATE TABLE "出生登记" ${columns}`,
    `CREATE TABLE "婚姻" ${columns.replace('numeric(20,0)', 'bigint')}`,
    `INSERT INTO "婚姻" VALUES ${values(1, ROWS)}`,
  );

  await using platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { his: settings }, more: { limits: { compareEveryMs: 300 } } },
      { code: 'civil-affairs', dataSources: { main: civil.config }, more: { limits: { compareEveryMs: 300 } } },
    ],
  });
  const births = { name: 'births', from: 'health', source: 'his', table: '出生医学证明' };
  const marriages = { name: 'marriages', from: 'civil-affairs', source: 'main', table: '婚姻' };
  await applyBridges(
    platform,
    bridgeYaml({ ...births, to: [{ node: 'civil-affairs', dataSource: 'main', table: '出生登记' }] }),
    bridgeYaml({ ...marriages, to: [{ node: 'health', dataSource: 'his', table: '婚姻登记' }] }),
  );
  const sameBirths = (source = READ('出生医学证明')) => untilSame(platform, maria, source, civil, READ('出生登记'));
  const sameMarriages = () => untilSame(platform, civil, READ('婚姻'), maria, READ('婚姻登记'));
  await sameBirths(READ('出生医学证明').replace(' ORDER', ' WHERE "证明编号" <> 5000 ORDER'));
  await sameMarriages();
  expect(byOutcome(await untilAtRest(platform, 'births', ROWS + 1))).toEqual({ inserted: ROWS + 1 });
  expect(byOutcome(await untilAtRest(platform, 'marriages', ROWS))).toEqual({ inserted: ROWS });

  // While a row cannot be named no delete is claimed: its date is mended in the same transaction.
  await maria.run(`BEGIN; UPDATE "出生医学证明" SET "出生日期" = NULL WHERE "证明编号" = 5000; UPDATE "出生医学证明" SET "姓名" = CONCAT("姓名", '改') WHERE "证明编号" <= 300; DELETE FROM "出生医学证明" WHERE "证明编号" BETWEEN 1901 AND 2000;
    INSERT INTO "出生医学证明" VALUES ${values(3001, 3200)}; COMMIT`);
  await civil.run(
    `UPDATE "婚姻" SET "姓名" = "姓名" || '改' WHERE "证明编号" <= 300`,
    `DELETE FROM "婚姻" WHERE "证明编号" BETWEEN 1901 AND 2000`,
    `INSERT INTO "婚姻" VALUES ${values(3001, 3200)}`,
  );
  for (const [bridge, inserted] of [
    ['births', ROWS + 202],
    ['marriages', ROWS + 200],
  ] as const) {
    const after = await untilAtRest(platform, bridge, inserted + 400);
    expect(after.sent).toEqual({ total: inserted + 400, inserts: inserted, updates: 300, deletes: 100 });
    expect(byOutcome(after)).toEqual({ inserted, updated: 300, deleted: 100 });
    expect(after.verdict).toBe('VERDICT_BALANCED');
  }
  await sameBirths();
  await sameMarriages();
  const check = await platform.tryQiao('reconcile', '--check');
  expect(check.code, check.stdout).toBe(0);
  for (const bridge of ['births', 'marriages']) {
    const verified = await platform.tryQiao('bridge', 'verify', bridge);
    expect(verified.code, `${verified.stdout}${verified.stderr}`).toBe(0);
  }
  expect((await readBooks(platform, 'births')).lines).toHaveLength(1);
});
