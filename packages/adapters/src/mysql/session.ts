/**
 * One connection with every setting that shapes text or behaviour fixed, so that the same row is the same bytes on every
 * connection whatever the server, database or account defaults say. Owns opening, closing and plain statements; what is asked
 * over the connection belongs to others.
 */

import { Readable } from 'node:stream';
import { QiaoError } from '@qiao/exchange';
import { type Connection, type ConnectionOptions, createConnection, type QueryOptions } from 'mysql2';
import type { DataSourceConfig } from '../adapter.ts';
import { lackError, named, type Product } from '../product.ts';
import { isThisMachine } from '../thisMachine.ts';
import { classify, RowError, type Side, WARNED } from './errno.ts';
import { productOf } from './product.ts';
import { literal } from './sql.ts';

/**
 * How to reach one MySQL or MariaDB database. `tls` absent: none for this machine, required for any other. `require` encrypts
 * without checking the certificate; `{ca}` (PEM) checks it and the host name.
 */
export type MysqlConfig = Extract<DataSourceConfig, { adapter: 'mysql' }>;

/** Time limits in milliseconds. */
export interface SessionLimits {
  readonly statementMs: number;
  readonly lockMs: number;
  /** How long the server waits for this side to read, write or ask. */
  readonly idleMs: number;
}

export type Row = (string | null)[];

/** What differs between servers that speak this protocol. */
export interface Server {
  readonly product: Product;
  readonly version: string;
  readonly isMariaDb: boolean;
  /** lower_case_table_names: 0 tells `T` from `t`. */
  readonly tellsCase: boolean;
  /** No intermediate value of an expression may be longer than this. */
  readonly maxAllowedPacket: number;
  /** LOAD DATA LOCAL is allowed. */
  readonly takesLocalFiles: boolean;
  /** The collation of UTF-8 whose equality is nearest to equal bytes. */
  readonly exactCollation: string;
}

/** What LOAD DATA asks for; a server that asks for anything else gets nothing. */
export const STREAM_NAME = 'qiao';
const STREAM_CHUNK_BYTES = 256 * 1024;
const KILL_LIMIT_MS = 5_000;
/** Warnings of syntax and settings that a later server will not have. */
const DEPRECATIONS = new Set([1287, 1681, 3719]);

/** NO_AUTO_VALUE_ON_ZERO: a zero is a zero. No NO_BACKSLASH_ESCAPES, no ANSI_QUOTES: literals are written for their absence. */
const SQL_MODE =
  'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION';

interface Done {
  readonly affectedRows: number;
  readonly warningStatus: number;
}

/** One connection. Statements run one after another; every value comes back as text. */
export class Session {
  readonly side: Side;
  readonly server: Server;
  readonly database: string;
  readonly connection: Connection;
  readonly #config: MysqlConfig;
  #isBroken = false;

  constructor(connection: Connection, config: MysqlConfig, side: Side, server: Server) {
    this.connection = connection;
    this.#config = config;
    this.side = side;
    this.server = server;
    this.database = config.database;
    const ended = () => {
      this.#isBroken = true;
    };
    connection.on('error', ended);
    connection.on('end', ended);
  }

  /** The connection is gone; open another. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Rows as arrays of text. Throws a classified QiaoError or RowError. */
  async rows(text: string): Promise<Row[]> {
    const rows = (await this.#query({ sql: text })) as (Buffer | null)[][];
    return rows.map((row) => row.map((value) => value?.toString('utf8') ?? null));
  }

  /** Runs a statement and gives the number of rows that it touched, or met for an UPDATE. */
  async run(text: string): Promise<number> {
    return ((await this.#query({ sql: text })) as Done).affectedRows;
  }

  /** Runs a statement that stores values, `isByLine`: those of the stage's lines in their order. Strict mode lets some alterations pass as
   * warnings or notes; here they are errors. */
  async store(text: string, { isByLine = false } = {}): Promise<number> {
    try {
      return await this.#unaltered((await this.#query({ sql: text })) as Done);
    } catch (error) {
      // The number of a row is that of a line only where the statement takes line after line.
      throw error instanceof RowError && !isByLine ? error.withoutLine() : error;
    }
  }

  /** Streams bytes to a `LOAD DATA LOCAL INFILE` statement; gives the number of rows stored. Any warning is an error. */
  async load(text: string, bytes: Uint8Array): Promise<number> {
    const infileStreamFactory = (name: string) => Readable.from(name === STREAM_NAME ? slices(bytes) : []);
    return await this.#unaltered((await this.#query({ sql: text, infileStreamFactory })) as Done);
  }

  /** The rows that a statement touched, unless it warned. How the statement is written may be deprecated: that alters no value. */
  async #unaltered({ affectedRows, warningStatus }: Done): Promise<number> {
    if (warningStatus === 0) return affectedRows;
    const warnings = await this.rows('SHOW WARNINGS');
    // The server keeps the first few only.
    const isAltered =
      warnings.length < warningStatus || !warnings.every(([, errno]) => DEPRECATIONS.has(Number(errno)));
    if (isAltered) throw new RowError(WARNED);
    return affectedRows;
  }

  /** Closes politely; never throws. */
  close(): Promise<void> {
    if (this.#isBroken) {
      this.abandon();
      return Promise.resolve();
    }
    this.#isBroken = true;
    return new Promise((resolve) => this.connection.end(() => resolve()));
  }

  /** Cuts the connection. A statement under way goes on at the server until it next writes: see `kill`. */
  abandon(): void {
    this.#isBroken = true;
    cut(this.connection);
  }

  /** Cuts the connection and ends its statement at the server, which may be sorting for an hour. Never throws. */
  async kill(): Promise<void> {
    this.abandon();
    const { threadId } = this.connection as { threadId?: number };
    if (threadId === undefined) return;
    const other = createConnection({ ...connectOptions(this.#config), connectTimeout: KILL_LIMIT_MS });
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, KILL_LIMIT_MS);
      other.on('error', () => resolve());
      other.query(`KILL ${threadId}`, () => {
        clearTimeout(timer);
        resolve();
      });
    });
    cut(other);
  }

  /** A failed statement as a classified error; remembers whether the connection is lost. */
  failed(error: unknown): Error {
    const classified = classify(error, this.side);
    if (isFatal(error)) this.#isBroken = true;
    return classified;
  }

  #query(options: QueryOptions & { infileStreamFactory?: (name: string) => Readable }): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.connection.query(options, (error, result) => {
        if (error === null) resolve(result);
        else reject(this.failed(error));
      });
    });
  }
}

