/**
 * A database server as a data source: a session for each question, the answer from the adapter's own files, and an end to whatever was
 * opened through it and still is. What a kind of server brings is one port; each adapter's `dataSource.ts` is one of it.
 */

import { type Problem, QiaoError } from '@qiao/exchange';
import type {
  DataSource,
  DataSourceConfig,
  Probe,
  SnapshotOptions,
  SourceLog,
  SourceShape,
  SourceSnapshot,
  SourceTable,
  TableDescription,
  TableRef,
  Target,
  TargetTable,
} from './adapter.ts';
import { kinProblems, lacking, named, type Product, remarkOf, type Side, type Trial } from './product.ts';
import type { TrackedTable, TriggerPlan, TriggerState, Triggers } from './triggers.ts';

/** A kind of database server, bound to one database. */
export interface DatabaseServer<Session extends { close(): Promise<void> }> {
  readonly adapter: Exclude<DataSourceConfig['adapter'], 'sqlite' | 'files'>;
  /** Of tables that name none. */
  readonly schema: string;
  readonly log?: SourceLog;
  /** What is written into it: rows that land, triggers. Without it the server is a source only, and says so wherever it is asked for more. */
  readonly writing?: WritingServer<Session>;
  open(side: Side): Promise<Session>;
  product(session: Session): Product;
  /** Tried at kin of the server that the adapter was written for. */
  readonly trials: readonly Trial<Session>[];
  readTables(session: Session): Promise<TableRef[]>;
  readTable(session: Session, schema: string, name: string): Promise<FoundTable | undefined>;
  isTableEmpty(session: Session, schema: string, name: string): Promise<boolean>;
  checkSource(session: Session, tables: readonly SourceTable[]): Promise<Problem[]>;
  openSnapshot(options: SnapshotOptions): Promise<SourceSnapshot>;
  remainsOpen(session: Session, horizon: string): Promise<string | undefined>;
}

export interface WritingServer<Session> {
  checkTarget(
    session: Session,
    tables: readonly TargetTable[],
    shapes: ReadonlyMap<string, SourceShape>,
  ): Promise<Problem[]>;
  planTriggers(session: Session, table: TrackedTable): Promise<TriggerPlan>;
  triggerState(session: Session, plan: TriggerPlan): Promise<TriggerState>;
  runStatements(session: Session, statements: readonly string[]): Promise<void>;
  forgetEntries(session: Session, plan: TriggerPlan, ids: readonly string[]): Promise<void>;
  createTarget(): Target;
  createTable(session: Session, table: TargetTable): Promise<void>;
}

/** A description that may hold more than others are told, with the schema of every table that it names. */
type FoundTable = Omit<TableDescription, 'isEmpty' | 'ref'>;

/** Throws CONFIG_INVALID for a port that can never work. */
export function checkPort({ name, port }: { readonly name: string; readonly port: number }, hint: string): void {
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return;
  throw new QiaoError('CONFIG_INVALID', `data source ${name}: port ${port} is not a port`, { hint });
}

/** Connects when it is asked something; nothing stays open between questions. */
export class ServerDataSource<Session extends { close(): Promise<void> }> implements DataSource {
  readonly name: string;
  readonly adapter: DataSourceConfig['adapter'];
  readonly log: SourceLog | undefined;
  readonly #server: DatabaseServer<Session>;
  readonly #open = new Set<() => Promise<void>>();

  constructor(name: string, server: DatabaseServer<Session>) {
    this.name = name;
    this.adapter = server.adapter;
    this.log = server.log;
    this.#server = server;
  }

  async probe(): Promise<Probe> {
    try {
      const product = await this.#ask('SOURCE', async (session) => this.#server.product(session));
      const remark = remarkOf(product);
      return { reachable: true, version: named(product), ...(remark === undefined ? {} : { remark }) };
    } catch (error) {
      const known =
        error instanceof QiaoError ? error : new QiaoError('SOURCE_UNAVAILABLE', 'the database cannot be reached');
      return { reachable: false, code: known.code, message: known.message, hint: known.hint };
    }
  }

