// The same rows by way of MariaDB: from the world's PostgreSQL into it, and from there into the world's other database. That the tables
// at both ends of the whole way are the same proves both halves.

import { connectMysql, startMysql } from '@qiao/adapters/mysql-testing';
import { Platform } from '@qiao/testkit';
import { AS_SHIPPED, type LoadWorld, type Measured, profiled } from './load.ts';
import { Road, type RoadEnd } from './road.ts';

export const PERSON_IN_MARIADB = `CREATE TABLE person (
  id bigint PRIMARY KEY, id_no char(18) NOT NULL, name varchar(64) NOT NULL, sex smallint NOT NULL, birth date NOT NULL,
  nation_code char(2) NOT NULL, address varchar(256) NOT NULL, phone varchar(32) NOT NULL, unit_code char(18) NOT NULL,
  income decimal(14,2) NOT NULL, remark longtext, updated_at timestamp(6) NOT NULL DEFAULT '2000-01-01 00:00:00')`;

const HIS: RoadEnd = { node: 'health', dataSource: 'his' };
const MARIA: RoadEnd = { node: 'civil-affairs', dataSource: 'maria' };
const OWN: RoadEnd = { node: 'health', dataSource: 'own' };

/** Loads into MariaDB, then out of it; each agent is the source once. */
export async function* byMariadb(world: LoadWorld): AsyncGenerator<Measured & { readonly what: string }> {
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
  yield { what: 'load MariaDB → PostgreSQL', ...(await road.loadBetween('out-of', MARIA, OWN)) };
  await world.sameAtBothEnds();
}
