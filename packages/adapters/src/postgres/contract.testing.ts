/**
 * PostgreSQL under the contract suite: its words, and a schema of its own on a server that somebody named.
 */
import { randomBytes } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';
import type { Dialect, Fixture } from '../contractSuite.ts';
import { openPostgres } from './dataSource.ts';
import { departmentSession } from './server.testing.ts';
import { defaultSchema, type PostgresConfig } from './session.ts';
import { identifier } from './sql.ts';

/** Slot and publication of the suite's own readings of the log. */
const LOG_NAME = 'qiao_suite';

const dialect: Dialect = {
  bytesType: 'bytea',
  bytes: (hex) => `'\\x${hex}'::bytea`,
  nowSeconds: 'SELECT floor(extract(epoch FROM clock_timestamp()))',
  unsupportedType: 'money',
  // Longer ones are cut without a word (NAMEDATALEN).
  canName: (name) => Buffer.byteLength(name) <= 63,
  upserts: [
    ['INSERT INTO t VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET x = 6', ['U 1']],
    ['INSERT INTO t VALUES (1, 5), (2, 5) ON CONFLICT DO NOTHING', ['I 2']],
    [
      `MERGE INTO t USING (VALUES (1), (2), (3)) v (id) ON t.id = v.id WHEN MATCHED AND v.id = 1 THEN DELETE
         WHEN MATCHED THEN UPDATE SET x = 9 WHEN NOT MATCHED THEN INSERT VALUES (v.id, 0)`,
      ['D 1', 'I 3', 'U 2'],
    ],
    ['TRUNCATE t', ['T ∅']],
  ],
  lastId: { table: 'CREATE TABLE t (id bigserial PRIMARY KEY, x bigint)', ask: 'SELECT lastval()' },
};

/** The schema of `config`, which is empty, for one test; `reader` is an account that exists and has no rights yet. */
export async function postgresFixture(config: PostgresConfig, reader?: PostgresConfig): Promise<Fixture> {
  const department = await departmentSession(config);
  const dataSource = openPostgres(config);
  const opened = [dataSource];
  return {
    dataSource,
    dialect,
    sql: async (text) => void (await department.query(text)),
    query: (text) => department.query(text),
    async second() {
      const other = await departmentSession(config);
      return {
        sql: async (text) => void (await other.query(text)),
        [Symbol.asyncDispose]: () => other[Symbol.asyncDispose](),
      };
    },
    async fill(table, count) {
      await department.query(`INSERT INTO ${table} SELECT g, 'value ' || g FROM generate_series(0, ${count - 1}) g`);
    },
    async restricted() {
      if (reader === undefined) throw new Error('there is no account that may only read');
      const [schema, user] = [identifier(defaultSchema(config)), identifier(reader.user)];
      await department.query(
        `GRANT USAGE ON SCHEMA ${schema} TO ${user}; GRANT SELECT ON ALL TABLES IN SCHEMA ${schema} TO ${user}`,
      );
      const source = openPostgres(reader);
      opened.push(source);
      return source;
    },
    async [Symbol.asyncDispose]() {
      for (const each of opened) await each.close();
      await department[Symbol.asyncDispose]();
    },
  };
}

/** What a run has made on a server that is not ours. */
export interface ClaimedPostgres {
  /** An account that may read; undefined where `config`'s may not make one. */
  readonly reader: PostgresConfig | undefined;
  release(): Promise<void>;
}

/** Makes the schema that `config` names. Throws CONTRACT_NAME_TAKEN where anything is in the way: it is somebody's. */
export async function claimPostgres(config: PostgresConfig): Promise<ClaimedPostgres> {
  const schema = defaultSchema(config);
  const user = `${schema}_reader`;
  const whole = { ...config, schema: undefined };
  await using department = await departmentSession(whole);
  const taken = await department.query(
    `SELECT 'schema ' || nspname FROM pg_catalog.pg_namespace WHERE nspname = '${schema}'
      UNION ALL SELECT 'role ' || rolname FROM pg_catalog.pg_roles WHERE rolname = '${user}'`,
  );
  const logs = await department
    .query(
      `SELECT 'replication slot ' || slot_name FROM pg_catalog.pg_replication_slots WHERE slot_name = '${LOG_NAME}'
        UNION ALL SELECT 'publication ' || pubname FROM pg_catalog.pg_publication WHERE pubname = '${LOG_NAME}'`,
    )
    // Kin without these have none that is taken.
    .catch(() => []);
  if (taken.length + logs.length > 0) {
    throw new QiaoError(
      'CONTRACT_NAME_TAKEN',
      `found ${[...taken, ...logs].join(', ')}; expected nothing of this name`,
      {
        hint: `name another with --name; or remove what a run that was cut off has left: DROP SCHEMA ${schema} CASCADE; DROP ROLE ${user}; SELECT pg_drop_replication_slot('${LOG_NAME}'); DROP PUBLICATION ${LOG_NAME};`,
      },
    );
  }
  await department.query(`CREATE SCHEMA ${identifier(schema)}`);
  const password = randomBytes(18).toString('base64url');
  const reader = await department.query(`CREATE ROLE ${identifier(user)} LOGIN PASSWORD '${password}'`).then(
    () => ({ ...config, user, password }),
    () => undefined,
  );
  return {
    reader,
    async release() {
      await using owner = await departmentSession(whole);
      await owner.query(`DROP SCHEMA IF EXISTS ${identifier(schema)} CASCADE`);
      if (reader !== undefined) await owner.query(`DROP ROLE IF EXISTS ${identifier(user)}`);
      const dataSource = openPostgres(whole);
      // Left only by a test that was cut off; an account that may not read the log made none.
      await dataSource.log?.remove(LOG_NAME).catch(() => undefined);
      await dataSource.close();
    },
  };
}

/** The claimed schema as new, for one test. */
export async function renewPostgres(config: PostgresConfig): Promise<void> {
  const schema = identifier(defaultSchema(config));
  await using department = await departmentSession({ ...config, schema: undefined });
  await department.query(`DROP SCHEMA ${schema} CASCADE; CREATE SCHEMA ${schema}`);
}
