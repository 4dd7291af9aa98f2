/**
 * One connection to Oracle with every setting fixed that shapes text or behaviour. Owns opening, closing and plain statements over the driver
 * oracledb, which needs no client of Oracle's on the machine (thin mode); what is asked over the connection belongs to others.
 */
import { QiaoError } from '@qiao/exchange';
import type oracledb from 'oracledb';
import type { DataSourceConfig } from '../adapter.ts';
import type { Product } from '../product.ts';
import type { Bound, Reader, Statement, Value } from '../source-only/reader.ts';
import { isThisMachine } from '../thisMachine.ts';
import { classify } from './errors.ts';

/**
 * How to reach one database of Oracle. `tls` absent: none for this machine, required for any other. `require` is TCPS: the certificate is
 * checked with its host name against the authorities that Node knows (NODE_EXTRA_CA_CERTS names more); the driver has no other way.
 */
export type OracleConfig = Extract<DataSourceConfig, { adapter: 'oracle' }>;

const CONNECT_SECONDS = 10;

const SETTINGS = [
  "NLS_NUMERIC_CHARACTERS = '.,'",
  "NLS_CALENDAR = 'GREGORIAN'",
  "NLS_LANGUAGE = 'AMERICAN'",
  "NLS_TERRITORY = 'AMERICA'",
  "NLS_DATE_FORMAT = 'YYYY-MM-DD HH24:MI:SS'",
  "NLS_TIMESTAMP_FORMAT = 'YYYY-MM-DD HH24:MI:SS.FF9'",
  "NLS_SORT = 'BINARY'",
  "NLS_COMP = 'BINARY'",
  "TIME_ZONE = '+00:00'",
];

export class Session implements Reader {
  readonly product: Product;
  readonly #driver: typeof oracledb;
  readonly #connection: oracledb.Connection;
  #isBroken = false;

  constructor(driver: typeof oracledb, connection: oracledb.Connection, product: Product) {
    this.#driver = driver;
    this.#connection = connection;
    this.product = product;
  }

  get isBroken(): boolean {
    return this.#isBroken;
  }

  async rows(statement: Statement): Promise<(string | null)[][]> {
    const rows: (string | null)[][] = [];
    for await (const batch of this.stream(statement, 1_000)) {
      rows.push(...batch.map((row) => row.map((value) => (value === null ? null : String(value)))));
    }
    return rows;
  }

  async *stream({ sql, values }: Statement, batchRows: number): AsyncGenerator<readonly (readonly Value[])[]> {
    const { OUT_FORMAT_ARRAY, DB_TYPE_CLOB, DB_TYPE_NCLOB, DB_TYPE_BLOB, STRING, BUFFER } = this.#driver;
    let isOver = false;
    try {
      const { resultSet } = await this.#connection.execute<Value[]>(
        sql,
        values.map((value) => this.#bound(value)),
        {
          resultSet: true,
          outFormat: OUT_FORMAT_ARRAY,
          fetchArraySize: batchRows,
          prefetchRows: batchRows,
          // A large object is fetched with its row: whoever is longer than a row stays at the server.
          fetchTypeHandler: ({ dbType }) => {
            if (dbType === DB_TYPE_CLOB || dbType === DB_TYPE_NCLOB) return { type: STRING };
            return dbType === DB_TYPE_BLOB ? { type: BUFFER } : undefined;
          },
        },
      );
      if (resultSet === undefined) throw new Error('the driver gave no result set');
      for (;;) {
        const rows = await resultSet.getRows(batchRows);
        if (rows.length === 0) break;
        yield rows;
      }
      isOver = true;
      await resultSet.close();
    } catch (error) {
      isOver = true;
      throw this.#failed(error);
    } finally {
      if (!isOver) this.abandon();
    }
  }

  async run(sql: string): Promise<void> {
    try {
      await this.#connection.execute(sql);
    } catch (error) {
      throw this.#failed(error);
    }
  }

  async close(): Promise<void> {
    if (this.#isBroken) return;
    this.#isBroken = true;
    await this.#connection.close().catch(() => undefined);
  }

  /** Ends what runs at the server, then the connection. */
  abandon(): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    void this.#connection
      .break()
      .catch(() => undefined)
      .then(() => this.#connection.close({ drop: true }))
      .catch(() => undefined);
  }

  #bound(value: Bound): oracledb.BindParameter {
    const { DB_TYPE_BINARY_DOUBLE, DB_TYPE_VARCHAR } = this.#driver;
    return { val: value, type: typeof value === 'number' ? DB_TYPE_BINARY_DOUBLE : DB_TYPE_VARCHAR };
  }

  #failed(error: unknown): QiaoError {
    const classified = classify(error);
    if (classified.code === 'SOURCE_UNAVAILABLE') this.#isBroken = true;
    return classified;
  }
}

/** Connects and fixes the settings. Throws classified errors. */
export async function openSession(
  config: OracleConfig,
  { purpose, limitMs }: { purpose: string; limitMs: number },
): Promise<Session> {
  const driver = (await import('oracledb')).default;
  let connection: oracledb.Connection | undefined;
  try {
    connection = await driver.getConnection({
      user: config.user,
      password: config.password,
      connectString: connectString(config),
    });
    connection.callTimeout = limitMs;
    connection.module = `qiao ${purpose}`;
    await connection.execute(`ALTER SESSION SET ${SETTINGS.join(' ')}`);
    return new Session(driver, connection, productOf(connection.oracleServerVersionString));
  } catch (error) {
    await connection?.close({ drop: true }).catch(() => undefined);
    throw classify(error);
  }
}

/** A connect descriptor. Throws CONFIG_INVALID for names that could say more than a name. */
export function connectString({ name, host, port, database, tls }: OracleConfig): string {
  if (!/^[\w.:-]+$/.test(host) || !/^[\w.$#-]+$/.test(database)) {
    throw new QiaoError(
      'CONFIG_INVALID',
      `data source ${name}: host or database is no name of a host or of a service`,
      {
        hint: 'database: is the name of the service, as lsnrctl services shows it',
      },
    );
  }
  const isPlain = (tls ?? (isThisMachine(host) ? 'disable' : 'require')) === 'disable';
  const limits = `(CONNECT_TIMEOUT=${CONNECT_SECONDS})(TRANSPORT_CONNECT_TIMEOUT=${CONNECT_SECONDS})(RETRY_COUNT=0)`;
  const address = `(ADDRESS=(PROTOCOL=${isPlain ? 'tcp' : 'tcps'})(HOST=${host})(PORT=${port}))`;
  const security = isPlain ? '' : '(SECURITY=(SSL_SERVER_DN_MATCH=yes))';
  return `(DESCRIPTION=${limits}${address}(CONNECT_DATA=(SERVICE_NAME=${database}))${security})`;
}

/** Nobody of this house has such a server: what it has is tried. */
export function productOf(version: string): Product {
  return { name: 'Oracle', version, isKin: true, isVerified: false };
}
