/** A MySQL or MariaDB database as a data source: what `../serverDataSource.ts` asks of it, each from the file beside that knows. */

import type { DataSource } from '../adapter.ts';
import { checkPort, ServerDataSource } from '../serverDataSource.ts';
import { checkSource } from './check.ts';
import { checkTarget } from './checkTarget.ts';
import { createTable } from './createTable.ts';
import { isTableEmpty, readTable, readTables } from './describe.ts';
import { remainsOpen } from './horizon.ts';
import { MysqlLog } from './log.ts';
import { LogBeginning } from './logBeginning.ts';
import { type MysqlConfig, openSession, type Session } from './session.ts';
import { openSnapshot } from './source.ts';
import { createTarget } from './target.ts';
import { trials } from './trials.ts';
import { forgetEntries, planTriggers, runStatements, triggerState } from './triggers.ts';

const LIMITS = { statementMs: 60_000, lockMs: 10_000, idleMs: 60_000 };

/** A data source that has not connected yet. Throws CONFIG_INVALID for settings that can never work. */
export function openMysql(config: MysqlConfig): DataSource {
  checkPort(config, 'MySQL and MariaDB usually listen on 3306');
  const beginning = new LogBeginning();
  return new ServerDataSource<Session>(config.name, {
    adapter: 'mysql',
    schema: config.database,
    log: new MysqlLog(config),
    open: (side) => openSession(config, { side, purpose: 'check', limits: LIMITS }),
    product: (session) => session.server.product,
    trials,
    readTables,
    readTable,
    isTableEmpty,
    checkSource,
    openSnapshot: (options) => openSnapshot(config, beginning, options),
    remainsOpen,
    writing: {
      checkTarget,
      planTriggers,
      triggerState,
      runStatements,
      forgetEntries,
      createTarget: () => createTarget(config),
      createTable,
    },
  });
}
