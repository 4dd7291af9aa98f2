/**
 * One connection with every setting that shapes text or behaviour fixed, so that the same row is the same bytes on
 * every connection whatever the server, database or role defaults say. Owns opening, closing and plain statements;
 * what is asked over the connection belongs to others.
 */

import type { Socket } from 'node:net';
import { QiaoError } from '@qiao/exchange';
import { Client, type ClientConfig, type CustomTypesConfig } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import type { DataSourceConfig } from '../adapter.ts';
import { lackError, type Product } from '../product.ts';
import { isThisMachine } from '../thisMachine.ts';
import { productOf } from './product.ts';
import { classify, type Side } from './sqlstate.ts';

/**
 * How to reach one PostgreSQL database. `tls` absent: none for this machine, required for any other. `require` encrypts
 * without checking the certificate; `{ca}` (PEM) checks it and the host name.
 */
export type PostgresConfig = Extract<DataSourceConfig, { adapter: 'postgres' }>;

/** Time limits in milliseconds; 0 means none. */
export interface SessionLimits {
  readonly statementMs: number;
  readonly lockMs: number;
  readonly idleInTransactionMs: number;
}

export type Row = (string | null)[];

/** What a statement gave: its rows as arrays of text, and how many rows it gave or touched. */
export interface Asked {
  readonly rows: Row[];
  readonly count: number;
}

/** The oldest server whose float text is the shortest round trip and which knows every setting used. */
const OLDEST_VERSION = 120000;

const textTypes = { getTypeParser: () => (value: unknown) => value } as unknown as CustomTypesConfig;

/** One connection. Statements run one after another; every value comes back as text. */
export class Session {
  readonly side: Side;
  readonly versionNumber: number;
  readonly product: Product;
  readonly client: Client;
  #isBroken = false;
  /** Statements that the server keeps for this connection, by text. */
  readonly #kept = new Map<string, string>();

  constructor(client: Client, side: Side, product: Product, versionNumber: number) {
    this.client = client;
    this.side = side;
    this.product = product;
    this.versionNumber = versionNumber;
    client.on('error', () => {
      this.#isBroken = true;
    });
    client.on('end', () => {
      this.#isBroken = true;
    });
  }