  async tables(): Promise<TableRef[]> {
    const found = await this.#ask('SOURCE', (session) => this.#server.readTables(session));
    return found.map((ref) => this.#named(ref));
  }

  async describe(ref: TableRef): Promise<TableDescription | undefined> {
    const schema = ref.schema ?? this.#server.schema;
    const table = await this.#ask('SOURCE', (session) => this.#server.readTable(session, schema, ref.name));
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
      foreignKeys: table.foreignKeys.map(({ columns, toTable, toColumns }) => ({
        columns,
        toTable: this.#named(toTable),
        toColumns,
      })),
      estimatedRows: table.estimatedRows,
      isEmpty: () => this.#ask('SOURCE', (session) => this.#server.isTableEmpty(session, schema, ref.name)),
    };
  }

  checkSource(tables: readonly SourceTable[]): Promise<Problem[]> {
    return this.#check('SOURCE', (session) => this.#server.checkSource(session, tables));
  }

  async checkTarget(tables: readonly TargetTable[], shapes: ReadonlyMap<string, SourceShape>): Promise<Problem[]> {
    const { writing } = this.#server;
    if (writing !== undefined) return this.#check('TARGET', (session) => writing.checkTarget(session, tables, shapes));
    const { code, message, hint } = this.#sourceOnly();
    return tables.map(({ table }) => ({ code, path: table, message, hint }));
  }

  async snapshot(options: SnapshotOptions): Promise<SourceSnapshot> {
    const snapshot = await this.#server.openSnapshot(options);
    const end = snapshot[Symbol.asyncDispose].bind(snapshot);
    return Object.assign(snapshot, { [Symbol.asyncDispose]: this.#endedBy(end) });
  }

  remainsOpen(horizon: string): Promise<string | undefined> {
    return this.#ask('SOURCE', (session) => this.#server.remainsOpen(session, horizon));
  }

  get triggers(): Triggers | undefined {
    const { writing } = this.#server;
    if (writing === undefined) return undefined;
    return {
      plan: (table) => this.#ask('SOURCE', (session) => writing.planTriggers(session, table)),
      state: (plan) => this.#ask('SOURCE', (session) => writing.triggerState(session, plan)),
      run: (statements) => this.#ask('TARGET', (session) => writing.runStatements(session, statements)),
      forget: (plan, ids) => this.#ask('SOURCE', (session) => writing.forgetEntries(session, plan, ids)),
    };
  }

  async openTarget(): Promise<Target> {
    const target = this.#writing().createTarget();
    return Object.assign(target, { close: this.#endedBy(target.close.bind(target)) });
  }

  async createTable(table: TargetTable): Promise<void> {
    const writing = this.#writing();
    await this.#ask('TARGET', (session) => writing.createTable(session, table));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map((end) => end()));
  }

  #writing(): WritingServer<Session> {
    if (this.#server.writing === undefined) throw this.#sourceOnly();
    return this.#server.writing;
  }

  #sourceOnly(): QiaoError {
    return new QiaoError(
      'TARGET_UNSUPPORTED',
      `data source ${this.name} is of adapter ${this.adapter}, which reads and never writes; found it as a destination, expected a source`,
      { hint: 'let rows land in the exchange tables of this node, or in files, from where the department takes them' },
    );
  }

  /** `end`, for whoever opened something or for the data source's own end, whichever comes first. */
  #endedBy(end: () => PromiseLike<void>): () => Promise<void> {
    const ended = async () => {
      this.#open.delete(ended);
      await end();
    };
    this.#open.add(ended);
    return ended;
  }

  /** As others name it: the data source's own schema goes without saying. */
  #named({ schema, name }: TableRef): TableRef {
    return schema === this.#server.schema ? { name } : { schema, name };
  }

  /** A kin server that lacks something is asked nothing more: the answers would rest on it. */
  #check(side: Side, question: (session: Session) => Promise<Problem[]>): Promise<Problem[]> {
    return this.#ask(side, async (session) => {
      const product = this.#server.product(session);
      const lacks = product.isKin ? await lacking(session, side, this.#server.trials) : [];
      const problems = kinProblems(product, side, lacks);
      return lacks.length > 0 ? problems : [...problems, ...(await question(session))];
    });
  }

  async #ask<T>(side: Side, question: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.#server.open(side);
    try {
      return await question(session);
    } finally {
      await session.close();
    }
  }
}
