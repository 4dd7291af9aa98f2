/**
 * One connection to SQL Server with every setting fixed that shapes text or behaviour. Owns opening, closing and plain statements over the
 * driver tedious; what is asked over the connection belongs to others.
 */
import { isIP } from 'node:net';
import { QiaoError } from '@qiao/exchange';
import { Connection, type ConnectionConfiguration, Request, TYPES } from 'tedious';
import type { DataSourceConfig } from '../adapter.ts';
import type { Product } from '../product.ts';
import type { Bound, Reader, Statement, Value } from '../source-only/reader.ts';
import { isThisMachine } from '../thisMachine.ts';
import { classify } from './errors.ts';

/**
 * How to reach one database of a SQL Server. `tls` absent: none for this machine, required for any other. `require` encrypts without
 * checking the certificate; `{ca}` (PEM) checks it and the host name.
 */
export type MssqlConfig = Extract<DataSourceConfig, { adapter: 'mssql' }>;

const CONNECT_MS = 10_000;
const LOCK_MS = 10_000;
/** SQL Server 2016: CONVERT styles without loss, DATEDIFF_BIG. */
const OLDEST_MAJOR = 13;
const AZURE_DATABASE = '5';

const SETTINGS = `SET LANGUAGE us_english; SET DATEFORMAT ymd; SET ANSI_NULLS ON; SET ANSI_PADDING ON; SET ANSI_WARNINGS ON; SET ARITHABORT ON;
  SET CONCAT_NULL_YIELDS_NULL ON; SET QUOTED_IDENTIFIER ON; SET NUMERIC_ROUNDABORT OFF; SET XACT_ABORT ON; SET IMPLICIT_TRANSACTIONS OFF;
  SET TEXTSIZE 2147483647; SET ROWCOUNT 0; SET LOCK_TIMEOUT ${LOCK_MS}`;

export class Session implements Reader {
  readonly product: Product;
  readonly #connection: Connection;
  #isBroken = false;

  constructor(connection: Connection, product: Product) {
    this.#connection = connection;
    this.product = product;
    connection.on('end', () => {
      this.#isBroken = true;
    });
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
    let waiting: Value[][] = [];
    let wake = () => {};
    let isOver = false;
    let failure: unknown;
    const request = new Request(sql, (error) => {
      failure = error ?? undefined;
      isOver = true;
      wake();
    });
    for (const [place, value] of values.entries()) bind(request, `p${place + 1}`, value);
    request.on('row', (columns: { value: Value }[]) => {
      waiting.push(columns.map(({ value }) => value));
      if (waiting.length < batchRows) return;
      request.pause();
      wake();
    });
    const lost = () => {
      isOver = true;
      failure ??= Object.assign(new Error('the connection ended'), { code: 'ECONNCLOSED' });
      wake();
    };
    this.#connection.once('end', lost);
    this.#connection.execSql(request);
    try {
      for (;;) {
        if (waiting.length > 0 && (isOver || waiting.length >= batchRows)) {
          const batch = waiting;
          waiting = [];
          yield batch;
          request.resume();
        } else if (failure !== undefined) throw classify(failure);
        else if (isOver) return;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      this.#connection.off('end', lost);
      if (!isOver) this.abandon();
    }
  }

  /** As a batch of its own: what a parameterised statement sets ends with it. */
  run(sql: string): Promise<void> {
    return batch(this.#connection, sql);
  }

  close(): Promise<void> {
    if (this.#isBroken) return Promise.resolve();
    this.#isBroken = true;
    return new Promise((resolve) => {
      this.#connection.once('end', () => resolve());
      this.#connection.close();
    });
  }

  /** The server ends the statement when it finds the connection closed. */
  abandon(): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    this.#connection.close();
  }
}

/** Connects and fixes the settings. Throws classified errors; SOURCE_VERSION for a server that is too old. */
export async function openSession(
  config: MssqlConfig,
  { purpose, limitMs }: { purpose: string; limitMs: number },
): Promise<Session> {
  const connection = new Connection(connectionOptions(config, purpose, limitMs));
  // What comes after the greeting is told to the request under way; without a listener Node ends the process.
  connection.on('error', () => undefined);
  try {
    await new Promise<void>((resolve, reject) => {
      connection.connect((error) => (error === undefined || error === null ? resolve() : reject(error)));
    });
    await batch(connection, SETTINGS);
    const asked =
      "SELECT CONVERT(varchar(50), SERVERPROPERTY('ProductVersion')), CONVERT(varchar(5), SERVERPROPERTY('EngineEdition'))";
    const [row] = await new Session(connection, productOf('', '')).rows({ sql: asked, values: [] });
    const product = productOf(row?.[0] ?? '', row?.[1] ?? '');
    if (product.name === 'SQL Server' && Number.parseInt(product.version, 10) < OLDEST_MAJOR) {
      throw new QiaoError(
        'SOURCE_VERSION',
        `SQL Server ${product.version} is too old; 13 (2016) or later is expected`,
        {
          hint: 'upgrade the database, or share through the exchange tables of this node',
        },
      );
    }
    return new Session(connection, product);
  } catch (error) {
    connection.close();
    throw classify(error);
  }
}

/** Nobody of this house has such a server: what it has is tried. */
export function productOf(version: string, edition: string): Product {
  const name = edition === AZURE_DATABASE ? 'Azure SQL Database' : 'SQL Server';
  return { name, version, isKin: true, isVerified: false };
}

export function connectionOptions(config: MssqlConfig, purpose: string, limitMs: number): ConnectionConfiguration {
  const tls = config.tls ?? (isThisMachine(config.host) ? 'disable' : 'require');
  return {
    server: config.host,
    authentication: { type: 'default', options: { userName: config.user, password: config.password } },
    options: {
      port: config.port,
      database: config.database,
      encrypt: tls !== 'disable',
      trustServerCertificate: typeof tls === 'string',
      ...(typeof tls === 'object' ? { cryptoCredentialsDetails: { ca: tls.ca } } : {}),
      // A name that is an address is none that TLS could ask for.
      ...(isIP(config.host) === 0 ? { serverName: config.host } : {}),
      appName: `qiao ${purpose}`,
      connectTimeout: CONNECT_MS,
      requestTimeout: limitMs,
      cancelTimeout: CONNECT_MS,
      readOnlyIntent: false,
      rowCollectionOnDone: false,
      rowCollectionOnRequestCompletion: false,
      useColumnNames: false,
      useUTC: true,
    },
  };
}

function bind(request: Request, name: string, value: Bound): void {
  if (typeof value === 'number') request.addParameter(name, TYPES.Float, value);
  else request.addParameter(name, TYPES.NVarChar, value);
}

function batch(connection: Connection, sql: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error | null) =>
      error === undefined || error === null ? resolve() : reject(classify(error));
    connection.execSqlBatch(new Request(sql, done));
  });
}
