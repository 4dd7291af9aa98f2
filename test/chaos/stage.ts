// The running platform that seeds play on, one after another: three departments with their databases, a hub, a monitor, proxies on
// every line to the bus, small disks under the agents, a hand on the bus. It also is what systemd is to the programs: what ended is
// started again.

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { BINLOG, connectMysql, type MysqlClient, type MysqlServer, startMysql } from '@qiao/adapters/mysql-testing';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { BusAccounts } from '@qiao/bus';
import { BusTap } from '@qiao/bus/testing';
import { encryptSecret, openHostKey } from '@qiao/security';
import {
  type BusinessDatabase,
  Platform,
  type PostgresConfig,
  type Program,
  postgresDatabase,
  postgresSession,
  SmallDisk,
  sqliteDatabase,
  type TcpProxy,
} from '@qiao/testkit';
import Sqlite from 'better-sqlite3';
import { LANDINGS, type LandingName, NODES, type NodeCode, SOURCES, type SourceName } from './departments.ts';
import type { LinkName, ProcessName } from './faultPlan.ts';

const DISK_BYTES = 96 * 1024 * 1024;
/** Short pauses, so that what is lost is sent again within a drill. */
const LIMITS = { compareEveryMs: 100, resendAfterMs: 600, resendMostMs: 3_000, retentionMs: 0, heartbeatMs: 500 };

export type DataSourceName = SourceName | LandingName;

export interface DepartmentSession extends AsyncDisposable {
  query(sql: string): Promise<unknown>;
}

export class Stage implements AsyncDisposable {
  readonly directory: string;
  readonly postgres: PostgresServer;
  readonly mysql: MysqlServer;
  readonly platform: Platform;
  readonly tap: BusTap;
  readonly disks: ReadonlyMap<NodeCode, SmallDisk>;
  readonly #databases: ReadonlyMap<string, BusinessDatabase>;
  readonly #postgresConfigs: ReadonlyMap<string, PostgresConfig>;
  readonly #mysqlConfigs: ReadonlyMap<string, MysqlConfig>;
  readonly #turns = new Map<ProcessName, Promise<void>>();

  private constructor(
    parts: Pick<Stage, 'directory' | 'postgres' | 'mysql' | 'platform' | 'tap' | 'disks'>,
    ends: Ends,
  ) {
    this.directory = parts.directory;
    this.postgres = parts.postgres;
    this.mysql = parts.mysql;
    this.platform = parts.platform;
    this.tap = parts.tap;
    this.disks = parts.disks;
    this.#databases = ends.databases;
    this.#postgresConfigs = ends.postgresConfigs;
    this.#mysqlConfigs = ends.mysqlConfigs;
  }

  static async open(): Promise<Stage> {
    const directory = mkdtempSync(join(tmpdir(), 'qiao-chaos-'));
    const [postgres, mysql] = await Promise.all([
      startPostgres([
        'deadlock_timeout=100ms',
        'max_connections=120',
        'wal_level=logical',
        'max_replication_slots=20',
        'max_wal_senders=20',
      ]),
      startMysql(BINLOG, { own: true }),
    ]);
    const disks = new Map<NodeCode, SmallDisk>();
    const ends = await openEnds(directory, postgres, mysql);
    for (const node of NODES) disks.set(node, SmallDisk.mount(join(directory, node), DISK_BYTES));
    const platform = await Platform.start({
      directory,
      behindProxies: true,
      environment: (program) => ({ QIAO_CLOCK_OFFSET_FILE: join(directory, `${program}.clock`) }),
      nodes: NODES.map((code) => ({
        code,
        dataSources: Object.fromEntries(
          [...SOURCES, ...LANDINGS].map((name) => [
            name,
            atRest(found(ends.databases.get(`${code} ${name}`)).config, join(directory, code)),
          ]),
        ),
        more: { limits: LIMITS },
      })),
    });
    const tap = await openTap(platform);
    return new Stage({ directory, postgres, mysql, platform, tap, disks }, ends);
  }

