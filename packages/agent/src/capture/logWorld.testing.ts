/** For tests only: a source node that follows the log of a real PostgreSQL or MariaDB, and one destination. Time is the machine's. */
import { type DataSource, type LogPlan, openDataSource } from '@qiao/adapters';
import { connectMysql, type MysqlServer } from '@qiao/adapters/mysql-testing';
import { type DepartmentSession, departmentSession, type PostgresServer } from '@qiao/adapters/testing';
import { BookEntry } from '@qiao/contract/control';
import { CaptureCounts } from '@qiao/contract/counts';
import { BridgeState, ServiceCondition } from '@qiao/contract/node';
import { Statement } from '@qiao/contract/receipt';
import { type BridgeTable, parseId } from '@qiao/exchange';
import { createWakeup, systemClock } from '@qiao/runtime';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import type { LogState } from '../exchange-database/index.ts';
import { createCaptureParts } from './capture.ts';
import { BRIDGE_ID, CaptureWorld, type MemoryDestination } from './captureWorld.testing.ts';
import type { CapturePorts, CaptureService } from './ports.ts';

/** What the slot and the publication of this node are called. */
export const LOG_NAME = 'qiao_000000000000_his';

export const TWIN_ID = 'c'.repeat(32);

export class LogWorld extends CaptureWorld implements AsyncDisposable {
  department: DepartmentSession;
  readonly destination: MemoryDestination;
  readonly #config: Parameters<typeof openDataSource>[0];
  readonly #connect: () => DepartmentSession | Promise<DepartmentSession>;
  readonly #news = createWakeup();
  #running: { stop: AbortController; done: Promise<unknown>; capture: CaptureService } | undefined;
  readonly #listeners = new Set<(desired: Desired) => void>();
  #twin: ((bridge: DesiredBridge) => DesiredBridge) | undefined;
  isRetired = false;
  /** The snapshot of the hub lacks the bridge. */
  isAway = false;
  /** Without a token nothing is confirmed: the database keeps everything. */
  hasToken = true;
  logBudgetBytes = 1024 * 1024 * 1024;
  snapshotMaxMs = 60_000;
  /** Snapshots of the source that were opened. */
  snapshots = 0;

  /** Before the log is prepared for tables that were looked at. */
  onPrepare: () => Promise<void> = () => Promise.resolve();

  private constructor(
    config: Parameters<typeof openDataSource>[0],
    connect: () => DepartmentSession | Promise<DepartmentSession>,
    department: DepartmentSession,
  ) {
    super();
    this.#config = config;
    this.#connect = connect;
    this.department = department;
    this.capture = 'log';
    this.schedule = { kind: 'realtime' };
    this.destination = this.addLane();
    this.source = this.#open();
    this.onFlush = () => this.#news.wake();
  }

  static async on(
    server: PostgresServer,
    ddl: string,
    ...tables: (Partial<BridgeTable> & { name: string })[]
  ): Promise<LogWorld> {
    const config = await server.database();
    return await LogWorld.#with(config, () => departmentSession(config), ddl, tables);
  }

  static async onMysql(
    server: MysqlServer,
    ddl: string,
    ...tables: (Partial<BridgeTable> & { name: string })[]
  ): Promise<LogWorld> {
    const config = await server.database();
    const connect = () => connectMysql(server.url, config.database);
    const rights = `GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${config.user}'@'%'`;
    return await LogWorld.#with(config, connect, `${rights}; ${ddl}`, tables);
  }

