/** A PostgreSQL database as a data source: opens sessions for each question and hands the work to the files beside. */

import { QiaoError } from '@qiao/exchange';
import type {
  DataSource,
  Probe,
  SnapshotOptions,
  SourceShape,
  SourceSnapshot,
  SourceTable,
  TableDescription,
  TableRef,
  Target,
  TargetTable,
} from '../adapter.ts';
import { checkSource, checkTarget } from './check.ts';
import { createTable } from './createTable.ts';
import { isTableEmpty, readTable, readTables } from './describe.ts';
import { defaultSchema, openSession, type PostgresConfig, type Session } from './session.ts';
import { openSnapshot } from './source.ts';
import { type Side } from './sqlstate.ts';
import { createTarget } from './target.ts';

const QUESTION_LIMITS = { statementMs: 60_000, lockMs: 10_000, idleInTransactionMs: 60_000 };

/** A data source that has not connected yet. Throws CONFIG_INVALID for settings that can never work. */
export function openPostgres(config: PostgresConfig): DataSource {
  if (!Number.isInteger(config.port) || config.port < 1 || config.port > 65_535) {
    throw new QiaoError('CONFIG_INVALID', `data source ${config.name}: port ${config.port} is not a port`, {
      hint: 'PostgreSQL usually listens on 5432',
    });
  }
  return new PostgresDataSource(config);
}

class PostgresDataSource implements DataSource {
  readonly adapter = 'postgres';
  readonly name: string;
  readonly #config: PostgresConfig;
  readonly #schema: string;
  readonly #open = new Set<() => PromiseLike<void>>();

  constructor(config: PostgresConfig) {
    this.name = config.name;
    this.#config = config;
    this.#schema = defaultSchema(config);
  }

  async probe(): Promise<Probe> {
    try {
      return await this.#ask('SOURCE', async (session) => ({ reachable: true, version: session.version }) as const);
    } catch (error) {
      const known =
        error instanceof QiaoError ? error : new QiaoError('SOURCE_UNAVAILABLE', 'the database cannot be reached');
      return {
        reachable: false,
        code: known.code,
        message: `${known.message}${known.hint === '' ? '' : `; ${known.hint}`}`,
      };
    }
  }

  async tables(): Promise<TableRef[]> {
    const found = await this.#ask('SOURCE', readTables);
    return found.map(({ schema, name }) => (schema === this.#schema ? { name } : { schema, name }));
  }

  async describe(ref: TableRef): Promise<TableDescription | undefined> {
    const schema = ref.schema ?? this.#schema;
    const table = await this.#ask('SOURCE', (session) => readTable(session, schema, ref.name));
    if (table === undefined) return undefined;
    return {
      ref,
      kind: table.kind,
      columns: table.columns.map(({ name, type, nativeType, nullable, generated, hasDefault }) => ({
        name,
        type,
        nativeType,
        nullable,
        generated,
        hasDefault,
      })),
      primaryKey: table.primaryKey,
      uniqueKeys: table.uniqueKeys,
      foreignKeys: table.foreignKeys.map((key) =>
        key.toTable.schema === this.#schema ? { ...key, toTable: { name: key.toTable.name } } : key,
      ),
      estimatedRows: table.estimatedRows,
      isEmpty: () => this.#ask('SOURCE', (session) => isTableEmpty(session, schema, ref.name)),
    };
  }

  checkSource(tables: readonly SourceTable[]) {
    return this.#ask('SOURCE', (session) => checkSource(session, this.#schema, tables));
  }

  checkTarget(tables: readonly TargetTable[], shapes: ReadonlyMap<string, SourceShape>) {
    return this.#ask('TARGET', (session) => checkTarget(session, this.#schema, tables, shapes));
  }

  async snapshot(options: SnapshotOptions): Promise<SourceSnapshot> {
    const snapshot = await openSnapshot(this.#config, options);
    const end = () => snapshot[Symbol.asyncDispose]();
    this.#open.add(end);
    return {
      consistency: snapshot.consistency ?? 'snapshot',
      rows: (table) => snapshot.rows(table),
      [Symbol.asyncDispose]: async () => {
        this.#open.delete(end);
        await end();
      },
    };
  }

  async openTarget(): Promise<Target> {
    const target = createTarget(this.#config);
    const end = () => target.close();
    this.#open.add(end);
    return {
      prepare: () => target.prepare(),
      points: (laneId) => target.points(laneId),
      apply: (work) => target.apply(work),
      forgetLane: (laneId) => target.forgetLane(laneId),
      amend: (work) => target.amend(work),
      close: async () => {
        this.#open.delete(end);
        await end();
      },
    };
  }

  createTable(table: TargetTable): Promise<void> {
    return this.#ask('TARGET', (session) => createTable(session, this.#schema, table));
  }

  async close(): Promise<void> {
    const ends = [...this.#open];
    this.#open.clear();
    await Promise.all(ends.map((end) => end()));
  }

  /** A session for one question; nothing stays open between questions. */
  async #ask<T>(side: Side, question: (session: Session) => Promise<T>): Promise<T> {
    const session = await openSession(this.#config, { side, purpose: 'check', limits: QUESTION_LIMITS });
    try {
      return await question(session);
    } finally {
      await session.close();
    }
  }
}
