// Owns bringing a PostgreSQL database up to the program's last step, once, however many replicas start together.

import { QiaoError } from '@qiao/exchange';
import pg from 'pg';
import { postgresDdl } from './ddl.ts';
import { postgresError } from './faults.ts';
import { CREATE_LEDGER, checkApplied, type LedgerRow, ledgerRow, type Migration, stepFailed } from './migrations.ts';
import { LOCK_CLASS, LOCKS } from './postgres.ts';

/** The oldest server that is tried; its documentation ends with it. */
const OLDEST_SERVER = 120_000;
const LOCK = `${LOCK_CLASS}, ${LOCKS.migration}`;

/** What comes before the first step: the ledger, and what steps may use (a trigger that refuses, and whose connection this is). */
export const LEDGER_AND_FUNCTIONS = `
${postgresDdl(CREATE_LEDGER)};
CREATE OR REPLACE FUNCTION qiao_refuse() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0]; END $$;
CREATE OR REPLACE FUNCTION qiao_replica() RETURNS text LANGUAGE sql STABLE AS
  $$ SELECT coalesce(nullif(current_setting('qiao.replica', true), ''), 'hub') $$;
`;

/** Throws DATABASE_TOO_OLD, DATABASE_UNAVAILABLE, DATABASE_NEWER, MIGRATION_EDITED, MIGRATION_FAILED (the step before is kept). */
export async function migratePostgres(
  options: pg.ClientConfig,
  migrations: readonly Migration[],
  name: string,
): Promise<void> {
  // A step over five years of books takes its time, and the other replica waits for it.
  const client = new pg.Client({ ...options, query_timeout: 0 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await requireServer(client, name);
    await client.query('SET lock_timeout = 0');
    await client.query(`SELECT pg_advisory_lock(${LOCK})`);
    await applySteps(client, migrations, name);
  } catch (error) {
    throw postgresError(error, name);
  } finally {
    // The lock goes with the connection.
    await client.end().catch(() => undefined);
  }
}

async function applySteps(client: pg.Client, migrations: readonly Migration[], name: string): Promise<void> {
  await client.query('BEGIN');
  await client.query(LEDGER_AND_FUNCTIONS);
  await client.query('COMMIT');
  const { rows: applied } = await client.query<LedgerRow>('SELECT * FROM qiao_migrations ORDER BY position');
  const known = migrations.map((migration, index) => ledgerRow(index, migration, migration.postgres ?? migration.sql));
  checkApplied(applied, known, name);
  for (const [index, migration] of migrations.entries()) {
    if (index < applied.length) continue;
    const { position, id, breaking, sql_sha256 } = known[index] as LedgerRow;
    try {
      await client.query('BEGIN');
      await client.query(postgresStep(migration));
      await client.query('INSERT INTO qiao_migrations (position, id, breaking, sql_sha256) VALUES ($1, $2, $3, $4)', [
        position,
        id,
        breaking,
        sql_sha256,
      ]);
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK').catch(() => undefined);
      throw stepFailed(name, migration, error);
    }
  }
}

/** The statements of a step. */
export function postgresStep({ postgres, sql }: Migration): string {
  return postgres ?? postgresDdl(sql);
}

/** Throws DATABASE_TOO_OLD. */
export async function requireServer(client: pg.Client, name: string): Promise<void> {
  const { rows } = await client.query<{ server_version_num: string }>('SHOW server_version_num');
  const version = Number(rows[0]?.server_version_num);
  if (version >= OLDEST_SERVER) return;
  throw new QiaoError(
    'DATABASE_TOO_OLD',
    `${name} is PostgreSQL ${Math.floor(version / 10_000)}, expected 12 or later`,
    {
      hint: 'upgrade PostgreSQL',
    },
  );
}
