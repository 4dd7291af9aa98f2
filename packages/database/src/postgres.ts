// Owns how PostgreSQL answers hub and monitor as SQLite does: numbers as numbers, and one writing transaction at a time across
// all replicas. What was written for a store with a single writer (read, decide, write) stays true with several programs,
// because a transaction first takes a lock that all of them share. Rates are those of people and batches, so nobody queues long.

import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
  type TransactionSettings,
} from 'kysely';
import pg from 'pg';
import { isPassing, postgresError } from './faults.ts';
import type { PostgresAddress } from './target.ts';

/** Advisory locks of a store: a class of our own, then which. */
export const LOCK_CLASS = 0x7169_616f;
export const LOCKS = { writer: 1, migration: 2, leader: 3, claims: 4 } as const;

const CONNECTIONS_MAX = 10;
const CONNECT_TIMEOUT_MS = 5_000;
const IDLE_CONNECTION_MS = 60_000;
/**
 * A replica that was frozen, or whose machine vanished, inside a transaction holds everybody's lock: the server ends it after
 * this. Others wait longer than that for the lock before they give up.
 */
const FROZEN_TRANSACTION_MS = 15_000;
const LOCK_WAIT_MS = 30_000;
const ANSWER_MS = 45_000;

/** Text of integers and sums as numbers: every count of ours is a safe integer, or it never came in. */
const NUMBERS = new Set<number>([pg.types.builtins.INT8, pg.types.builtins.NUMERIC]);
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) => (NUMBERS.has(oid) ? Number : pg.types.getTypeParser(oid, format)),
};

/** What each connection is opened with. `replica` names whose audit it writes. */
export function connectionOptions(
  address: PostgresAddress,
  replica: string,
  more: Readonly<Record<string, number>> = {},
) {
  const settings: Readonly<Record<string, string | number>> = {
    'qiao.replica': replica,
    idle_in_transaction_session_timeout: FROZEN_TRANSACTION_MS,
    lock_timeout: LOCK_WAIT_MS,
    tcp_keepalives_idle: 10,
    tcp_keepalives_interval: 5,
    tcp_keepalives_count: 3,
    ...more,
  };
  return {
    host: address.host,
    port: address.port,
    database: address.database,
    user: address.user,
    ...(address.password === undefined ? {} : { password: address.password }),
    ssl: address.ssl,
    application_name: `qiao ${replica}`,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    // A server whose machine vanished answers nothing, not even that.
    query_timeout: ANSWER_MS,
    options: Object.entries(settings)
      .map(([name, value]) => `-c ${name}=${value}`)
      .join(' '),
    types,
  };
}

export function openPool(address: PostgresAddress, replica: string): pg.Pool {
  const pool = new pg.Pool({
    ...connectionOptions(address, replica),
    max: CONNECTIONS_MAX,
    idleTimeoutMillis: IDLE_CONNECTION_MS,
  });
  // A server that goes ends idle connections; the next query opens a new one or says that it cannot.
  pool.on('error', () => undefined);
  // The pool listens to idle ones alone. One that breaks in a transaction between two statements would end the process; so the next
  // statement says it.
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

export class OneWriterDialect implements Dialect {
  readonly #pool: pg.Pool;
  readonly #address: string;

  constructor(pool: pg.Pool, address: string) {
    this.#pool = pool;
    this.#address = address;
  }

  createDriver(): Driver {
    return new OneWriterDriver(this.#pool, this.#address);
  }
  createAdapter(): PostgresAdapter {
    return new PostgresAdapter();
  }
  createQueryCompiler(): PostgresQueryCompiler {
    return new PostgresQueryCompiler();
  }
  createIntrospector(database: Kysely<unknown>): PostgresIntrospector {
    return new PostgresIntrospector(database);
  }
}

class OneWriterDriver implements Driver {
  readonly #pool: pg.Pool;
  readonly #address: string;

  constructor(pool: pg.Pool, address: string) {
    this.#pool = pool;
    this.#address = address;
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    try {
      return new Connection(await this.#pool.connect(), this.#address);
    } catch (error) {
      throw postgresError(error, this.#address);
    }
  }

  async releaseConnection(connection: DatabaseConnection): Promise<void> {
    (connection as Connection).release();
  }

  async beginTransaction(connection: DatabaseConnection, { accessMode }: TransactionSettings): Promise<void> {
    if (accessMode === 'read only') {
      await run(connection, 'START TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY');
      return;
    }
    // READ COMMITTED: each statement sees what the writer before committed, however long the lock was waited for.
    await run(connection, 'START TRANSACTION ISOLATION LEVEL READ COMMITTED');
    try {
      await run(connection, `SELECT pg_advisory_xact_lock(${LOCK_CLASS}, ${LOCKS.writer})`);
    } catch (error) {
      await run(connection, 'ROLLBACK').catch(() => (connection as Connection).discard());
      throw error;
    }
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await (connection as Connection).commit();
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    // The server rolls back what a broken connection left; the first error is the one to tell.
    await run(connection, 'ROLLBACK').catch(() => (connection as Connection).discard());
  }

  async destroy(): Promise<void> {
    await this.#pool.end();
  }
}

async function run(connection: DatabaseConnection, sql: string): Promise<void> {
  await connection.executeQuery(CompiledQuery.raw(sql));
}

class Connection implements DatabaseConnection {
  readonly #client: pg.PoolClient;
  readonly #address: string;
  #isBroken = false;

  constructor(client: pg.PoolClient, address: string) {
    this.#client = client;
    this.#address = address;
  }

  async executeQuery<Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
    const { command, rowCount, rows } = await this.#ask(sql, parameters, false);
    const isChange = command === 'INSERT' || command === 'UPDATE' || command === 'DELETE';
    return { rows: rows as Row[], ...(isChange ? { numAffectedRows: BigInt(rowCount ?? 0) } : {}) };
  }

  async *streamQuery<Row>(): AsyncIterableIterator<QueryResult<Row>> {
    yield await Promise.reject(new Error('streaming is not used: long reads go page by page'));
  }

  async commit(): Promise<void> {
    const { command } = await this.#ask('COMMIT', [], true);
    // An aborted transaction answers a commit with ROLLBACK, and no error.
    if (command === 'ROLLBACK') throw new Error('the transaction had failed before its commit');
  }

  discard(): void {
    this.#isBroken = true;
  }

  release(): void {
    this.#client.release(this.#isBroken);
  }

  async #ask(sql: string, parameters: readonly unknown[], isCommit: boolean): Promise<pg.QueryResult> {
    try {
      return await this.#client.query(sql, parameters.map(storable));
    } catch (error) {
      if (isPassing(error)) this.#isBroken = true;
      throw postgresError(error, this.#address, isCommit);
    }
  }
}

/** PostgreSQL's text cannot hold U+0000. Titles, messages and codes come from outside; rows never come here. */
function storable(value: unknown): unknown {
  if (typeof value === 'string' && value.includes('\0')) return value.replaceAll('\0', '\uFFFD');
  // A view of a longer buffer is sent as what it shows.
  if (value instanceof Uint8Array && !Buffer.isBuffer(value)) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
  return value;
}
