/** MariaDB itself does what is tried at its kin, and what is not there is named. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacking } from '../product.ts';
import { cannotSee, readHorizon } from './horizon.ts';
import { connectMysql, type MysqlServer, startMysql } from './server.testing.ts';
import { type MysqlConfig, openSession, type Server, type Session } from './session.ts';
import { trials } from './trials.ts';

const LIMITS = { statementMs: 10_000, lockMs: 10_000, idleMs: 10_000 };

let server: MysqlServer;
let config: MysqlConfig;
beforeAll(async () => {
  server = await startMysql();
  config = await server.database();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

async function sessionOf(from: MysqlConfig, side: 'SOURCE' | 'TARGET') {
  const session = await openSession(from, { side, purpose: 'test', limits: LIMITS });
  return Object.assign(session, { [Symbol.asyncDispose]: () => session.close() });
}

describe('trials at MariaDB', () => {
  test.each(['SOURCE', 'TARGET'] as const)('as a %s nothing is lacking, and nothing is left behind', async (side) => {
    await using session = await sessionOf(config, side);
    expect(await lacking(session, side, trials)).toEqual([]);
    expect(await lacking(session, side, trials)).toEqual([]);
  });

  test('what is not there is named, and the rest is tried', async () => {
    const user = `t_${config.user}`;
    await using owner = connectMysql(server.url, config.database);
    await owner.query(
      `DROP USER IF EXISTS '${user}'@'%'; CREATE USER '${user}'@'%' IDENTIFIED BY 'secret'; GRANT SELECT ON ${config.database}.* TO '${user}'@'%'`,
    );
    await using session = await sessionOf({ ...config, user }, 'TARGET');
    expect(await lacking(session, 'TARGET', trials)).toEqual([
      'a strict mode that refuses what does not fit, in temporary tables',
    ]);
  });

  test('a server that alters what does not fit lacks a strict mode', async () => {
    await using session = await sessionOf(config, 'TARGET');
    await session.run("SET SESSION sql_mode = ''");
    expect(await lacking(session, 'TARGET', trials)).toEqual([
      'a strict mode that refuses what does not fit, in temporary tables',
    ]);
  });

  test('a collation that takes texts for each other is named', async () => {
    await using session = await sessionOf(config, 'SOURCE');
    const coarse = withServer(session, { exactCollation: 'utf8mb4_bin' });
    expect(await lacking(coarse, 'SOURCE', trials)).toEqual([
      'a collation by which different bytes are different texts',
    ]);
  });
});

test('the open transactions of a product that is not InnoDB’s house prove nothing', async () => {
  await using owner = connectMysql(server.url, config.database);
  await owner.query(`GRANT PROCESS ON *.* TO '${config.user}'@'%'`);
  await using session = await sessionOf(config, 'SOURCE');
  expect(await cannotSee(session)).toBeUndefined();
  const product = { name: 'TiDB', version: '7.5.0', isKin: true, isVerified: false };
  const kin = withServer(session, { product });
  expect(await cannotSee(kin)).toBe('product');
  expect(await readHorizon(kin)).toBeUndefined();
});

/** The same connection, to a server that is otherwise. */
function withServer(session: Session, changes: Partial<Server>): Session {
  return Object.defineProperties(Object.create(session), {
    server: { value: { ...session.server, ...changes } },
    rows: { value: session.rows.bind(session) },
    run: { value: session.run.bind(session) },
  }) as Session;
}
