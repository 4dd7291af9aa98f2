/** A PostgreSQL database as a data source: what `../serverDataSource.ts` asks of it, each from the file beside that knows. */

import type { DataSource } from '../adapter.ts';
import { checkPort, ServerDataSource } from '../serverDataSource.ts';
import { checkSource } from './check.ts';
import { checkTarget } from './checkTarget.ts';
import { createTable } from './createTable.ts';
import { isTableEmpty, readTable, readTables } from './describe.ts';
import { remainsOpen } from './horizon.ts';
import { PostgresLog } from './log.ts';
import { defaultSchema, openSession, type PostgresConfig, type Session } from './session.ts';
import { openSnapshot } from './source.ts';
import { createTarget } from './target.ts';
import { trials } from './trials.ts';
import { forgetEntries, planTriggers, runStatements, triggerState } from './triggers.ts';

const LIMITS = { statementMs: 60_000, lockMs: 10_000, idleInTransactionMs: 60_000 };

/** A data source that has not connected yet. Throws CONFIG_INVALID for settings that can never work. */
export function openPostgres(config: PostgresConfig): DataSource {
  checkPort(config, 'PostgreSQL usually listens on 5432');
  const schema = defaultSchema(config);
  return new ServerDataSource<Session>(config.name, {
    adapter: 'postgres',
    schema,
    log: new PostgresLog(config),
    open: (side) => openSession(config, { side, purpose: 'check', limits: LIMITS }),
    product: (session) => session.product,
    trials,
    readTables,
    readTable,
    isTableEmpty,
    checkSource: (session, tables) => checkSource(session, schema, tables),
    openSnapshot: (options) => openSnapshot(config, options),
    remainsOpen,
    writing: {
      checkTarget: (session, tables, shapes) => checkTarget(session, schema, tables, shapes),
      planTriggers: (session, table) => planTriggers(session, schema, config.user, table),
      triggerState,
      runStatements,
      forgetEntries,
      createTarget: () => createTarget(config),
      createTable: (session, table) => createTable(session, schema, table),
    },
  });
}
