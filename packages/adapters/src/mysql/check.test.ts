/** What the check of MySQL and MariaDB finds beyond the common contract. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { integer, mirror, text } from '../contract-suite/fixture.ts';
import { openMysql } from './dataSource.ts';
import { connectMysql, type MysqlServer, startMysql } from './server.testing.ts';

let server: MysqlServer;
beforeAll(async () => {
  server = await startMysql();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const TABLE = mirror('t', [
  { name: 'id', type: integer },
  { name: 'x', type: text },
]);

test('triggers are seen by an account that may only write rows, or it is said that they are not', async () => {
  const config = await server.database();
  await using department = connectMysql(server.url, config.database);
  const user = `w_${config.user}`;
  await department.query(
    `CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x longtext);
     CREATE TRIGGER changes BEFORE INSERT ON t FOR EACH ROW SET NEW.x = 'other';
     DROP USER IF EXISTS '${user}'@'%'; CREATE USER '${user}'@'%' IDENTIFIED BY 'secret';
     GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE TEMPORARY TABLES ON ${config.database}.* TO '${user}'@'%'`,
  );
  const check = async () => {
    const dataSource = openMysql({ ...config, user });
    const problems = await dataSource.checkTarget([TABLE], new Map());
    await dataSource.close();
    return problems;
  };
  if (!server.isMariaDb) {
    const [unseen, ...rest] = await check();
    expect([unseen?.code, rest.map(({ code }) => code)]).toEqual(['TRIGGERS_UNSEEN', ['FOREIGN_KEYS_UNSEEN']]);
    await department.query(unseen?.hint.slice(0, unseen.hint.indexOf(';')) ?? '');
  }
  expect((await check()).map(({ code }) => code)).toEqual(['TARGET_TRIGGER', 'FOREIGN_KEYS_UNSEEN']);
});

test('keys of tables that the account has no rights on are seen with PROCESS, and said to be unseen without', async () => {
  const config = await server.database();
  await using department = connectMysql(server.url, config.database);
  const [user, other] = [`f_${config.user}`, `${config.database}_other`];
  await department.query(
    `CREATE TABLE "表 t" (id bigint NOT NULL PRIMARY KEY, x longtext); CREATE DATABASE ${other};
     CREATE TABLE ${other}."子-表" (id bigint PRIMARY KEY, p bigint, CONSTRAINT "键/1" FOREIGN KEY (p) REFERENCES ${config.database}."表 t" (id) ON DELETE SET NULL);
     DROP USER IF EXISTS '${user}'@'%'; CREATE USER '${user}'@'%' IDENTIFIED BY 'secret';
     GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE TEMPORARY TABLES, TRIGGER ON ${config.database}.* TO '${user}'@'%'`,
  );
  const check = async () => {
    const dataSource = openMysql({ ...config, user });
    const problems = await dataSource.checkTarget([{ ...TABLE, ref: { name: '表 t' } }], new Map());
    await dataSource.close();
    return problems;
  };
  const [unseen, ...rest] = await check();
  expect([unseen?.code, unseen?.warning, rest]).toEqual(['FOREIGN_KEYS_UNSEEN', true, []]);
  await department.query(unseen?.hint.slice(0, unseen.hint.indexOf(';')) ?? '');
  expect(await check()).toMatchObject([
    {
      code: 'FOREIGN_KEY_CASCADES',
      path: 't.子-表',
      message: expect.stringMatching(/^foreign key 键\/1 of 子-表 says ON DELETE SET NULL/),
    },
  ]);
  await department.query(`DROP DATABASE ${other}`);
});

test('a server that takes no writes is told to a target', async () => {
  await using own = await startMysql([], { own: true });
  const config = await own.database();
  await using owner = connectMysql(own.url, config.database);
  await owner.query('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x longtext); SET GLOBAL read_only = 1');
  const dataSource = openMysql(config);
  const problems = await dataSource.checkTarget([TABLE], new Map());
  await dataSource.close();
  expect(problems.map(({ code }) => code)).toEqual(['TARGET_READ_ONLY', 'FOREIGN_KEYS_UNSEEN']);
});

test('a column is not called too narrow for what one of its own width holds', async () => {
  const config = await server.database();
  await using department = connectMysql(server.url, config.database);
  const types = ['timestamp', 'text', 'binary(8)', 'decimal(10,2) unsigned', 'float(7,4)', 'double unsigned'];
  const columns = types.map((type, place) => `c${place} ${type} NULL`).join(', ');
  await department.query(
    `CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, ${columns}, wide text CHARACTER SET gbk, short binary(4)) CHARACTER SET utf8mb4;
     CREATE TABLE u (id bigint NOT NULL PRIMARY KEY, ${columns.replace('timestamp', 'timestamp(3)')}, wide text, short binary(8)) CHARACTER SET utf8mb4`,
  );
  const dataSource = openMysql(config);
  const described = (await dataSource.describe({ name: 't' }))?.columns ?? [];
  const narrow = async (adapter: string) => {
    const sent = described.map(({ name, type, nullable, nativeType }) => {
      if ('unsupported' in type) throw new Error(`${name} cannot travel`);
      return { name, type, nullable, stored: { adapter, nativeType } };
    });
    const target = mirror('t', sent, { ref: { name: 'u' } });
    const problems = await dataSource.checkTarget([target], new Map([['t', { columns: sent }]]));
    return problems.flatMap(({ code, path }) => (code === 'TYPE_NARROW' ? [path] : []));
  };
  expect(await narrow('mysql')).toEqual(['t.wide', 't.short']);
  // Of another database the names of types say nothing.
  expect(await narrow('postgres')).toEqual([...types.map((_type, place) => `t.c${place}`), 't.wide', 't.short']);
  await dataSource.close();
});
