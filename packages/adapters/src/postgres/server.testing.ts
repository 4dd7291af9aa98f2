/**
 * A private PostgreSQL for tests: its own directory, a free port, no fsync, gone afterwards. PostgreSQL refuses to run
 * as root, so root hands it to the user `postgres`. Never part of shipped code.
 */

import { execFile } from 'node:child_process';
import { chown, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Client, type CustomTypesConfig } from 'pg';
import { type PostgresConfig, tlsOptions } from './session.ts';
import { identifier } from './sql.ts';

const run = promisify(execFile);

export interface PostgresServer extends AsyncDisposable {
  readonly port: number;
  readonly directory: string;
  /** A fresh empty database, as superuser `qiao_test`. */
  database(options?: { encoding?: string; template?: string }): Promise<PostgresConfig>;
  /** Stops and starts again, for tests of reconnecting; `between` has the folder of its data while it is down. */
  restart(between?: (data: string) => Promise<void>): Promise<void>;
  /** A standby that gets nothing more from now on. Calling the result ends this server and promotes the standby, at the same address. */
  standby(): Promise<() => Promise<void>>;
}

/** A connection of the department's own. */
export interface DepartmentSession extends AsyncDisposable {
  /** Every value as text. */
  query(sql: string): Promise<(string | null)[][]>;
}

/** Tables without a schema are those of `config`'s, where it names one. */
export async function departmentSession(config: PostgresConfig): Promise<DepartmentSession> {
  const types = { getTypeParser: () => (value: unknown) => value } as unknown as CustomTypesConfig;
  const client = new Client({ ...config, ssl: tlsOptions(config), types });
  client.on('error', () => undefined);
  await client.connect();
  if (config.schema !== undefined) await client.query(`SET search_path = ${identifier(config.schema)}`);
  return {
    query: async (sql) => (await client.query<(string | null)[]>({ text: sql, rowMode: 'array' })).rows,
    [Symbol.asyncDispose]: () => client.end().catch(() => undefined),
  };
}

const SUPERUSER = 'qiao_test';

/** Starts a server. Throws when the binaries are missing: nothing is skipped. */
export async function startPostgres(settings: readonly string[] = []): Promise<PostgresServer> {
  const binaries = await findBinaries();
  const directory = await mkdtemp('/tmp/qiao-pg-');
  const user = process.getuid?.() === 0 ? await postgresUser() : undefined;
  if (user !== undefined) await chown(directory, user.uid, user.gid);
  const as = user === undefined ? {} : { uid: user.uid, gid: user.gid };
  const data = join(directory, 'data');
  const call = (binary: string, args: string[]) =>
    run(join(binaries, binary), args, { ...as, cwd: directory, env: { ...process.env, LC_ALL: 'C.UTF-8' } });
  await call('initdb', ['-D', data, '-U', SUPERUSER, '-A', 'trust', '-E', 'UTF8', '--no-sync', '--locale=C.UTF-8']);
  const port = await freePort();
  const parameters = [
    `port=${port}`,
    'listen_addresses=127.0.0.1',
    `unix_socket_directories=${directory}`,
    'fsync=off',
    'max_connections=60',
    'shared_buffers=128MB',
    'max_wal_size=2GB',
    ...settings,
  ];
  const options = parameters.map((parameter) => `-c ${parameter}`).join(' ');
  const start = () => call('pg_ctl', ['-D', data, '-w', '-s', '-l', join(directory, 'log'), '-o', options, 'start']);
  const stop = () => call('pg_ctl', ['-D', data, '-w', '-s', '-m', 'immediate', 'stop']);
  await start();
  let count = 0;
  let restarting: Promise<void> = Promise.resolve();
  const restart = (between?: (data: string) => Promise<void>) => {
    // Two who want it at once get it one after the other: a start over a start fails.
    const restarted = restarting.then(async () => {
      await stop();
      await between?.(data);
      await start();
    });
    restarting = restarted.catch(() => undefined);
    return restarted;
  };
  return {
    port,
    directory,
    async database(made = {}) {
      count += 1;
      const name = `test_${count}`;
      const admin = new Client({ host: '127.0.0.1', port, user: SUPERUSER, database: 'postgres' });
      await admin.connect();
      const encoding = made.encoding === undefined ? '' : ` ENCODING '${made.encoding}' LOCALE 'C' TEMPLATE template0`;
      await admin.query(`CREATE DATABASE ${name}${encoding}`);
      await admin.end();
      return { name, adapter: 'postgres', host: '127.0.0.1', port, database: name, user: SUPERUSER, password: '' };
    },
    restart,
    async standby() {
      const copy = join(await mkdtemp(join(directory, 'standby-')), 'data');
      if (user !== undefined) await chown(dirname(copy), user.uid, user.gid);
      const primary = ['-h', '127.0.0.1', '-p', String(port), '-U', SUPERUSER];
      await call('pg_basebackup', ['-D', copy, '-R', '-c', 'fast', '--no-sync', ...primary]);
      return async () => {
        await restart(async () => {
          await rm(data, { recursive: true });
          await rename(copy, data);
        });
        await call('pg_ctl', ['-D', data, '-w', '-s', 'promote']);
      };
    },
    async [Symbol.asyncDispose]() {
      await stop().catch(() => undefined);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function findBinaries(): Promise<string> {
  const root = '/usr/lib/postgresql';
  const versions = await readdir(root).catch(() => [] as string[]);
  const newest = versions.sort((a, b) => Number(b) - Number(a))[0];
  if (newest === undefined) throw new Error('PostgreSQL is missing: apt-get install postgresql');
  return join(root, newest, 'bin');
}

async function postgresUser(): Promise<{ uid: number; gid: number }> {
  const uid = Number((await run('id', ['-u', 'postgres'])).stdout);
  const gid = Number((await run('id', ['-g', 'postgres'])).stdout);
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
