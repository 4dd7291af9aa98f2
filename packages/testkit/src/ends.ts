// Business databases of stories: one word for a real PostgreSQL database and a real SQLite file, with raw SQL for the story
// and an independent reading of tables that shares no code with the adapters.

import Sqlite from 'better-sqlite3';
import { Client, type CustomTypesConfig, Pool } from 'pg';

export interface BusinessDatabase extends AsyncDisposable {
  readonly adapter: 'postgres' | 'sqlite' | 'mysql';
  /** As in agent.yaml. */
  readonly config: object;
  /** Runs statements in one transaction. */
  run(...statements: string[]): Promise<void>;
  /** Rows as the database itself prints them, every field as text; null stays null. */
  rows(sql: string): Promise<(string | null)[][]>;
}

/** A database of a running PostgreSQL. */
export async function postgresDatabase(config: PostgresConfig): Promise<BusinessDatabase> {
  const { host, port, database, user, password } = config;
  const pool = new Pool({ host, port, database, user, password, max: 2 });
  // A server that a story kills ends idle connections; the next query opens a new one.
  pool.on('error', () => undefined);
  // One that is ended while it is lent out says so twice: at its query, and here.
  pool.on('connect', (client) => void client.on('error', () => undefined));
  return {
    adapter: 'postgres',
    config: { adapter: 'postgres', host, port, database, user, password },
    async run(...statements) {
      const client = await pool.connect();
      try {
        await client.query('BEGIN');
        for (const statement of statements) await client.query(statement);
        await client.query('COMMIT');
      } catch (error) {
        // Nobody knows how far it came: the connection goes, and its transaction with it.
        client.release(true);
        throw error;
      }
      client.release();
    },
    async rows(sql) {
      const types = { getTypeParser: () => (text: string) => text } as unknown as CustomTypesConfig;
      return (await pool.query<(string | null)[]>({ text: sql, rowMode: 'array', types })).rows;
    },
    [Symbol.asyncDispose]: () => pool.end(),
  };
}

export interface PostgresConfig {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string;
}

/** One connection of somebody else to a database, for a story that holds a lock or a transaction. */
export interface PostgresSession extends AsyncDisposable {
  query(sql: string): Promise<void>;
}

/** Opens a session. A connection that the server ends meanwhile shows at its next query. */
export async function postgresSession(config: PostgresConfig): Promise<PostgresSession> {
  const { host, port, database, user, password } = config;
  const client = new Client({ host, port, database, user, password });
  client.on('error', () => undefined);
  await client.connect();
  return {
    query: async (sql) => void (await client.query(sql)),
    [Symbol.asyncDispose]: () => client.end().catch(() => undefined),
  };
}

/** A SQLite file, made when missing, in WAL mode as most programs keep theirs. */
export function sqliteDatabase(file: string): BusinessDatabase {
  const database = new Sqlite(file);
  database.pragma('journal_mode = WAL');
  database.pragma('busy_timeout = 10000');
  database.defaultSafeIntegers(true);
  return {
    adapter: 'sqlite',
    config: { adapter: 'sqlite', file },
    async run(...statements) {
      database.transaction(() => {
        for (const statement of statements) database.exec(statement);
      })();
    },
    async rows(sql) {
      const rows = database.prepare(sql).raw().all() as unknown[][];
      return rows.map((row) => row.map(printed));
    },
    async [Symbol.asyncDispose]() {
      database.close();
    },
  };
}

function printed(value: unknown): string | null {
  if (value === null) return null;
  return Buffer.isBuffer(value) ? value.toString('hex') : String(value);
}
