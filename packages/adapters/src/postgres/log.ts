/** PostgreSQL's log of changes (G1–G9 of adapter.ts): logical decoding by pgoutput, over one slot and one publication of one name. */
import type { KeptLog, LogPlan, PreparedLog, SourceLog } from '../adapter.ts';
import { comparePositions } from './lineage.ts';
import { isHorizonPast, makeLog, readCatalog, readKept, readSlotPosition, removeLog, whenFree } from './logObjects.ts';
import { openLogReading } from './logReading.ts';
import { defaultSchema, openSession, type PostgresConfig, type Session } from './session.ts';

/** A slot waits for every transaction that is open when it is made. */
const LIMITS = { statementMs: 10 * 60_000, lockMs: 10_000, idleInTransactionMs: 60_000 };

export class PostgresLog implements SourceLog {
  readonly #config: PostgresConfig;

  constructor(config: PostgresConfig) {
    this.#config = config;
  }

  async prepare(plan: LogPlan): Promise<PreparedLog> {
    const schema = defaultSchema(this.#config);
    const { logged, catalog, ...made } = await this.#ask((session) => makeLog(session, schema, plan));
    return {
      ...made,
      isCurrent: async () => (await this.#ask((session) => readCatalog(session, schema, plan))) === catalog,
      read: (from, signal) =>
        openLogReading(this.#config, {
          slot: plan.name,
          publication: plan.name,
          from,
          tables: logged,
          keptFrom: () => this.#ask((session) => readSlotPosition(session, plan.name)),
          signal,
        }),
    };
  }

  isPast(horizon: string): Promise<boolean> {
    return this.#ask((session) => isHorizonPast(session, horizon));
  }

  kept(name: string): Promise<KeptLog | undefined> {
    return this.#ask((session) => readKept(session, name));
  }

  remove(name: string): Promise<void> {
    return this.#ask((session) => whenFree(() => removeLog(session, name)));
  }

  compare(a: string, b: string): number {
    return comparePositions(a, b);
  }

  async #ask<T>(question: (session: Session) => Promise<T>): Promise<T> {
    const session = await openSession(this.#config, { side: 'SOURCE', purpose: 'log check', limits: LIMITS });
    try {
      // Only catalogs and our own objects are written.
      await session.run('SET default_transaction_read_only = off');
      return await question(session);
    } finally {
      await session.close();
    }
  }
}
