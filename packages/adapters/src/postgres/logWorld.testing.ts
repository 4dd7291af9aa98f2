/** A database of one department whose log is followed, for tests. Never part of shipped code. */
import type { LogChange, LogReading, PreparedLog, SnapshotTable } from '../adapter.ts';
import { openPostgres } from './dataSource.ts';
import { PostgresLog } from './log.ts';
import { departmentSession, type PostgresServer } from './server.testing.ts';

export async function logWorld(server: PostgresServer, ddl: string) {
  const config = await server.database();
  const dataSource = openPostgres(config);
  const log = new PostgresLog(config);
  const department = await departmentSession(config);
  await department.query(ddl);
  const name = `qiao_${config.database}`;
  const prepare = (tables: readonly SnapshotTable[]) => log.prepare({ name, tables });
  return {
    dataSource,
    config,
    log,
    name,
    sql: (text: string) => department.query(text),
    prepare,
    follow: async (tables: readonly SnapshotTable[], from?: string) => {
      const prepared = await prepare(tables);
      return await prepared.read(from ?? prepared.oldest, new AbortController().signal);
    },
    async [Symbol.asyncDispose]() {
      await log.remove(name);
      await department[Symbol.asyncDispose]();
      await dataSource.close();
    },
  };
}

/** Changes of the next whole transactions. */
export async function take(reading: LogReading, transactions: number): Promise<LogChange[]> {
  const changes: LogChange[] = [];
  let left = transactions;
  for await (const pieces of reading) {
    for (const piece of pieces) {
      changes.push(...piece.changes);
      if (piece.transaction !== undefined && piece.position !== undefined) left -= 1;
    }
    if (left <= 0) break;
  }
  return changes;
}

/** What each table is known by, or why it is left out. */
export function standings({ tables }: PreparedLog): string[] {
  return tables.map((each) => ('identity' in each ? each.identity : each.unfit.code));
}
