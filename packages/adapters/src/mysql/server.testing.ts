/**
 * A private MariaDB for tests: its own directory, a free port, nothing synchronised to disk, gone afterwards. MariaDB refuses to
 * run as root, so root hands it to the user `mysql`. QIAO_TEST_MYSQL (`mysql://user:password@host:port`, an account that may make
 * databases and accounts) names a server that runs already; QIAO_TEST_MYSQLD a program of MySQL (its `mysqld`), of which the servers are that a test
 * starts for itself. Never part of shipped code.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Connection, type ConnectionOptions, createConnection } from 'mysql2';
import { type MysqlConfig, tlsOptions } from './session.ts';

const run = promisify(execFile);

export interface MysqlServer extends AsyncDisposable {
  /** False for MySQL, which QIAO_TEST_MYSQL may name. */
  readonly isMariaDb: boolean;
  /** Of an account that may do everything. */
  readonly url: string;
  /** A fresh empty database, with an account that owns this database and nothing else. */
  database(options?: { charset?: string; collation?: string }): Promise<MysqlConfig>;
  /** Stops and starts again, for tests of reconnecting; `between` has the folder of its data while it is down. */
  restart(between?: (data: string) => Promise<void>): Promise<void>;
  /** A replica that gets nothing more from now on. Calling the result ends this server and puts the replica in its place, at the same address. */
  replica(): Promise<() => Promise<void>>;
}

