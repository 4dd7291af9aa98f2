/** One empty database of each kind on servers of their own, and the ways in which a table is followed there. */
import type { LogReading, SnapshotTable } from '../adapter.ts';
import { type Fixture, scan } from '../contract-suite/fixture.ts';
import { openMysql } from '../mysql/dataSource.ts';
import { BINLOG, connectMysql, startMysql } from '../mysql/server.testing.ts';
import { openPostgres } from '../postgres/dataSource.ts';
import { departmentSession, startPostgres } from '../postgres/server.testing.ts';
import { makeDepartment } from '../sqlite/department.testing.ts';
import { SYSTEMS, type System } from './systems.testing.ts';

export type Department = Pick<Fixture, 'dataSource' | 'sql' | 'query'>;

export interface MatrixWorld extends AsyncDisposable {
  of(system: Pick<System, 'adapter'>): Department;
  /** Installs triggers at the table; the function gives the keys that they noted since. */
  tracked(system: System, table: string): Promise<() => Promise<string[]>>;
  /** Follows the table in the log, where the database has one that is read. */
  followed(system: System, table: SnapshotTable): Promise<Followed | undefined>;
}

export interface Followed extends AsyncDisposable {
  /** Row text of so many transactions from now on. */
  lines(transactions: number): Promise<Buffer>;
}

const LOG_NAME = 'qiao_matrix';

export async function openWorld(): Promise<MatrixWorld> {
  const stack = new AsyncDisposableStack();
  const [postgres, mysql] = await Promise.all([startPostgres(['wal_level=logical']), startMysql([...BINLOG])]);
  stack.use(postgres);
  stack.use(mysql);
  const postgresConfig = await postgres.database();
  const mysqlConfig = await mysql.database();
  const session = stack.use(await departmentSession(postgresConfig));
  const client = stack.use(connectMysql(mysql.url, mysqlConfig.database));
  await client.query(`GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${mysqlConfig.user}'@'%'`);
  const postgresSource = openPostgres(postgresConfig);
  const mysqlSource = openMysql(mysqlConfig);
  stack.defer(() => postgresSource.close());
  stack.defer(() => mysqlSource.close());
  const departments: Record<System['adapter'], Department> = {
    postgres: {
      dataSource: postgresSource,
      sql: async (text) => void (await session.query(text)),
      query: session.query,
    },
    mysql: { dataSource: mysqlSource, sql: async (text) => void (await client.query(text)), query: client.query },
    sqlite: stack.use(await makeDepartment()),
  };
  for (const { adapter, prepare } of SYSTEMS) await departments[adapter].sql(prepare);
  return {
    of: ({ adapter }) => departments[adapter],
    async tracked({ adapter }, table) {
      const { dataSource } = departments[adapter];
      if (dataSource.triggers === undefined) throw new Error(`${adapter} has no triggers`);
      const plan = await dataSource.triggers.plan({ table, ref: { name: table }, owner: 'matrix' });
      await dataSource.triggers.run(plan.install);
      return async () => {
        const { rows } = await scan(dataSource, plan.entries);
        return rows.flatMap(([, operation, key]) => (operation === 'I' && key != null ? [key] : []));
      };
    },
    async followed({ adapter }, table) {
      const { log } = departments[adapter].dataSource;
      if (log === undefined) return undefined;
      const prepared = await log.prepare({ name: LOG_NAME, tables: [table] });
      const reading = await prepared.read(prepared.newest, new AbortController().signal);
      return {
        lines: (transactions) => linesOf(reading, transactions),
        async [Symbol.asyncDispose]() {
          await reading[Symbol.asyncDispose]();
          await log.remove(LOG_NAME);
        },
      };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function linesOf(reading: LogReading, transactions: number): Promise<Buffer> {
  const lines: Buffer[] = [];
  let left = transactions;
  for await (const pieces of reading) {
    for (const { transaction, changes, position } of pieces) {
      lines.push(...changes.map(({ line }) => line));
      if (transaction !== undefined && position !== undefined) left -= 1;
    }
    if (left <= 0) break;
  }
  return Buffer.concat(lines);
}
