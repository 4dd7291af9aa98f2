// The same rows by way of MariaDB: from the world's PostgreSQL into it, and from there into the world's other database, where pgloader
// is installed beside it. That the tables at both ends of the whole way are the same proves both halves.

import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { connectMysql, type MysqlServer, startMysql } from '@qiao/adapters/mysql-testing';
import { Platform, type PostgresConfig } from '@qiao/testkit';
import { AS_SHIPPED, type LoadWorld, type Measured, profiled } from './load.ts';
import { watchProcesses } from './processes.ts';
import { Road, type RoadEnd } from './road.ts';

export const PERSON_IN_MARIADB = `CREATE TABLE person (
  id bigint PRIMARY KEY, id_no char(18) NOT NULL, name varchar(64) NOT NULL, sex smallint NOT NULL, birth date NOT NULL,
  nation_code char(2) NOT NULL, address varchar(256) NOT NULL, phone varchar(32) NOT NULL, unit_code char(18) NOT NULL,
  income decimal(14,2) NOT NULL, remark longtext, updated_at timestamp(6) NOT NULL DEFAULT '2000-01-01 00:00:00')`;

const HIS: RoadEnd = { node: 'health', dataSource: 'his' };
const MARIA: RoadEnd = { node: 'civil-affairs', dataSource: 'maria' };
const OWN: RoadEnd = { node: 'health', dataSource: 'own' };

interface Figure extends Measured {
  readonly what: string;
  readonly beside?: { readonly what: string; readonly ms: number } | undefined;
}

/** Loads into MariaDB, then out of it; each agent is the source once. */
export async function* byMariadb(world: LoadWorld): AsyncGenerator<Figure> {
  await using server = await startMysql([], { own: true });
  const { name: _, ...config } = await server.database();
  await using owner = connectMysql(server.url, config.database);
  await owner.query(PERSON_IN_MARIADB);
  await world.target.run('TRUNCATE person');
  const limits = { ...AS_SHIPPED, compareEveryMs: 86_400_000 };
  const platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: { his: world.source.config, own: world.target.config }, more: { limits } },
      { code: 'civil-affairs', dataSources: { maria: config }, more: { limits } },
    ],
    environment: profiled,
  });
  await using road = new Road(world, platform, { ...world.databases, MariaDB: `--port=${config.port}` });
  yield { what: 'load PostgreSQL → MariaDB', ...(await road.loadBetween('into', HIS, MARIA)) };
  const out = await road.loadBetween('out-of', MARIA, OWN);
  await world.sameAtBothEnds();
  await world.target.run('TRUNCATE person');
  const peer = await pgloader(config, world);
  if (peer === undefined) console.log('pgloader is not installed, and was not run: apt-get install pgloader');
  else yield { what: PEER, ...peer };
  yield { what: 'load MariaDB → PostgreSQL', ...out, beside: peer && { what: PEER, ms: peer.ms } };
}

const PEER = 'pgloader MariaDB → PostgreSQL';

/** The same load by pgloader with its own settings, into the empty table; undefined where it is not installed. */
async function pgloader(
  from: Omit<Awaited<ReturnType<MysqlServer['database']>>, 'name'>,
  world: LoadWorld,
): Promise<Measured | undefined> {
  const { host, port, user, password, database } = world.target.config as PostgresConfig;
  const folder = await mkdtemp('/tmp/qiao-pgloader-');
  const file = join(folder, 'person.load');
  const account = (name: string, word: string | undefined) => (word ? `${name}:${word}` : name);
  await writeFile(
    file,
    `LOAD DATABASE FROM mysql://${account(from.user, from.password)}@${from.host}:${from.port}/${from.database}
  INTO postgresql://${account(user, password)}@${host}:${port}/${database}
  WITH data only, reset no sequences INCLUDING ONLY TABLE NAMES MATCHING 'person' ALTER SCHEMA '${from.database}' RENAME TO 'public';
`,
  );
  const watch = watchProcesses(undefined, { ...world.databases, MariaDB: `--port=${from.port}` });
  const startedAtMs = performance.now();
  try {
    await promisify(execFile)('pgloader', ['--root-dir', folder, file]);
    const ms = performance.now() - startedAtMs;
    const use = watch.stop();
    await world.sameAtBothEnds();
    return { ms, use };
  } catch (error) {
    watch.stop();
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
