/**
 * 达梦's driver, dmdb. Its licence forbids to hand it on, so that it is no dependency of ours and in no bundle: the operator, who has a
 * contract with 达梦, installs it where `driver:` says, and it is loaded from there. Its API as its README and typings show it; that result
 * sets have `getRows` is taken from its likeness to Oracle's driver (decision 0025).
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';

/** Where it is looked for when the data source does not say. */
export const DRIVER_DIRECTORY = '/opt/qiao-drivers';

export interface Driver {
  readonly OUT_FORMAT_ARRAY: number;
  readonly CLOB: number;
  readonly BLOB: number;
  fetchAsString: number[];
  fetchAsBuffer: number[];
  getConnection(attributes: {
    readonly connectString: string;
    readonly user: string;
    readonly password: string;
    readonly autoCommit: boolean;
  }): Promise<DriverConnection>;
}

export interface DriverConnection {
  execute(sql: string, binds?: readonly unknown[], options?: object): Promise<{ resultSet?: DriverResultSet }>;
  close(): Promise<void>;
}

export interface DriverResultSet {
  getRows(count: number): Promise<(string | number | Buffer | null)[][]>;
  close(): Promise<void>;
}

/** Throws SOURCE_DRIVER_MISSING. */
export function loadDriver(directory: string = DRIVER_DIRECTORY): Driver {
  let loaded: (Driver & { default?: Driver }) | undefined;
  let why = '';
  try {
    loaded = createRequire(join(directory, 'package.json'))('dmdb') as Driver;
  } catch (error) {
    why = (error as { code?: string }).code ?? 'it does not load';
  }
  const driver = loaded?.default ?? loaded;
  if (typeof driver?.getConnection === 'function') {
    driver.fetchAsString = [driver.CLOB];
    driver.fetchAsBuffer = [driver.BLOB];
    return driver;
  }
  throw new QiaoError(
    'SOURCE_DRIVER_MISSING',
    `found no driver of 达梦 (dmdb) in ${join(directory, 'node_modules')}${why === '' ? '' : ` (${why})`}; Qiao may not bring it`,
    {
      hint: `if you have a licence of 达梦's: npm install --prefix ${directory} dmdb, or copy node_modules there from a machine with a network; for another place: driver: of the data source`,
    },
  );
}
