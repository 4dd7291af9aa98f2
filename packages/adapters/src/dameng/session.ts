/**
 * One connection to 达梦 with every setting fixed that shapes behaviour. Owns opening, closing and plain statements over the driver that the
 * operator has installed; what is asked over the connection belongs to others.
 */
import { QiaoError } from '@qiao/exchange';
import type { DataSourceConfig } from '../adapter.ts';
import type { Product } from '../product.ts';
import type { Reader, Statement, Value } from '../source-only/reader.ts';
import { isThisMachine } from '../thisMachine.ts';
import { type Driver, type DriverConnection, loadDriver } from './driver.ts';
import { classify } from './errors.ts';

/** How to reach one 达梦. `tls: disable` has to be written for every other machine. */
export type DamengConfig = Extract<DataSourceConfig, { adapter: 'dameng' }>;

const CONNECT_MS = 10_000;

export class Session implements Reader {
  readonly product: Product;
  readonly #driver: Driver;
  readonly #connection: DriverConnection;
  #isBroken = false;

  constructor(driver: Driver, connection: DriverConnection, product: Product) {
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
    let isOver = false;
    try {
      const { resultSet } = await this.#connection.execute(sql, values, {
        resultSet: true,
        outFormat: this.#driver.OUT_FORMAT_ARRAY,
        // Zero is no limit: a table that is cut would look like one whose rows were deleted.
        maxRows: 0,
      });
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

  /** No way to cut it is known here: a statement under way may first come to its end. */
  abandon(): void {
    void this.close();
  }

  #failed(error: unknown): QiaoError {
    const classified = classify(error);
    if (classified.code === 'SOURCE_UNAVAILABLE') this.#isBroken = true;
    return classified;
  }
}

/** Connects and fixes the settings. Throws classified errors; SOURCE_DRIVER_MISSING. */
export async function openSession(config: DamengConfig): Promise<Session> {
  checkLine(config);
  const driver = loadDriver(config.driver);
  let connection: DriverConnection | undefined;
  try {
    connection = await connected(driver, config);
    const asked = new Session(driver, connection, productOf(''));
    const [row] = await asked.rows({ sql: 'SELECT SVR_VERSION FROM V$INSTANCE', values: [] }).catch(() => []);
    return new Session(driver, connection, productOf(row?.[0] ?? ''));
  } catch (error) {
    await connection?.close().catch(() => undefined);
    throw classify(error);
  }
}

/** Throws CONFIG_INVALID for a line that nobody has called trusted. */
export function checkLine({ name, host, tls }: DamengConfig): void {
  if (tls === 'disable' || isThisMachine(host)) return;
  throw new QiaoError(
    'CONFIG_INVALID',
    `data source ${name}: how 达梦's driver is asked for TLS is not known here, and ${host} is another machine`,
    {
      hint: 'lead the line through a tunnel (ssh, stunnel) that ends on this machine, or write `tls: disable` if the network is trusted',
    },
  );
}

/** Nobody of this house has such a server: what it has is tried. */
export function productOf(text: string): Product {
  const version = /\d+(\.\d+)+/.exec(text)?.[0] ?? 'of a version that it does not tell';
  return { name: '达梦', version, isKin: true, isVerified: false };
}

/** No limit of time of the driver's own is relied on. One that comes too late is closed. */
async function connected(driver: Driver, { host, port, user, password }: DamengConfig): Promise<DriverConnection> {
  const place = host.includes(':') ? `[${host}]` : host;
  const connecting = driver.getConnection({ connectString: `${place}:${port}`, user, password, autoCommit: false });
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    reject(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }));
    connecting.then((connection) => connection.close()).catch(() => undefined);
  }, CONNECT_MS);
  try {
    return await Promise.race([connecting, late]);
  } finally {
    clearTimeout(timer);
  }
}