  /** The connection is gone; open another. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Rows as arrays of text. Throws a classified QiaoError or RowError. */
  async rows(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    try {
      const result = await this.client.query<Row>({ text, values: [...values], rowMode: 'array', types: textTypes });
      return result.rows;
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /**
   * A statement that comes with every delivery, with other values: the server parses and plans it once a connection. Only for few texts that never
   * change, whose columns keep their types. Throws as `rows`.
   */
  async asked(text: string, values: readonly unknown[]): Promise<Asked> {
    const name = this.#kept.get(text) ?? `qiao_${this.#kept.size}`;
    this.#kept.set(text, name);
    try {
      const query = { name, text, values: [...values], rowMode: 'array', types: textTypes } as const;
      const { rows, rowCount } = await this.client.query<Row>(query);
      return { rows, count: rowCount ?? 0 };
    } catch (error) {
      const failure = this.#failed(error);
      if (!isForgotten(error)) throw failure;
      this.#isBroken = true;
      throw new QiaoError(
        `${this.side}_UNAVAILABLE`,
        'what the database server kept of a statement does not hold any more',
        {
          fate: 'transient',
          hint: 'nothing to do: it is asked again over a new connection',
        },
      );
    }
  }

  /** Runs a statement and gives the number of rows that it touched. */
  async run(text: string, values: readonly unknown[] = []): Promise<number> {
    try {
      const result =
        values.length === 0
          ? await this.client.query(text)
          : await this.client.query({ text, values: [...values], rowMode: 'array', types: textTypes });
      return result.rowCount ?? 0;
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /** Sends row text in one piece to `COPY … FROM STDIN`; gives the number of rows in the server's tag. */
  async copyIn(statement: string, rows: Uint8Array): Promise<number> {
    const copy = this.client.query(copyFrom(statement));
    // A connection that dies during COPY ends no stream by itself.
    const ended = () => copy.destroy(new Error('connection ended'));
    this.client.once('end', ended);
    try {
      await new Promise<void>((resolve, reject) => {
        copy.once('error', reject);
        copy.once('finish', resolve);
        copy.end(rows);
      });
      return copy.rowCount;
    } catch (error) {
      throw this.#failed(error);
    } finally {
      this.client.removeListener('end', ended);
    }
  }

  /** Closes politely; never throws. */
  async close(): Promise<void> {
    if (this.#isBroken) return this.abandon();
    await this.client.end().catch(() => undefined);
  }

  /** Cuts the connection, for one that is in the middle of a COPY or must stop now. */
  abandon(): void {
    this.#isBroken = true;
    (this.client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }

  #failed(error: unknown): Error {
    const classified = classify(error, this.side);
    const state = (error as { code?: string } | null)?.code ?? '';
    if (state === '' || /^(08|57P|E[A-Z])/.test(state)) this.#isBroken = true;
    return classified;
  }
}

/** Its columns have other types now, or somebody between us and the server took it away. */
function isForgotten(error: unknown): boolean {
  return /^(0A000|26000)$/.test((error as { code?: string } | null)?.code ?? '');
}

/**
 * Connects and fixes the settings. `replication`: a session that may stream the log, and knows statements without parameters only.
 * Throws classified errors; `<SIDE>_VERSION` for a server that is too old.
 */
export async function openSession(
  config: PostgresConfig,
  options: { side: Side; purpose: string; limits: SessionLimits; replication?: boolean },
): Promise<Session> {
  const { side, limits } = options;
  const client = new Client({
    ...(options.replication === true ? { replication: 'database' } : {}),
    host: config.host,
    port: config.port,
    database: config.database,
    user: config.user,
    password: config.password,
    ssl: tlsOptions(config),
    keepAlive: true,
    // The system's own two hours are too long to wait for an answer from a server that is gone.
    keepAliveInitialDelayMillis: 30_000,
    connectionTimeoutMillis: 10_000,
    application_name: `qiao ${options.purpose}`.slice(0, 63),
  });
  client.on('error', () => undefined); // a second listener watches in Session; without one Node ends the process
  const greeted = guardGreeting(client);
  try {
    await client.connect();
    greeted();
    const shown = await client.query<Row>({
      text: "SELECT current_setting('server_version'), current_setting('server_version_num'), pg_catalog.version()",
      rowMode: 'array',
      types: textTypes,
    });
    const version = shown.rows[0]?.[0] ?? '';
    const versionNumber = Number(shown.rows[0]?.[1] ?? 0);
    const product = productOf(shown.rows[0]?.[2] ?? '', version);
    // Kin count otherwise: what they have is asked of each.
    if (!product.isKin && versionNumber < OLDEST_VERSION) {
      throw new QiaoError(`${side}_VERSION`, `PostgreSQL ${version} is too old; 12 or later is expected`, {
        hint: 'upgrade the database, or share through the exchange tables of this node',
      });
    }
    const session = new Session(client, side, product, versionNumber);
    const fixed = fixedSettings(config, limits, side, versionNumber);
    const settings = Object.entries(product.isKin ? await knownToKin(session, fixed) : fixed);
    const literal = (text: string) => client.escapeLiteral(text);
    await session.rows(
      `SELECT ${settings.map(([name, value]) => `set_config(${literal(name)}, ${literal(value)}, false)`).join(', ')}`,
    );
    return session;
  } catch (error) {
    await client.end().catch(() => undefined);
    throw classify(error, side);
  }
}

/**
 * Until the call of what it gives back, what the driver cannot understand is an error of the connection: it throws it where the bytes arrive,
 * and kin that ask for passwords in ways of their own would end the process.
 */
function guardGreeting(client: Client): () => void {
  let isGreeted = false;
  const { connection } = client as unknown as { connection: { attachListeners(stream: Socket): void } };
  const attach = connection.attachListeners.bind(connection);
  connection.attachListeners = (stream) => {
    attach(stream);
    for (const listener of stream.listeners('data') as ((chunk: Buffer) => void)[]) {
      stream.off('data', listener);
      stream.on('data', (chunk: Buffer) => {
        try {
          listener(chunk);
        } catch (error) {
          if (isGreeted) throw error;
          stream.destroy(error as Error);
        }
      });
    }
  };
  return () => {
    isGreeted = true;
  };
}

/** The schema that a reference without one means. */
export function defaultSchema(config: PostgresConfig): string {
  return config.schema ?? 'public';
}

/**
 * Text shapes first (DESIGN section 7), then what keeps others safe from us. `row_security = off` makes a statement
 * fail where a policy would hide rows: a silent half of a table would look like deletes.
 */
function fixedSettings(
  config: PostgresConfig,
  limits: SessionLimits,
  side: Side,
  versionNumber: number,
): Record<string, string> {
  const schema = `"${defaultSchema(config).replaceAll('"', '""')}"`;
  return {
    client_encoding: 'UTF8',
    DateStyle: 'ISO, YMD',
    IntervalStyle: 'iso_8601',
    TimeZone: 'UTC',
    extra_float_digits: '1',
    bytea_output: 'hex',
    xmloption: 'content',
    standard_conforming_strings: 'on',
    // pg_catalog comes first by itself; naming it would make it the place where tables are created.
    search_path: `${schema}, pg_temp`,
    row_security: 'off',
    synchronous_commit: 'on',
    statement_timeout: String(limits.statementMs),
    lock_timeout: String(limits.lockMs),
    idle_in_transaction_session_timeout: String(limits.idleInTransactionMs),
    jit: 'off',
    ...(versionNumber >= 140000 ? { client_connection_check_interval: '5s' } : {}),
    ...(side === 'SOURCE'
      ? { default_transaction_read_only: 'on', max_parallel_workers_per_gather: '0' }
      : // A stage holds a few thousand keys and the target millions of rows: index look-ups, not a scan of the target.
        { random_page_cost: '1.1', temp_buffers: '32MB', work_mem: '32MB' }),
  };
}

/** Without these a kin server is slower, or waits longer, and reads and writes the same. */
const DISPENSABLE = new Set([
  'IntervalStyle',
  'xmloption',
  'lock_timeout',
  'idle_in_transaction_session_timeout',
  'jit',
  'client_connection_check_interval',
  'max_parallel_workers_per_gather',
  'random_page_cost',
  'temp_buffers',
  'work_mem',
]);

/** In Oracle's mode of some kin a text of no characters is stored as null. */
const KIN_SETTINGS = { ora_input_emptystr_isnull: 'off' };

/** The settings that a kin server knows. Throws `<SIDE>_SERVER_LACKS` where one is unknown without which values would be read otherwise. */
export async function knownToKin(session: Session, fixed: Record<string, string>): Promise<Record<string, string>> {
  const found = await session.rows('SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings');
  const known = new Set(found.map(([name]) => name));
  const isKnown = (name: string) => known.has(name.toLowerCase());
  const missing = Object.keys(fixed).filter((name) => !isKnown(name) && !DISPENSABLE.has(name));
  if (missing.length > 0)
    throw lackError(
      session.product,
      session.side,
      missing.map((name) => `the setting ${name}`),
    );
  return Object.fromEntries(Object.entries({ ...fixed, ...KIN_SETTINGS }).filter(([name]) => isKnown(name)));
}

export function tlsOptions(config: PostgresConfig): ClientConfig['ssl'] {
  const tls = config.tls ?? (isThisMachine(config.host) ? 'disable' : 'require');
  if (tls === 'disable') return false;
  if (tls === 'require') return { rejectUnauthorized: false };
  return { ca: tls.ca, rejectUnauthorized: true, servername: config.host };
}
