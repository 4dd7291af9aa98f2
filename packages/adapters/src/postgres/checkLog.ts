/** The preflight of capture by log: the server, the account, and each table, every problem with its fix. Makes nothing. */
import type { Problem } from '@qiao/exchange';
import type { SourceTable } from '../adapter.ts';
import { createPublication, logOff, readLogFacts } from './logObjects.ts';
import { type LogTable, partitionProblem, readLogTables, tableProblems } from './logTables.ts';
import type { Session } from './session.ts';
import { identifier, qualified } from './sql.ts';

const ROOM = `
  SELECT current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_catalog.pg_replication_slots),
         current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_catalog.pg_stat_replication),
         current_setting('max_slot_wal_keep_size', true)`;

export async function checkLog(session: Session, schema: string, tables: readonly SourceTable[]): Promise<Problem[]> {
  const facts = await readLogFacts(session);
  const off = logOff(facts);
  const problems: Problem[] = off === undefined ? [] : [{ path: '', ...off }];
  if (facts.product.isKin) return problems;
  if (!facts.mayReplicate) {
    const hint = `ALTER ROLE ${identifier(facts.user)} REPLICATION;`;
    problems.push({ code: 'LOG_RIGHTS', path: '', message: `the account ${facts.user} may not read the log`, hint });
  }
  if (off === undefined) problems.push(...(await roomProblems(session)));
  const own: LogTable[] = [];
  const found = await readLogTables(
    session,
    schema,
    tables.map(({ ref, columns = [], key = [] }) => ({ ref, columns, key })),
  );
  const isAsked = (oid: string) => found.some((each) => 'oid' in each && each.oid === oid);
  for (const [place, table] of found.entries()) {
    // What is missing is the finding of the check of tables.
    if ('code' in table) continue;
    const part = partitionProblem(table, isAsked);
    const against = [...tableProblems(table), ...(part === undefined ? [] : [part])];
    problems.push(...against.map((problem) => ({ ...problem, path: tables[place]?.table ?? '' })));
    if (against.length === 0) own.push(table);
  }
  const foreign = own.filter(({ isOwned }) => !isOwned);
  if (foreign.length > 0 || !facts.mayPublish) {
    const names = own.map(({ schema: of, name }) => qualified(of, name)).join(', ');
    problems.push({
      code: 'LOG_PUBLICATION',
      path: '',
      message: `the account ${facts.user} may not publish every table: it owns not all of them, or may make nothing in the database`,
      hint: `the agent names the statement for a DBA when it begins, with the name that it looks for: ${createPublication('qiao_…', names)};`,
      warning: true,
    });
  }
  return problems;
}

async function roomProblems(session: Session): Promise<Problem[]> {
  const [row] = await session.rows(ROOM);
  const full = [
    ['max_replication_slots', row?.[0]],
    ['max_wal_senders', row?.[1]],
  ].filter(([, left]) => Number(left) <= 0);
  const problems = full.map(
    ([setting]): Problem => ({
      code: 'LOG_NO_ROOM',
      path: '',
      message: `every one of the server's ${setting} is taken`,
      hint: `raise ${setting} and restart the server; if this node reads the log already, nothing is to be done`,
      warning: true,
    }),
  );
  if (row?.[2] === '-1') {
    problems.push({
      code: 'LOG_UNBOUNDED',
      path: '',
      message:
        'found max_slot_wal_keep_size = -1: while the agent is off, the database keeps its log for it until the disk is full',
      hint: "ALTER SYSTEM SET max_slot_wal_keep_size = '32GB'; SELECT pg_reload_conf(); more than limits.logBudgetBytes of the agent, less than the disk has room for",
      warning: true,
    });
  }
  return problems;
}
