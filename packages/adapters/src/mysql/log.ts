/** The binary log of MariaDB and MySQL (G1–G9 of adapter.ts). The server keeps it by its own time and for everybody: nothing is made for us, and nothing removed. */
import { QiaoError } from '@qiao/exchange';
import type { KeptLog, LogPlan, LogTableState, PreparedLog, SourceLog } from '../adapter.ts';
import { askedTable } from '../log/asked.ts';
import type { BinlogPlan } from './binlog.ts';
import { comparePositions, type LogPlace, placeText } from './logPosition.ts';
import { type MysqlLogReading, openLogReading } from './logReading.ts';
import { logOff, missingRights, readLogRange, readLogServer, readPrepared } from './logServer.ts';
import { loggedTables, readLogTables, tableProblems } from './logTables.ts';
import { type MysqlConfig, openSession, type Session } from './session.ts';

const LIMITS = { statementMs: 60_000, lockMs: 10_000, idleMs: 60_000 };

export class MysqlLog implements SourceLog {
  readonly #config: MysqlConfig;

  constructor(config: MysqlConfig) {
    this.#config = config;
  }

  async prepare(plan: LogPlan): Promise<PreparedLog> {
    const { binlog, catalog, ...prepared } = await this.#ask((session) => prepare(session, plan));
    let reading: MysqlLogReading | undefined;
    return {
      ...prepared,
      isCurrent: async () => {
        const place = reading?.place;
        const now = await this.#ask((session) => readCurrent(session, plan));
        if (place !== undefined) reading?.expect(now.newest, place);
        return now.catalog === catalog;
      },
      read: async (from, signal) => {
        reading = await openLogReading(this.#config, { name: plan.name, plan: binlog, from, signal });
        return reading;
      },
    };
  }

  isPast(horizon: string): Promise<boolean> {
    const before = JSON.parse(horizon) as string[];
    if (before.length === 0) return Promise.resolve(true);
    return this.#ask(async (session) => {
      const now = new Set(await readPrepared(session));
      return before.every((each) => !now.has(each));
    });
  }

  /** Nothing is kept for us alone. */
  kept(): Promise<KeptLog> {
    return Promise.resolve({ bytes: 0, isLost: false });
  }

  async remove(): Promise<void> {}

  compare(a: string, b: string): number {
    return comparePositions(a, b);
  }

  async #ask<T>(question: (session: Session) => Promise<T>): Promise<T> {
    const session = await openSession(this.#config, { side: 'SOURCE', purpose: 'log check', limits: LIMITS });
    try {
      return await question(session);
    } finally {
      await session.close();
    }
  }
}

async function prepare(
  session: Session,
  plan: LogPlan,
): Promise<Omit<PreparedLog, 'isCurrent' | 'read'> & { readonly binlog: BinlogPlan; readonly catalog: string }> {
  const server = await readLogServer(session);
  const problem = logOff(server)[0] ?? (await missingRights(session));
  if (problem !== undefined) throw new QiaoError(problem.code, problem.message, { hint: problem.hint });
  const range = await readLogRange(session);
  const read = await readLogTables(session, plan.tables.map(askedTable));
  const found = read.map((table) => ('code' in table ? table : (tableProblems(table, range)[0] ?? table)));
  const fit = found.map((each) => ('code' in each ? undefined : each));
  const horizon = JSON.stringify(await readPrepared(session));
  return {
    identity: server.identity,
    oldest: placeText(range.oldest),
    newest: placeText(range.newest),
    horizon,
    tables: found.map((table): LogTableState => ('code' in table ? { unfit: table } : { identity: table.identity })),
    binlog: {
      tables: await loggedTables(session, fit),
      tellsCase: session.server.tellsCase,
      hasChecksum: server.hasChecksum,
    },
    catalog: catalogOf(read),
  };
}

async function readCurrent(session: Session, plan: LogPlan): Promise<{ catalog: string; newest: LogPlace }> {
  const catalog = catalogOf(await readLogTables(session, plan.tables.map(askedTable)));
  const { newest } = await readLogRange(session);
  return { catalog, newest };
}

function catalogOf(tables: Awaited<ReturnType<typeof readLogTables>>): string {
  return JSON.stringify(tables.map((table) => ('code' in table ? table.code : table.catalog)));
}
