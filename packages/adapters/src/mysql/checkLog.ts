/** The preflight of capture by log: the server, the account, and each table, every problem with its fix. */
import type { Problem } from '@qiao/exchange';
import type { SourceTable } from '../adapter.ts';
import { logOff, missingRights, readLogRange, readLogServer } from './logServer.ts';
import { readLogTables, tableProblems } from './logTables.ts';
import type { Session } from './session.ts';

/** A weekend, and somebody who looks on Monday. */
const LEAST_KEPT_SECONDS = 3 * 86_400;

export async function checkLog(session: Session, tables: readonly SourceTable[]): Promise<Problem[]> {
  const server = await readLogServer(session);
  const off = logOff(server);
  // Another product names its state, its rights and its settings otherwise.
  if (!server.isMariaDb && !server.isMysql) return off.map((each) => ({ path: '', ...each }));
  const rights = await missingRights(session);
  const problems: Problem[] = [...off, ...(rights === undefined ? [] : [rights])].map((each) => ({
    path: '',
    ...each,
  }));
  if (off.length === 0 && server.keptSeconds > 0 && server.keptSeconds < LEAST_KEPT_SECONDS) {
    problems.push({
      code: 'LOG_RETENTION',
      path: '',
      message: `the server throws its log away after ${Math.round(server.keptSeconds / 3600)} hours: an agent that is off for longer has to scan`,
      hint: `SET GLOBAL ${server.isMysql ? 'binlog_expire_logs_seconds = 604800' : 'expire_logs_days = 7'}; also in the configuration of the server, as long as its disk has room`,
      warning: true,
    });
  }
  const range = server.isOn && rights === undefined ? await readLogRange(session) : undefined;
  const asked = tables.map(({ ref, columns = [], key = [] }) => ({ ref, columns, key }));
  for (const [place, table] of (await readLogTables(session, asked)).entries()) {
    // What is missing is the finding of the check of tables, and so is a key that nothing proves.
    if ('code' in table) continue;
    const found = tableProblems(table, range).filter(({ code }) => code !== 'LOG_NO_IDENTITY');
    problems.push(...found.map((problem) => ({ ...problem, path: tables[place]?.table ?? '' })));
  }
  return problems;
}
