/** A database that is only read, as a data source: what `../serverDataSource.ts` asks of it, each from the file beside that knows. */
import type { DataSource } from '../adapter.ts';
import { ServerDataSource } from '../serverDataSource.ts';
import { checkSource } from './check.ts';
import { quoted } from './cursor.ts';
import type { Reader, SourceDatabase } from './reader.ts';
import { openSnapshot } from './snapshot.ts';

const CHECK_LIMIT_MS = 60_000;

/** Nothing is connected yet. */
export function sourceOnly<Session extends Reader>(name: string, database: SourceDatabase<Session>): DataSource {
  return new ServerDataSource<Session>(name, {
    adapter: database.adapter,
    schema: database.schema,
    open: () => database.open({ purpose: 'check', limitMs: CHECK_LIMIT_MS }),
    product: (session) => session.product,
    trials: database.trials,
    readTables: (session) => database.readTables(session),
    readTable: (session, schema, table) => database.readTable(session, schema, table),
    isTableEmpty: async (session, schema, table) => {
      const exists = `EXISTS (SELECT 1 FROM ${quoted(database, { schema, name: table })})`;
      const sql = `SELECT CASE WHEN ${exists} THEN 1 ELSE 0 END${database.fromNothing}`;
      const [row] = await session.rows({ sql, values: [] });
      return row?.[0] === '0';
    },
    checkSource: (session, tables) => checkSource(database, session, tables),
    openSnapshot: (options) => openSnapshot(database, options),
    remainsOpen: (session, horizon) => database.horizon.remains(session, horizon),
  });
}
