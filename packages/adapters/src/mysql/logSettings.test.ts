/** Servers with settings of their own: databases left out of the log, replication domains, strict and other numbers of transactions. */
import { describe, expect, test } from 'vitest';
import { snapshotTable } from '../contract-suite/fixture.ts';
import { logWorld, shown, take, takePieces } from './logWorld.testing.ts';
import { BINLOG, connectMysql, OWN_IS_MARIADB, startMysql, WORDS } from './server.testing.ts';

describe('databases that a server leaves out of its log', () => {
  test.each([
    ['--binlog-ignore-db=hidden', ['hidden.t LOG_FILTERED']],
    ['--binlog-do-db=hidden', ['t LOG_FILTERED']],
  ])('are told by the check, and their tables are not followed: %s', async (filter, expected) => {
    await using server = await startMysql([...BINLOG, filter], { own: true });
    await using w = await logWorld(server, 'CREATE TABLE t (id int PRIMARY KEY)');
    await w.sql(
      `CREATE DATABASE hidden; CREATE TABLE hidden.t (id int PRIMARY KEY); GRANT SELECT ON hidden.* TO '${w.config.user}'@'%'`,
    );
    const refs = [{ name: 't' }, { schema: 'hidden', name: 't' }];
    const problems = await w.dataSource.checkSource(
      refs.map((ref) => ({ table: [ref.schema, ref.name].filter(Boolean).join('.'), ref, log: true })),
    );
    expect(problems.map(({ path, code }) => `${path} ${code}`)).toEqual(expected);
    expect(problems[0]?.hint).toMatch(/^binlog_do_db and binlog_ignore_db in its configuration/);
    const tables = await Promise.all(
      refs.map(async (ref) => ({ ...(await snapshotTable(w.dataSource, 't', ['id'])), ref })),
    );
    const { tables: states } = await w.prepare(tables);
    const unfit = states.map((state) => ('unfit' in state ? state.unfit.code : 'followed'));
    expect(unfit).toEqual(
      expected[0] === 't LOG_FILTERED' ? ['LOG_FILTERED', 'followed'] : ['followed', 'LOG_FILTERED'],
    );
    // What the server does log of both is what the states say.
    await using reading = await w.follow(tables);
    await w.sql('INSERT INTO hidden.t VALUES (1)');
    await w.sql('INSERT INTO t VALUES (1)');
    const pieces = await takePieces(reading, 1);
    const followed = unfit.indexOf('followed');
    expect(pieces.flatMap(({ changes }) => changes.map(({ table }) => table))).toEqual([followed]);
  });
});

describe.runIf(OWN_IS_MARIADB)('numbers of transactions', () => {
  /** A table that is followed, and a writer whose session names another origin. */
  const table = async (w: Awaited<ReturnType<typeof logWorld>>) => [await snapshotTable(w.dataSource, 't', ['id'])];
  const rows = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `insert ${from + i}`);

  test('of several domains and servers, in any order of files, lead a reader on from each place', async () => {
    await using server = await startMysql([...BINLOG, '--gtid-strict-mode=1', '--gtid-domain-id=3'], { own: true });
    await using w = await logWorld(server, 'CREATE TABLE t (id int PRIMARY KEY)');
    await using other = connectMysql(server.url, w.config.database);
    const tables = await table(w);
    await using reading = await w.follow(tables);
    const write = (id: number, origin = '') =>
      origin === '' ? w.sql(`INSERT INTO t VALUES (${id})`) : other.query(`${origin}; INSERT INTO t VALUES (${id})`);
    await write(1);
    await write(2, 'SET gtid_domain_id = 7, server_id = 42');
    await write(3);
    await w.sql('FLUSH BINARY LOGS');
    await write(4, 'SET server_id = 43');
    await write(5, 'SET gtid_domain_id = 8');
    await write(6);
    await write(7, 'SET gtid_domain_id = 7, server_id = 42');
    await w.sql('FLUSH BINARY LOGS');
    await write(8);
    const pieces = await takePieces(reading, 8);
    expect(shown(pieces.flatMap(({ changes }) => changes))).toEqual(rows(1, 8));
    for (const [index, { position }] of pieces.slice(0, -1).entries()) {
      await using again = await w.follow(tables, position);
      expect([index, ...shown(await take(again, 7 - index))]).toEqual([index, ...rows(index + 2, 8)]);
    }
  });

  test('that go back, as a server without gtid_strict_mode lets them, are read, and are no other log', async () => {
    await using server = await startMysql(BINLOG, { own: true });
    await using w = await logWorld(server, 'CREATE TABLE t (id int PRIMARY KEY)');
    await using other = connectMysql(server.url, w.config.database);
    const tables = await table(w);
    await using reading = await w.follow(tables);
    for (const [id, number] of [1000, 1001, 5, 6, 1001, 4].entries()) {
      await other.query(`SET gtid_seq_no = ${number}; INSERT INTO t VALUES (${id + 1})`);
      if (id === 3) await w.sql('FLUSH BINARY LOGS');
    }
    const pieces = await takePieces(reading, 6);
    expect(shown(pieces.flatMap(({ changes }) => changes))).toEqual(rows(1, 6));
    for (const [index, { position }] of pieces.slice(0, -1).entries()) {
      await using again = await w.follow(tables, position);
      expect([index, ...shown(await take(again, 5 - index))]).toEqual([index, ...rows(index + 2, 6)]);
    }
  });

  test('of a domain that was deleted stand in places from before, which are still found', async () => {
    await using server = await startMysql(BINLOG, { own: true });
    await using w = await logWorld(server, 'CREATE TABLE t (id int PRIMARY KEY)');
    await using other = connectMysql(server.url, w.config.database);
    const tables = await table(w);
    await using reading = await w.follow(tables);
    await other.query('SET gtid_domain_id = 7; CREATE TABLE once (id int PRIMARY KEY); INSERT INTO once VALUES (1)');
    await w.sql('FLUSH BINARY LOGS');
    await w.sql('INSERT INTO t VALUES (1)');
    const [first] = await takePieces(reading, 1);
    expect(first?.position).toMatch(/\b7-1-\d+/);
    const [newest] = await other.query(WORDS.status);
    // The server lets go of a file once the engine has, too, which it is told a moment later.
    while ((await other.query('SHOW BINARY LOGS')).length > 1)
      await other.query(`PURGE BINARY LOGS TO '${newest?.[0]}'`);
    await w.sql('FLUSH BINARY LOGS DELETE_DOMAIN_ID = (7)');
    await w.sql('INSERT INTO t VALUES (2)');
    await using again = await w.follow(tables, first?.position);
    const [second] = await takePieces(again, 1);
    expect(shown(second?.changes ?? [])).toEqual(['insert 2']);
    expect(second?.position).not.toMatch(/7-1-/);
    await w.sql('INSERT INTO t VALUES (3)');
    await using last = await w.follow(tables, second?.position);
    expect(shown(await take(last, 1))).toEqual(['insert 3']);
  });
});
