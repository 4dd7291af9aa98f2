/**
 * MySQL, MariaDB and kin under the contract suite: their words, and a database of its own on a server that somebody named.
 */
import { randomBytes } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';
import type { Dialect, Fixture, Waivers } from '../contractSuite.ts';
import { openMysql } from './dataSource.ts';
import { departmentSession, numbers } from './server.testing.ts';
import type { MysqlConfig } from './session.ts';
import { identifier, literal } from './sql.ts';

export const mysqlWaivers: Waivers = {
  unlimitedDecimal: 'DECIMAL has at most 65 digits: a number without a limit is refused by check and createTable',
  infinity: 'DOUBLE has neither NaN nor infinities, and MariaDB stores minus zero as zero: such rows are isolated',
  partialIndexes: 'no index covers part of a table',
};

const dialect: Dialect = {
  bytesType: 'longblob',
  bytes: (hex) => `x'${hex}'`,
  textType: 'longtext',
  keyTextType: 'varchar(100)',
  keyBytesType: 'varbinary(100)',
  escapesBackslash: true,
  timestampType: 'datetime(6)',
  nowSeconds: 'SELECT FLOOR(UNIX_TIMESTAMP(NOW(6)))',
  unsupportedType: 'point',
  upserts: [
    ['INSERT INTO t VALUES (1, 5) ON DUPLICATE KEY UPDATE x = 6', ['U 1']],
    ['REPLACE INTO t VALUES (1, 7), (2, 7)', ['D 1', 'I 1', 'I 2']],
    ['INSERT IGNORE INTO t VALUES (1, 5), (3, 5)', ['I 3']],
  ],
  lastId: {
    table: 'CREATE TABLE t (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, x bigint)',
    ask: 'SELECT LAST_INSERT_ID()',
  },
  retype: (table, column, type) => `ALTER TABLE ${table} MODIFY ${column} ${type}`,
  quote: (name) => `\`${name.replaceAll('`', '``')}\``,
  // Names are of the basic plane only (manual, schema object names), and a table is a file, whose name takes five bytes for each of theirs.
  canName: (name) => !/[\u{10000}-\u{10ffff}]/u.test(name) && name.replace(/\W/g, '@0000').length <= 250,
};

/** The database of `config`, which is empty, for one test; `reader` is an account that exists and has no rights yet. */
export async function mysqlFixture(config: MysqlConfig, reader?: MysqlConfig): Promise<Fixture> {
  const department = departmentSession(config);
  const dataSource = openMysql(config);
  const opened = [dataSource];
  return {
    dataSource,
    dialect: {
      ...dialect,
      ...((await hasUuid(department)) ? {} : { uuidType: 'char(36)' }),
      ...(/mariadb/i.test(await versionOf(department)) ? {} : { hasNoJson: true }),
    },
    sql: async (text) => void (await department.query(text)),
    query: (text) => department.query(text),
    async fill(table, rows) {
      await department.query(`INSERT INTO ${table} SELECT n, CONCAT('text ', n) FROM ${numbers(0, rows - 1)}`);
    },
    async second() {
      const other = departmentSession(config);
      return {
        sql: async (text) => void (await other.query(text)),
        [Symbol.asyncDispose]: () => other[Symbol.asyncDispose](),
      };
    },
    async restricted() {
      if (reader === undefined) throw new Error('there is no account that may only read');
      await department.query(`GRANT SELECT ON ${identifier(config.database)}.* TO ${account(reader)}`);
      const source = openMysql(reader);
      opened.push(source);
      return source;
    },
    async [Symbol.asyncDispose]() {
      for (const each of opened) await each.close();
      await department[Symbol.asyncDispose]();
    },
  };
}

async function versionOf(department: ReturnType<typeof departmentSession>): Promise<string> {
  return (await department.query('SELECT VERSION()'))[0]?.[0] ?? '';
}

/** MariaDB has the type from 10.7 on, and no other server. */
async function hasUuid(department: ReturnType<typeof departmentSession>): Promise<boolean> {
  return await department.query("SELECT CAST('0f8fad5b-d9cb-469f-a165-70867728950e' AS uuid)").then(
    () => true,
    () => false,
  );
}

/** What a run has made on a server that is not ours. */
export interface ClaimedMysql {
  /** An account that may read; undefined where `config`'s may not make one. */
  readonly reader: MysqlConfig | undefined;
  release(): Promise<void>;
}

/** Makes the database that `config` names. Throws CONTRACT_NAME_TAKEN where one is there: it is somebody's. */
export async function claimMysql(config: MysqlConfig): Promise<ClaimedMysql> {
  const database = identifier(config.database);
  await using department = departmentSession(config, { inDatabase: false });
  try {
    await department.query(`CREATE DATABASE ${database} CHARACTER SET utf8mb4`);
  } catch (error) {
    if ((error as { code?: string }).code !== 'ER_DB_CREATE_EXISTS') throw error;
    throw new QiaoError('CONTRACT_NAME_TAKEN', `found database ${config.database}; expected none of this name`, {
      hint: `name another with --name; or remove what a run that was cut off has left: DROP DATABASE ${database};`,
    });
  }
  const reader = { ...config, user: `${config.database}_reader`, password: randomBytes(18).toString('base64url') };
  const isMade = await department
    // Fails also for an account that is there already: then it is not ours to use.
    .query(`CREATE USER ${account(reader)} IDENTIFIED BY ${literal(reader.password)}`)
    .then(
      () => true,
      () => false,
    );
  return {
    reader: isMade ? reader : undefined,
    async release() {
      await using owner = departmentSession(config, { inDatabase: false });
      await owner.query(`DROP DATABASE IF EXISTS ${database}`);
      if (isMade) await owner.query(`DROP USER IF EXISTS ${account(reader)}`);
    },
  };
}

/** The claimed database as new, for one test. */
export async function renewMysql(config: MysqlConfig): Promise<void> {
  const database = identifier(config.database);
  await using department = departmentSession(config, { inDatabase: false });
  await department.query(`DROP DATABASE ${database}; CREATE DATABASE ${database} CHARACTER SET utf8mb4`);
}

function account({ user }: MysqlConfig): string {
  return `${literal(user)}@'%'`;
}
