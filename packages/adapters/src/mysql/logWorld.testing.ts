/** A database of one department whose log is followed, for tests. Never part of shipped code. */
import type { LogChange, LogPiece, LogReading, SnapshotTable } from '../adapter.ts';
import { openMysql } from './dataSource.ts';
import { MysqlLog } from './log.ts';
import { connectMysql, type MysqlServer } from './server.testing.ts';

export async function logWorld(server: MysqlServer, ddl: string) {
  const config = await server.database();
  const department = connectMysql(server.url, config.database);
  // Who may not ask for prepared transactions is told of all tables when one is committed.
  const xa = server.isMariaDb ? '' : `GRANT XA_RECOVER_ADMIN ON *.* TO '${config.user}'@'%';`;
  await department.query(
    `SET sql_mode = 'NO_BACKSLASH_ESCAPES'; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${config.user}'@'%'; ${xa} ${ddl}`,
  );
  const dataSource = openMysql(config);
  const log = new MysqlLog(config);
  const prepare = (tables: readonly SnapshotTable[]) => log.prepare({ name: `qiao_${config.database}`, tables });
  return {
    dataSource,
    config,
    log,
    sql: (text: string) => department.query(text),
    prepare,
    follow: async (tables: readonly SnapshotTable[], from?: string) => {
      const prepared = await prepare(tables);
      return await prepared.read(from ?? prepared.newest, new AbortController().signal);
    },
    async [Symbol.asyncDispose]() {
      await department[Symbol.asyncDispose]();
      await dataSource.close();
    },
  };
}

/** Pieces until so many transactions with changes of ours have ended. */
export async function takePieces(reading: LogReading, transactions: number): Promise<LogPiece[]> {
  const found: LogPiece[] = [];
  let left = transactions;
  for await (const pieces of reading) {
    for (const piece of pieces) {
      if (piece.transaction === undefined) continue;
      found.push(piece);
      if (piece.position !== undefined) left -= 1;
    }
    if (left <= 0) break;
  }
  return found;
}

export async function take(reading: LogReading, transactions: number): Promise<LogChange[]> {
  return (await takePieces(reading, transactions)).flatMap(({ changes }) => changes);
}

/** `insert 1 a`, and why a row is refused. */
export function shown(changes: readonly LogChange[]): string[] {
  return changes.map(({ kind, line, refused }) =>
    [
      kind,
      ...(line.length === 0 ? [] : line.toString().trim().split('\t')),
      ...(refused === undefined ? [] : [refused]),
    ].join(' '),
  );
}