  database(node: NodeCode, name: DataSourceName): BusinessDatabase {
    return found(this.#databases.get(`${node} ${name}`));
  }

  postgresConfig(node: NodeCode, name: 'pg' | 'pg-in'): PostgresConfig {
    return found(this.#postgresConfigs.get(`${node} ${name}`));
  }

  /** A connection of the server's owner. */
  mysqlSession(node: NodeCode, name: 'my' | 'my-in'): MysqlClient {
    return connectMysql(this.mysql.url, found(this.#mysqlConfigs.get(`${node} ${name}`)).database);
  }

  /** Passwords of the business databases, by node. */
  get passwords(): readonly (readonly [string, string])[] {
    return [...this.#postgresConfigs, ...this.#mysqlConfigs].map(
      ([end, { password }]) => [end.replace(/ .*/, ''), password] as const,
    );
  }

  /** A connection of the department's own, for a transaction that stays open. */
  async session(node: NodeCode, name: SourceName): Promise<DepartmentSession> {
    if (name === 'pg') return postgresSession(this.postgresConfig(node, name));
    if (name === 'my') return this.mysqlSession(node, name);
    const { file } = this.database(node, name).config as { file: string };
    const database = new Sqlite(file);
    database.pragma('busy_timeout = 10000');
    return { query: async (sql) => database.exec(sql), [Symbol.asyncDispose]: async () => void database.close() };
  }

  program(name: Exclude<ProcessName, 'nats'>): Program {
    if (name === 'hub') return this.platform.hub;
    return name === 'monitor' ? this.platform.monitor : this.platform.agent(name);
  }

  link(name: LinkName): TcpProxy {
    return found(this.platform.links.get(name));
  }

  disk(node: NodeCode): SmallDisk {
    return found(this.disks.get(node));
  }

  /** Sets a program's clock this far from the machine's, now and for its next starts. */
  setClock(name: Exclude<ProcessName, 'nats'>, offsetMs: number): void {
    writeFileSync(join(this.directory, `${name}.clock`), String(offsetMs));
    const { pid, isRunning } = this.program(name);
    if (isRunning && pid !== undefined) process.kill(pid, 'SIGUSR2');
  }

  /** SIGSTOP; what is returned is SIGCONT. */
  freeze(name: ProcessName): () => void {
    const pid = name === 'nats' ? this.natsPid() : this.program(name).pid;
    if (pid === undefined) return () => undefined;
    sendSignal(pid, 'SIGSTOP');
    return () => sendSignal(pid, 'SIGCONT');
  }

  /** What faults do to one process happens one after another. */
  async inTurn(name: ProcessName, act: () => Promise<void>): Promise<void> {
    const before = this.#turns.get(name) ?? Promise.resolve();
    const turn = before.then(act);
    this.#turns.set(
      name,
      turn.catch(() => undefined),
    );
    await turn;
  }

  /** Starts a program that is not running; tries again while it cannot start, as a service manager would. */
  async revive(name: Exclude<ProcessName, 'nats'>): Promise<void> {
    const program = this.program(name);
    for (let attempt = 1; !program.isRunning; attempt += 1) {
      try {
        await program.start();
      } catch (error) {
        if (attempt >= 20) throw error;
        await pause(300);
      }
    }
  }

  /** The process of the hub's own nats-server, when there is one now. */
  natsPid(): number | undefined {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      const words = commandOf(pid);
      if (
        words[0]?.endsWith('nats-server') === true &&
        words.some((word) => word.startsWith(this.platform.hubDirectory))
      ) {
        return Number(pid);
      }
    }
    return undefined;
  }

  get natsStore(): string {
    return join(this.platform.hubDirectory, 'jetstream');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of NODES) this.disk(node).free();
    await this.tap.close().catch(() => undefined);
    await this.platform[Symbol.asyncDispose]();
    for (const database of this.#databases.values()) await database[Symbol.asyncDispose]();
    await this.postgres[Symbol.asyncDispose]();
    await this.mysql[Symbol.asyncDispose]();
    for (const disk of this.disks.values()) disk[Symbol.dispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export function sendSignal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Another fault killed it meanwhile.
  }
}

/** A data source as it stands in agent.yaml: its password under the key of that host. */
function atRest(config: object, directory: string): object {
  if (!('password' in config)) return config;
  const key = openHostKey(join(directory, 'host.key'), { create: true });
  return { ...config, password: { encrypted: encryptSecret(String(config.password), key) } };
}

interface Ends {
  readonly databases: ReadonlyMap<string, BusinessDatabase>;
  readonly postgresConfigs: ReadonlyMap<string, PostgresConfig>;
  readonly mysqlConfigs: ReadonlyMap<string, MysqlConfig>;
}

type MysqlConfig = Awaited<ReturnType<MysqlServer['database']>>;

async function openEnds(directory: string, postgres: PostgresServer, mysql: MysqlServer): Promise<Ends> {
  const databases = new Map<string, BusinessDatabase>();
  const postgresConfigs = new Map<string, PostgresConfig>();
  const mysqlConfigs = new Map<string, MysqlConfig>();
  const files = join(directory, 'business');
  mkdirSync(files);
  for (const node of NODES) {
    for (const name of ['pg', 'pg-in'] as const) {
      // The server asks for none; what the agent is given is a secret all the same.
      const config = { ...(await postgres.database()), password: `pw-${randomBytes(16).toString('hex')}` };
      postgresConfigs.set(`${node} ${name}`, config);
      databases.set(`${node} ${name}`, await postgresDatabase(config));
    }
    for (const name of ['lite', 'lite-in'] as const) {
      databases.set(`${node} ${name}`, sqliteDatabase(join(files, `${node}-${name}.db`)));
    }
    for (const name of ['my', 'my-in'] as const) {
      const config = { ...(await mysql.database()), password: `pw-${randomBytes(16).toString('hex')}` };
      await using owner = connectMysql(mysql.url, config.database);
      await owner.query(`ALTER USER '${config.user}'@'%' IDENTIFIED BY '${config.password}'`);
      // Whom a cursor may have to wait for is told to the first right only; the others read the log.
      await owner.query(`GRANT PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${config.user}'@'%'`);
      mysqlConfigs.set(`${node} ${name}`, config);
      databases.set(`${node} ${name}`, mysqlDatabase(mysql, config));
    }
  }
  return { databases, postgresConfigs, mysqlConfigs };
}

/** A MariaDB as the others are spoken to; a connection that its server ended is opened again. */
function mysqlDatabase({ url }: MysqlServer, { name: _, ...config }: MysqlConfig): BusinessDatabase {
  let client: MysqlClient | undefined;
  const ask = async <T>(question: (client: MysqlClient) => Promise<T>): Promise<T> => {
    const isUsed = client !== undefined;
    const asked = client ?? connectMysql(url, config.database);
    client = asked;
    try {
      return await question(asked);
    } catch (error) {
      await asked[Symbol.asyncDispose]();
      if (client === asked) client = undefined;
      // It had ended before it was asked, or while it was: every statement may be run twice.
      if (isUsed) return ask(question);
      throw error;
    }
  };
  return {
    adapter: 'mysql',
    config,
    run: (...statements) => ask(async ({ query }) => void (await query(['BEGIN', ...statements, 'COMMIT'].join('; ')))),
    rows: (sql) => ask(({ query }) => query(sql)),
    [Symbol.asyncDispose]: async () => client?.[Symbol.asyncDispose](),
  };
}

async function openTap(platform: Platform): Promise<BusTap> {
  const accounts = await BusAccounts.open(join(platform.hubDirectory, 'bus'));
  const authorityPem = readFileSync(join(platform.context, 'authority.pem'), 'utf8');
  return BusTap.open(
    { urls: [`tls://127.0.0.1:${platform.natsPort}`], tls: { authorityPem } },
    await accounts.createUser({ role: 'hub', platform: 'demo', node: 'hub' }),
  );
}

function commandOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    // It ended between the listing and the look.
    return [];
  }
}

function found<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('no such end on this stage');
  return value;
}
