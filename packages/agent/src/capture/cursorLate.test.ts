/** Late commits on a real PostgreSQL: its virtual ids and prepared transactions name whoever is open. */
import { departmentSession, type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import { afterAll, beforeAll } from 'vitest';
import { lateCommits } from './cursorLate.suite.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres(['max_prepared_transactions=20', 'TimeZone=UTC']);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

lateCommits({
  database: () => server.database(),
  connect: (config) => departmentSession(config as Parameters<typeof departmentSession>[0]),
  tables: `CREATE TABLE entry (no bigserial PRIMARY KEY, text text);
    CREATE TABLE person (id text PRIMARY KEY, text text, at timestamptz NOT NULL DEFAULT now()); CREATE INDEX ON person (at)`,
  showTimes: 'at',
  begin: () => 'BEGIN',
  takeTime: 'SELECT now()',
  takeNumber: "SELECT nextval('entry_no_seq')",
  now: ['now()', 'clock_timestamp()'],
  commit: () => 'COMMIT',
  rollback: () => 'ROLLBACK',
  prepare: (name) => `PREPARE TRANSACTION '${name}'`,
  commitPrepared: (name) => `COMMIT PREPARED '${name}'`,
});