const PATHS = { PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin:/usr/libexec` };
const STARTS_WITHIN_MS = 60_000;

/** Settings by which the log can be read. */
export const BINLOG = [
  '--log-bin=binlog',
  '--server-id=1',
  '--binlog-format=ROW',
  '--binlog-row-metadata=FULL',
  // Else an account needs SUPER to make a trigger.
  '--log-bin-trust-function-creators=1',
] as const;

/** Whether servers of a test's own are MariaDB's: what one product alone has is tested where it is. */
export const OWN_IS_MARIADB = process.env.QIAO_TEST_MYSQLD === undefined;

/** Words that the products have for the same. */
export const WORDS = OWN_IS_MARIADB
  ? { status: 'SHOW MASTER STATUS', reset: 'RESET MASTER', compression: 'log_bin_compress', monitor: 'BINLOG MONITOR' }
  : {
      status: 'SHOW BINARY LOG STATUS',
      reset: 'RESET BINARY LOGS AND GTIDS',
      compression: 'binlog_transaction_compression',
      monitor: 'REPLICATION CLIENT',
    };

/** A replica, in the words of each product. */
const REPLICATION = {
  mariaDb: {
    follow: (port: number) =>
      `CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=${port}, MASTER_USER='qiao_test', MASTER_USE_GTID=slave_pos; START SLAVE`,
    position: 'SELECT @@gtid_binlog_pos',
    wait: (position: string) => `SELECT MASTER_GTID_WAIT('${position}', 30)`,
    end: 'STOP SLAVE; RESET SLAVE ALL',
  },
  mysql: {
    follow: (port: number) =>
      `CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=${port}, SOURCE_USER='qiao_test', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; START REPLICA`,
    position: 'SELECT @@GLOBAL.gtid_executed',
    wait: (position: string) => `SELECT WAIT_FOR_EXECUTED_GTID_SET('${position}', 30)`,
    end: 'STOP REPLICA; RESET REPLICA ALL',
  },
} as const;

/** What MySQL needs besides. */
const BINLOG_OF_MYSQL = ['--gtid-mode=ON', '--enforce-gtid-consistency=ON'];

let lastServerId = 1;

/** A program that starts a server, and makes the folder of its data. */
interface ServerProgram {
  readonly isMariaDb: boolean;
  readonly command: string;
  readonly parameters: readonly string[];
  install(data: string, as: { cwd: string; env: NodeJS.ProcessEnv; uid?: number; gid?: number }): Promise<unknown>;
}

function serverProgram(settings: readonly string[]): ServerProgram {
  const mysqld = process.env.QIAO_TEST_MYSQLD;
  const small = ['--innodb-log-file-size=8M', '--innodb-buffer-pool-size=32M', '--innodb-flush-log-at-trx-commit=0'];
  if (mysqld !== undefined) {
    return {
      isMariaDb: false,
      command: mysqld,
      parameters: ['--mysqlx=OFF', ...(settings.some((each) => each.startsWith('--log-bin=')) ? BINLOG_OF_MYSQL : [])],
      install: (data, as) => run(mysqld, ['--no-defaults', `--datadir=${data}`, '--initialize-insecure'], as),
    };
  }
  return {
    isMariaDb: true,
    command: 'mariadbd',
    parameters: ['--innodb-log-file-size=64M', '--sync-frm=0'],
    install: (data, as) =>
      run(
        'mariadb-install-db',
        ['--no-defaults', `--datadir=${data}`, '--auth-root-authentication-method=normal', '--skip-test-db', ...small],
        as,
      ).catch((error: Error & { code?: unknown }) => {
        throw error.code === 'ENOENT' ? new Error('MariaDB is missing: apt-get install mariadb-server') : error;
      }),
  };
}

/** Starts a server, or takes the one of QIAO_TEST_MYSQL unless it has to be the test's `own`. Throws when the binaries are missing: nothing is skipped. */
export async function startMysql(settings: readonly string[] = [], { own = false } = {}): Promise<MysqlServer> {
  const given = process.env.QIAO_TEST_MYSQL;
  if (given !== undefined && !own) {
    return {
      url: given,
      isMariaDb: /mariadb/i.test(await versionOf(given)),
      database: (made) => makeDatabase(given, made),
      restart: () => Promise.reject(new Error('the server of QIAO_TEST_MYSQL is not ours to restart')),
      replica: () => Promise.reject(new Error('the server of QIAO_TEST_MYSQL is not ours to replace')),
      [Symbol.asyncDispose]: async () => undefined,
    };
  }
  const directory = await mkdtemp('/tmp/qiao-mysql-');
  const user = process.getuid?.() === 0 ? await mysqlUser() : undefined;
  if (user !== undefined) await chown(directory, user.uid, user.gid);
  // A server that starts removes the temporary tables of every other one that has the same folder for them.
  const as = { cwd: directory, env: { ...process.env, ...PATHS, TMPDIR: directory }, ...user };
  const data = join(directory, 'data');
  const program = serverProgram(settings);
  await program.install(data, as);
  const port = await freePort();
  const url = `mysql://qiao_test@127.0.0.1:${port}`;
  await writeFile(
    join(directory, 'init.sql'),
    "CREATE USER IF NOT EXISTS 'qiao_test'@'%';\nGRANT ALL PRIVILEGES ON *.* TO 'qiao_test'@'%' WITH GRANT OPTION;\n",
  );
  const parameters = [
    '--no-defaults',
    `--datadir=${data}`,
    `--socket=${join(directory, 'socket')}`,
    `--init-file=${join(directory, 'init.sql')}`,
    `--log-error=${join(directory, 'log')}`,
    `--port=${port}`,
    '--bind-address=127.0.0.1',
    '--skip-name-resolve',
    '--innodb-buffer-pool-size=128M',
    // What was committed outlives the end of the process.
    '--innodb-flush-log-at-trx-commit=2',
    '--innodb-doublewrite=0',
    '--max-connections=200',
    ...program.parameters,
    ...settings,
  ];
  let child: ChildProcess | undefined;
  const start = async () => {
    child = spawn(program.command, parameters, { ...as, stdio: 'ignore' });
    await answers(url, child, join(directory, 'log')).catch(async (error: unknown) => {
      await stop();
      throw error;
    });
  };
  const stop = async () => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  await start();
  const restart = async (between?: (data: string) => Promise<void>) => {
    await stop();
    await between?.(data);
    await start();
  };
  return {
    url,
    isMariaDb: program.isMariaDb,
    database: (made) => makeDatabase(url, made),
    restart,
    async replica() {
      // A replica passes over what bears its own number.
      const id = ++lastServerId;
      const logs = program.isMariaDb ? '--log-slave-updates' : '--log-replica-updates';
      const replica = await startMysql([...settings, `--server-id=${id}`, logs], { own: true });
      await using primary = connect(addressOf(url));
      await using session = connect(addressOf(replica.url));
      const words = program.isMariaDb ? REPLICATION.mariaDb : REPLICATION.mysql;
      await session.query(words.follow(port));
      const [[position] = []] = await primary.query(words.position);
      const [[missed] = []] = await session.query(words.wait(position ?? ''));
      if (missed !== '0') throw new Error(`the replica did not get to ${position}`);
      await session.query(words.end);
      return async () => {
        await restart(async () => {
          await rm(data, { recursive: true });
          await replica.restart(async (own) => void (await run('cp', ['-a', own, data])));
          await replica[Symbol.asyncDispose]();
        });
        // A copy of its files brought the other number of MySQL, `server_uuid`, along.
        await using promoted = connect(addressOf(url));
        await promoted.query(`SET GLOBAL server_id = ${id}`);
      };
    },
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** A table `numbers` with the numbers of a range in its column `n`, rising, to select from. */
export function numbers(from: number, to: number): string {
  const places = Array.from({ length: String(to - from).length }, (_, place) => `d${place}`);
  const digits = Array.from({ length: 10 }, (_, digit) => `SELECT ${digit} AS d`).join(' UNION ALL ');
  const sum = places.map((name, place) => `${10 ** place} * ${name}.d`).join(' + ');
  const every = `SELECT ${from} + ${sum} AS n FROM ${places.map((name) => `(${digits}) ${name}`).join(', ')}`;
  return `(SELECT n FROM (${every}) every_number WHERE n <= ${to} ORDER BY n) numbers`;
}

/** A connection of somebody else: rows as arrays of text. */
export interface MysqlClient extends AsyncDisposable {
  query(sql: string): Promise<(string | null)[][]>;
}

/** Connects as the owner of the server, with names in double quotes and backslashes as they are, as in other databases. */
export function connectMysql(url: string, database: string): MysqlClient {
  return connect({ ...addressOf(url), database });
}

/** The same as the account of `config`, in its database or in none. */
export function departmentSession(config: MysqlConfig, { inDatabase = true } = {}): MysqlClient {
  const { host, port, user, password, database } = config;
  return connect({ host, port, user, password, ...tlsOptions(config), ...(inDatabase ? { database } : {}) });
}

function connect(options: ConnectionOptions): MysqlClient {
  const connection = createConnection({
    ...options,
    charset: 'UTF8MB4_GENERAL_CI',
    rowsAsArray: true,
    typeCast: false,
    multipleStatements: true,
  });
  // A server that a test restarts ends idle connections: the next query says so.
  connection.on('error', () => undefined);
  const query = (sql: string) => ask(connection, sql);
  const ready = query("SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES'");
  ready.catch(() => undefined);
  return {
    async query(sql) {
      await ready;
      return await query(sql);
    },
    async [Symbol.asyncDispose]() {
      connection.destroy();
    },
  };
}

function ask(connection: Connection, sql: string): Promise<(string | null)[][]> {
  return new Promise((resolve, reject) => {
    connection.query(sql, (error, rows) => {
      if (error !== null) return reject(error);
      const found = Array.isArray(rows) ? (rows as unknown as (Buffer | null)[][]) : [];
      resolve(found.map((row) => (Array.isArray(row) ? row.map((value) => value?.toString('utf8') ?? null) : [])));
    });
  });
}

let count = 0;

async function makeDatabase(
  url: string,
  { charset, collation }: { charset?: string; collation?: string } = {},
): Promise<MysqlConfig> {
  count += 1;
  const { host, port } = addressOf(url);
  const name = `test_${process.pid}_${count}`;
  const connection = createConnection({ ...addressOf(url), multipleStatements: true });
  const set = charset === undefined ? 'utf8mb4' : charset;
  await ask(
    connection,
    `DROP DATABASE IF EXISTS ${name}; CREATE DATABASE ${name} CHARACTER SET ${set}${collation === undefined ? '' : ` COLLATE ${collation}`};
     DROP USER IF EXISTS '${name}'@'%'; CREATE USER '${name}'@'%' IDENTIFIED BY 'secret'; GRANT ALL PRIVILEGES ON ${name}.* TO '${name}'@'%'`,
  );
  connection.destroy();
  return { name, adapter: 'mysql', host, port, database: name, user: name, password: 'secret' };
}

async function versionOf(url: string): Promise<string> {
  await using client = connect(addressOf(url));
  return (await client.query('SELECT VERSION()'))[0]?.[0] ?? '';
}

function addressOf(url: string): { host: string; port: number; user: string; password: string } {
  const { hostname, port, username, password } = new URL(url);
  return {
    host: hostname,
    port: Number(port),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
  };
}

/** Resolves when the server answers a query. */
async function answers(url: string, child: ChildProcess, log: string): Promise<void> {
  const until = performance.now() + STARTS_WITHIN_MS;
  for (;;) {
    if (child.exitCode !== null)
      throw new Error(`mariadbd ended with ${child.exitCode}:\n${await readFile(log, 'utf8')}`);
    const connection = createConnection(addressOf(url));
    connection.on('error', () => undefined);
    const answer = await ask(connection, 'SELECT 1').catch(() => undefined);
    connection.destroy();
    if (answer !== undefined) return;
    if (performance.now() > until) throw new Error('mariadbd did not answer in time');
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

async function mysqlUser(): Promise<{ uid: number; gid: number }> {
  const uid = Number((await run('id', ['-u', 'mysql'])).stdout);
  const gid = Number((await run('id', ['-g', 'mysql'])).stdout);
  return { uid, gid };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() =>
        typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}