  static async #with(
    config: Parameters<typeof openDataSource>[0],
    connect: () => DepartmentSession | Promise<DepartmentSession>,
    ddl: string,
    tables: readonly (Partial<BridgeTable> & { name: string })[],
  ): Promise<LogWorld> {
    const department = await connect();
    await department.query(ddl);
    const world = new LogWorld(config, connect, department);
    for (const table of tables) world.bridgeTables.push({ transform: [], checks: [], ...table });
    return world;
  }

  async #open(): Promise<DataSource> {
    const source = await openDataSource(this.#config);
    const open = source.snapshot.bind(source);
    const { log } = source;
    if (log !== undefined) {
      const prepare = log.prepare.bind(log);
      Object.assign(log, {
        prepare: async (plan: LogPlan) => {
          await this.onPrepare();
          return await prepare(plan);
        },
      });
    }
    return Object.assign(source, {
      snapshot: async (...of: Parameters<typeof open>) => {
        this.onSnapshot();
        const snapshot = await open(...of);
        this.snapshots += 1;
        return snapshot;
      },
    });
  }

  override get ports(): CapturePorts {
    const ports = super.ports;
    return {
      ...ports,
      clock: systemClock,
      fence: { ...ports.fence, token: () => (this.hasToken ? 1n : undefined) },
      desired: {
        current: () => this.desired,
        onChange: (listener) => {
          this.#listeners.add(listener);
          return () => this.#listeners.delete(listener);
        },
      },
      permissions: { exposes: [{ dataSource: 'his', table: '*' }], accepts: [], defaultSchema: () => 'public' },
      limits: {
        ...ports.limits,
        logBudgetBytes: this.logBudgetBytes,
        snapshotMaxMs: this.snapshotMaxMs,
        logWatchMs: 200,
      },
    };
  }

  sql(text: string): Promise<(string | null)[][]> {
    return this.department.query(text);
  }

  /** The server was away. */
  async reconnect(): Promise<void> {
    await this.department[Symbol.asyncDispose]();
    this.department = await this.#connect();
  }

  async another(): Promise<DepartmentSession> {
    return await this.#connect();
  }

  override get desired(): Desired {
    const desired = super.desired;
    if (this.isAway) return { ...desired, bridges: new Map() };
    const [[id, bridge] = []] = desired.bridges as Map<string, DesiredBridge>;
    if (id === undefined || bridge === undefined) return desired;
    const bridges = new Map([[id, this.isRetired ? { ...bridge, state: BridgeState.RETIRED } : bridge]]);
    if (this.#twin !== undefined) bridges.set(TWIN_ID, this.#twin(bridge));
    return { ...desired, bridges };
  }

  /** Another bridge of the same data source; it has a destination of its own. */
  addTwin(...tables: (Partial<BridgeTable> & { name: string })[]): MemoryDestination {
    const destination = this.addLane();
    const lanes = this.lanes.splice(-1);
    this.#twin = (bridge) => ({
      ...bridge,
      bridgeId: TWIN_ID,
      name: 'twin',
      lanes,
      definition: {
        ...bridge.definition,
        name: 'twin',
        limits: {},
        source: {
          ...bridge.definition.source,
          tables: tables.map((table) => ({ transform: [], checks: [], ...table })),
        },
      },
    });
    return destination;
  }

  /** What is desired is another now. */
  changed(): void {
    for (const listener of this.#listeners) listener(this.desired);
  }

  start(): void {
    const stop = new AbortController();
    const capture = createCaptureParts(this.ports);
    this.#running = { stop, capture, done: Promise.all(capture.parts.map((part) => part.run(stop.signal))) };
  }

  /** Resolves when rows have come to disk so often from now on. */
  async flushed(times: number): Promise<void> {
    const news = this.onFlush;
    const done = Promise.withResolvers<void>();
    let left = times;
    this.onFlush = () => {
      news();
      if (--left === 0) done.resolve();
    };
    await done.promise;
    this.onFlush = news;
  }

  /** As kill -9 as it goes in one process: whatever was not committed is gone. */
  async stop(): Promise<void> {
    this.#running?.stop.abort();
    await this.#running?.done;
    this.#running = undefined;
    this.reopen();
  }

  /** The code that the heartbeat would carry. */
  get trouble(): string {
    return this.#running?.capture.states()[0]?.code ?? '';
  }

  /** A person is told that the bridge does not go on. */
  get isStuck(): boolean {
    return this.#running?.capture.states()[0]?.condition === ServiceCondition.STUCK;
  }

  get capturing(): CaptureService {
    if (this.#running === undefined) throw new Error('the agent does not run');
    return this.#running.capture;
  }

  get state(): LogState | undefined {
    return this.database.logs.get(parseId(BRIDGE_ID));
  }

  get scans(): number {
    return this.database.captures.get(parseId(BRIDGE_ID))?.finishedScan ?? 0;
  }

  /** Waits for news until it holds. Whoever follows the log makes some at least each second. */
  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const endsAt = performance.now() + 30_000;
    while (!(await holds())) {
      if (performance.now() > endsAt)
        throw new Error(`waited in vain until ${what}; the state is ${JSON.stringify(this.state)}, ${this.trouble}`);
      await this.#news.wait(100);
    }
  }

  /** Until the log is followed, and the destination holds what the query of the source gives. */
  async arrived(table: string, query: string): Promise<void> {
    let rows: string[] = [];
    let wanted: string[] = [];
    try {
      await this.until('the rows have arrived', async () => {
        await this.deliver();
        rows = this.destination.rows(table);
        wanted = (await this.sql(query)).map((row) => row.map((field) => field ?? '\\N').join('\t')).sort();
        return this.state !== undefined && this.state.owes === undefined && rows.join('\n') === wanted.join('\n');
      });
    } catch (error) {
      const differ = [...rows.filter((row) => !wanted.includes(row)), ...wanted.filter((row) => !rows.includes(row))];
      throw new Error(
        `${(error as Error).message}; there are ${rows.length} rows for ${wanted.length}, differing: ${differ.slice(0, 5).join(' | ').slice(0, 500)}`,
        { cause: error },
      );
    }
  }

  /** Counts of capture as the books have them: of changes, without loads. Throws when one does not add up. */
  get books(): string[] {
    const entries = this.database.books.after(0n, 100_000).map(({ entry }) => BookEntry.decode(entry).entry);
    const sums = new Map<string, bigint[]>();
    for (const entry of entries) {
      const isStatement = entry?.$case === 'statement';
      const counts = isStatement
        ? Statement.decode(entry.value.payload).capture
        : entry?.$case === 'unpacked'
          ? entry.value.capture
          : [];
      for (const { table, kind, captured, packed, folded, filtered, refused } of counts.map((each) =>
        CaptureCounts.fromPartial(each),
      )) {
        if (captured !== packed + folded + filtered + refused) throw new Error('the books do not add up');
        const name = `${table} ${kind.replace('CHANGE_KIND_', '').toLowerCase()}`;
        const sum = sums.get(name) ?? [0n, 0n, 0n, 0n];
        sums.set(
          name,
          [packed, folded, filtered, refused].map((value, index) => value + (sum[index] as bigint)),
        );
      }
    }
    return [...sums].map(([name, counts]) => `${name} ${counts.join('/')}`).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#running?.stop.abort();
    await this.#running?.done;
    const source = await this.source;
    // Slots outlive databases' sessions, and a server has few.
    await source?.log?.remove(LOG_NAME);
    await source?.close();
    await this.department[Symbol.asyncDispose]();
    super[Symbol.dispose]();
  }
}