/** Connects and fixes the settings. Throws classified errors; `<SIDE>_VERSION` for a server that is too old; the signal's reason once it says so. */
export async function openSession(
  config: MysqlConfig,
  options: { side: Side; purpose: string; limits: SessionLimits; signal?: AbortSignal },
): Promise<Session> {
  const { side, limits, signal } = options;
  const connection = createConnection({
    ...connectOptions(config),
    connectAttributes: { program_name: `qiao ${options.purpose}` },
  });
  // A server that is frozen never answers.
  const abort = () => cut(connection);
  signal?.addEventListener('abort', abort, { once: true });
  connection.on('error', () => undefined); // a second listener watches in Session; without one Node ends the process
  const ask = (sql: string) =>
    new Promise<(Buffer | null)[][]>((resolve, reject) => {
      connection.query(sql, (error, rows) => (error === null ? resolve(rows as (Buffer | null)[][]) : reject(error)));
    });
  try {
    const { version, comment, casing, packet, localFiles } = await readFacts(ask);
    const product = productOf(version, comment);
    const isMariaDb = product.name === 'MariaDB';
    if (!isNewEnough(version, product)) {
      throw new QiaoError(`${side}_VERSION`, `${named(product)} is too old; MariaDB 10.5 or MySQL 8.0 is expected`, {
        hint: 'upgrade the database, or share through the exchange tables of this node',
      });
    }
    const server: Server = {
      product,
      version,
      isMariaDb,
      tellsCase: casing === '0',
      maxAllowedPacket: Number(packet),
      takesLocalFiles: localFiles === '1',
      exactCollation: isMariaDb ? 'utf8mb4_nopad_bin' : 'utf8mb4_0900_bin',
    };
    const set = (settings: readonly (readonly [string, string])[]) =>
      ask(`SET ${settings.map(([name, value]) => `SESSION ${name} = ${value}`).join(', ')}`);
    const unlessUnknown = (error: Error & { errno?: number }): undefined => {
      if (error.errno !== UNKNOWN_VARIABLE && error.errno !== NOT_OF_THE_SESSION) throw error;
    };
    const unlessKin = (error: Error & { errno?: number; sqlMessage?: string }) => {
      if (!product.isKin || (error.errno ?? 0) === 0) throw error;
      throw lackError(product, side, [error.sqlMessage ?? error.message]);
    };
    await set(Object.entries(fixedSettings(side))).catch(unlessKin);
    const some = Object.entries(knownToSome(limits, product));
    // One that the server does not know fails all of them: then each is tried alone.
    if ((await set(some).catch(unlessUnknown)) === undefined) {
      for (const setting of some) await set([setting]).catch(unlessUnknown);
    }
    if (side === 'SOURCE') await ask('SET SESSION TRANSACTION READ ONLY').catch(unlessKin);
    return new Session(connection, config, side, server);
  } catch (error) {
    cut(connection);
    throw signal?.aborted ? signal.reason : classify(error, side);
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

const UNKNOWN_VARIABLE = 1193;
const NOT_OF_THE_SESSION = 1229;

/** Settings of every server, without which values would be read or stored otherwise (DESIGN section 7). */
function fixedSettings(side: Side): Record<string, string> {
  return {
    sql_mode: literal(SQL_MODE),
    time_zone: "'+00:00'",
    character_set_client: 'utf8mb4',
    character_set_connection: 'utf8mb4',
    character_set_results: side === 'SOURCE' ? 'binary' : 'utf8mb4',
    collation_connection: 'utf8mb4_bin',
    autocommit: '1',
    foreign_key_checks: '1',
    unique_checks: '1',
    sql_select_limit: '18446744073709551615',
  };
}

/** What keeps others safe from us, and settings that only some servers have: those that do not know one have not the behaviour either. */
function knownToSome(limits: SessionLimits, { name }: Product): Record<string, string> {
  const seconds = (ms: number) => String(Math.max(1, Math.ceil(ms / 1000)));
  return {
    sql_safe_updates: '0',
    sql_quote_show_create: '1',
    lock_wait_timeout: seconds(limits.lockMs),
    innodb_lock_wait_timeout: seconds(limits.lockMs),
    // A reader that is slowed down on purpose must not be taken for one that is gone.
    net_write_timeout: seconds(limits.idleMs),
    net_read_timeout: seconds(limits.idleMs),
    wait_timeout: seconds(limits.idleMs),
    sql_notes: '1',
    sql_auto_is_null: '0',
    completion_type: "'NO_CHAIN'",
    explicit_defaults_for_timestamp: '1',
    lc_messages: "'en_US'",
    // TiDB takes transactions that only read with this alone, and does nothing else for them.
    ...(name === 'TiDB' ? { tidb_enable_noop_functions: '1' } : {}),
    ...(name === 'MariaDB'
      ? { max_statement_time: String(limits.statementMs / 1000), old_mode: "''" }
      : { max_execution_time: String(Math.ceil(limits.statementMs)), information_schema_stats_expiry: '0' }),
  };
}

const FACTS = ['version', 'version_comment', 'lower_case_table_names', 'max_allowed_packet', 'local_infile'] as const;

interface ServerFacts {
  readonly version: string;
  readonly comment: string;
  readonly casing: string;
  readonly packet: string;
  readonly localFiles: string;
}

/** What the server says of itself; kin do not know every variable by its name. */
async function readFacts(ask: (sql: string) => Promise<(Buffer | null)[][]>): Promise<ServerFacts> {
  const rows = await ask(`SELECT ${FACTS.map((name) => `@@${name}`).join(', ')}`).then(
    ([row]) => FACTS.map((name, place) => [name, row?.[place]?.toString('utf8') ?? '']),
    async (error: Error & { errno?: number }) => {
      if (error.errno !== UNKNOWN_VARIABLE) throw error;
      const shown = await ask(`SHOW VARIABLES WHERE Variable_name IN (${FACTS.map(literal).join(', ')})`);
      return shown.map(([name, value]) => [name?.toString('utf8') ?? '', value?.toString('utf8') ?? '']);
    },
  );
  const facts = new Map(rows as [string, string][]);
  const get = (name: (typeof FACTS)[number]) => facts.get(name) ?? '';
  return {
    version: get('version'),
    comment: get('version_comment'),
    casing: get('lower_case_table_names'),
    packet: get('max_allowed_packet'),
    localFiles: /^(1|ON)$/i.test(get('local_infile')) ? '1' : '0',
  };
}

/** Window functions, recursive queries and NO PAD collations. Kin count otherwise: what they have is tried. */
function isNewEnough(version: string, { name }: Product): boolean {
  const [major = 0, minor = 0] = (/\d+\.\d+/.exec(version)?.[0] ?? '').split('.').map(Number);
  if (name === 'MariaDB') return major > 10 || (major === 10 && minor >= 5);
  return name !== 'MySQL' || major >= 8;
}

function connectOptions(config: MysqlConfig): ConnectionOptions {
  return {
    host: config.host,
    port: config.port,
    database: config.database,
    user: config.user,
    password: config.password,
    ...tlsOptions(config),
    charset: 'UTF8MB4_BIN',
    connectTimeout: 10_000,
    enableKeepAlive: true,
    // The system's own two hours are too long to wait for an answer from a server that is gone.
    keepAliveInitialDelay: 30_000,
    rowsAsArray: true,
    // Values as the bytes that the server sent: no Date, no number, no JSON.
    typeCast: false,
    flags: ['-IGNORE_SPACE', '-ODBC', '-SESSION_TRACK', '-CLIENT_QUERY_ATTRIBUTES'],
  };
}

export function tlsOptions(config: MysqlConfig): Pick<ConnectionOptions, 'ssl'> {
  const tls = config.tls ?? (isThisMachine(config.host) ? 'disable' : 'require');
  if (tls === 'disable') return {};
  if (tls === 'require') return { ssl: { rejectUnauthorized: false } };
  return { ssl: { ca: tls.ca, rejectUnauthorized: true, verifyIdentity: true } };
}

/** The driver's own `destroy` only stops writing, and a reader that waits would wait on. */
function cut(connection: Connection): void {
  (connection as unknown as { stream: { destroy(): void } }).stream.destroy();
}

function isFatal(error: unknown): boolean {
  if (error instanceof QiaoError || error instanceof RowError) return false;
  const { fatal, errno = 0 } = error as { fatal?: boolean; errno?: number };
  return fatal === true || errno === 0 || errno === 1927 || errno === 4031;
}

function* slices(bytes: Uint8Array): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += STREAM_CHUNK_BYTES) {
    yield Buffer.from(bytes.buffer, bytes.byteOffset + at, Math.min(STREAM_CHUNK_BYTES, bytes.length - at));
  }
}
