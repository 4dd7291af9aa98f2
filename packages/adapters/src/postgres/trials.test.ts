/** PostgreSQL itself does what is tried at its kin, and what is not there is named. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacking } from '../product.ts';
import { checkLog } from './checkLog.ts';
import { canSeeOpen, readHorizon } from './horizon.ts';
import { departmentSession, type PostgresServer, startPostgres } from './server.testing.ts';
import { knownToKin, openSession, type PostgresConfig, type Session } from './session.ts';
import { trials } from './trials.ts';

const LIMITS = { statementMs: 10_000, lockMs: 10_000, idleInTransactionMs: 10_000 };

let server: PostgresServer;
let config: PostgresConfig;
beforeAll(async () => {
  server = await startPostgres();
  config = await server.database();
  await using owner = await departmentSession(config);
  await owner.query('CREATE ROLE limited LOGIN');
  await owner.query(`REVOKE TEMP ON DATABASE ${config.database} FROM PUBLIC`);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

async function sessionOf(user: string, side: 'SOURCE' | 'TARGET') {
  const session = await openSession({ ...config, user }, { side, purpose: 'test', limits: LIMITS });
  return Object.assign(session, { [Symbol.asyncDispose]: () => session.close() });
}

describe('trials at PostgreSQL', () => {
  test.each(['SOURCE', 'TARGET'] as const)('as a %s nothing is lacking, and nothing is left behind', async (side) => {
    await using session = await sessionOf(config.user, side);
    expect(await lacking(session, side, trials)).toEqual([]);
    expect(await lacking(session, side, trials)).toEqual([]);
    expect(await session.rows("SELECT relname FROM pg_class WHERE relname LIKE 'qiao%'")).toEqual([]);
  });

  test('what is not there is named, and the rest is tried', async () => {
    await using session = await sessionOf('limited', 'TARGET');
    expect(await lacking(session, 'TARGET', trials)).toEqual([
      'temporary tables with numbered rows',
      'ON CONFLICT, and which rows it found',
      'COPY into a table',
    ]);
  });

  test('a server that went away lacks nothing: it is away', async () => {
    await using session = await sessionOf(config.user, 'SOURCE');
    session.abandon();
    await expect(lacking(session, 'SOURCE', trials)).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' });
  });

  test('a value that is read otherwise is named', async () => {
    await using session = await sessionOf(config.user, 'SOURCE');
    await session.run("SET bytea_output = 'escape'");
    await session.run('SET extra_float_digits = 0');
    expect(await lacking(session, 'SOURCE', trials)).toEqual([
      'floats as the shortest text that reads back',
      'bytes as hex',
    ]);
  });

  test('a setting is refused that kin do not know and without which values would be read otherwise', async () => {
    await using session = await sessionOf(config.user, 'SOURCE');
    const known = { DateStyle: 'ISO, YMD', row_security: 'off' };
    expect(await knownToKin(session, known)).toEqual(known);
    await expect(knownToKin(session, { ...known, hides_rows: 'off' })).rejects.toMatchObject({
      code: 'SOURCE_SERVER_LACKS',
      message: expect.stringContaining('the setting hides_rows'),
    });
  });
});

describe('kin of PostgreSQL', () => {
  test('is told that its log is not read, and that its open transactions prove nothing', async () => {
    await using session = await sessionOf(config.user, 'SOURCE');
    const kin = asKin(session);
    expect((await checkLog(kin, 'public', [])).map(({ code, message }) => `${code} ${message}`)).toEqual([
      'LOG_OFF the log of KingbaseES is not read in this version',
    ]);
    expect(await canSeeOpen(session)).toBe(true);
    expect(await canSeeOpen(kin)).toBe(false);
    expect(await readHorizon(kin)).toBeUndefined();
  });
});

/** The same connection, to a server that calls itself otherwise. */
function asKin(session: Session): Session {
  const product = { name: 'KingbaseES', version: 'V008R006', isKin: true, isVerified: false };
  return Object.defineProperties(Object.create(session), {
    product: { value: product },
    rows: { value: session.rows.bind(session) },
  }) as Session;
}
