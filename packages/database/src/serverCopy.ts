// Owns the consistent copy of a store on PostgreSQL and its way back: every table of ours by COPY in one snapshot, a file each, with
// `store.json` that says by which steps the tables were made and how far each sequence is. No tool of the server is needed, and
// a copy may go back into another version of PostgreSQL.

import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { QiaoError } from '@qiao/exchange';
import pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { postgresError } from './faults.ts';
import { LEDGER_AND_FUNCTIONS, postgresStep, requireServer } from './migratePostgres.ts';
import { checkApplied, type LedgerRow, ledgerRow, type Migration } from './migrations.ts';
import { connectionOptions, LOCK_CLASS, LOCKS } from './postgres.ts';
import { type DatabaseTarget, isUrl, readPostgresUrl } from './target.ts';

/** `store.json` of a copy. */
interface StoreCopy {
  readonly ledger: readonly LedgerRow[];
  /** Columns of each table. */
  readonly tables: Readonly<Record<string, readonly string[]>>;
  /** The last value that each sequence gave, as text. */
  readonly sequences: Readonly<Record<string, string>>;
}

const DESCRIPTION = 'store.json';

const TABLES = `
SELECT table_name AS name, json_agg(column_name ORDER BY ordinal_position) AS columns
  FROM information_schema.columns WHERE table_schema = current_schema() GROUP BY table_name ORDER BY table_name`;
const SEQUENCES = `
SELECT sequencename AS name, last_value::text AS value
  FROM pg_sequences WHERE schemaname = current_schema() AND last_value IS NOT NULL`;
const WHATEVER_IS_THERE = `
SELECT relname AS name FROM pg_class WHERE relnamespace = current_schema()::text::regnamespace ORDER BY relname LIMIT 3`;
/** A table comes after those that it refers to. */
const LOADING_ORDER = `
WITH RECURSIVE reference AS (
  SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND conrelid <> confrelid
), place AS (
  SELECT oid, 0 AS depth FROM pg_class
    WHERE relkind = 'r' AND relnamespace = current_schema()::text::regnamespace
  UNION SELECT conrelid, depth + 1 FROM place JOIN reference ON confrelid = oid
)
SELECT relname AS name FROM place JOIN pg_class USING (oid) GROUP BY relname ORDER BY max(depth), relname`;

/** Copies the store into the new directory `to`; programs may write meanwhile. Throws DATABASE_UNAVAILABLE, what the URL throws. */
export async function copyServerStore(target: DatabaseTarget, to: string): Promise<void> {
  mkdirSync(to, { mode: 0o700 });
  await connected(target, async (client) => {
    await client.query('START TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const { rows: ledger } = await client.query<LedgerRow>('SELECT * FROM qiao_migrations ORDER BY position');
    const { rows } = await client.query<{ name: string; columns: string[] }>(TABLES);
    for (const { name, columns } of rows) {
      const out = client.query(copyTo(`COPY ${columnsOf(name, columns)} TO STDOUT`));
      await pipeline(out, createWriteStream(join(to, name), { flags: 'wx', mode: 0o600 }));
    }
    // Last: a sequence belongs to no snapshot and only grows, so it is never behind the rows.
    const { rows: sequences } = await client.query<{ name: string; value: string }>(SEQUENCES);
    await client.query('COMMIT');
    const description: StoreCopy = {
      ledger,
      tables: Object.fromEntries(rows.map(({ name, columns }) => [name, columns])),
      sequences: Object.fromEntries(sequences.map(({ name, value }) => [name, value])),
    };
    writeFileSync(join(to, DESCRIPTION), JSON.stringify(description), { flag: 'wx', mode: 0o600 });
  });
}

/**
 * Puts the copy `from` into the empty database of `target`, whole or not at all, and takes it away; nothing is done for a store that
 * is a file. Throws STORE_MISSING, DATABASE_NOT_EMPTY, DATABASE_NEWER and MIGRATION_EDITED (the copy and this program do not belong
 * together), DATABASE_UNAVAILABLE, what the URL throws.
 */
export async function placeServerStore(
  from: string,
  target: DatabaseTarget,
  migrations: readonly Migration[],
): Promise<void> {
  if (!isUrl(target.url)) return;
  if (!existsSync(from)) {
    throw new QiaoError('STORE_MISSING', 'the backup holds no store that was on a database server', {
      hint: 'leave --database out for a backup whose store is a file; otherwise take another backup',
    });
  }
  const copy = JSON.parse(readFileSync(join(from, DESCRIPTION), 'utf8')) as StoreCopy;
  await connected(target, async (client, address) => {
    requireKnown(copy, migrations, address);
    await client.query('START TRANSACTION');
    // A program that starts here meanwhile waits, and finds everything.
    await client.query(`SELECT pg_advisory_xact_lock(${LOCK_CLASS}, ${LOCKS.migration})`);
    await requireEmpty(client, address);
    await client.query(LEDGER_AND_FUNCTIONS);
    for (const migration of migrations.slice(0, copy.ledger.length)) await client.query(postgresStep(migration));
    const { rows: order } = await client.query<{ name: string }>(LOADING_ORDER);
    // Steps may have written first rows; the copy has them too.
    await client.query(`TRUNCATE ${order.map(({ name }) => pg.escapeIdentifier(name)).join(', ')}`);
    for (const { name } of order) {
      const into = client.query(copyFrom(`COPY ${columnsOf(name, copy.tables[name] ?? [])} FROM STDIN`));
      await pipeline(createReadStream(join(from, name)), into);
    }
    for (const [name, value] of Object.entries(copy.sequences)) {
      await client.query('SELECT setval($1::regclass, $2::bigint)', [pg.escapeIdentifier(name), value]);
    }
    await client.query('COMMIT');
  });
  // The database first, then the directory that names it: a crash between leaves a database that the next try calls not empty.
  rmSync(from, { recursive: true });
}

async function connected(
  target: DatabaseTarget,
  work: (client: pg.Client, address: string) => Promise<void>,
): Promise<void> {
  const address = readPostgresUrl(target);
  // A table of five years takes its time; binary floats are written so that they read as the same.
  const client = new pg.Client({
    ...connectionOptions(address, 'backup', { extra_float_digits: 1 }),
    query_timeout: 0,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await requireServer(client, address.text);
    await work(client, address.text);
  } catch (error) {
    throw postgresError(error, address.text);
  } finally {
    // What was begun and not committed goes with the connection.
    await client.end().catch(() => undefined);
  }
}

function requireKnown({ ledger }: StoreCopy, migrations: readonly Migration[], address: string): void {
  const known = migrations.map((migration, index) => ledgerRow(index, migration, migration.postgres ?? migration.sql));
  checkApplied(ledger, known, `the copy for ${address}`);
  const unknown = ledger[known.length];
  if (unknown === undefined) return;
  throw new QiaoError(
    'DATABASE_NEWER',
    `the copy was made by a newer program: its step ${unknown.id} is unknown here`,
    {
      hint: 'restore with the version of qiao that made the backup, or a later one',
    },
  );
}

async function requireEmpty(client: pg.Client, address: string): Promise<void> {
  const { rows } = await client.query<{ name: string }>(WHATEVER_IS_THERE);
  if (rows.length === 0) return;
  const found = rows.map(({ name }) => name).join(', ');
  throw new QiaoError('DATABASE_NOT_EMPTY', `${address} holds ${found} …; a restore never overwrites`, {
    hint: 'make a new database (CREATE DATABASE name OWNER user) and name it with --database, or rename the old one away',
  });
}

function columnsOf(table: string, columns: readonly string[]): string {
  return `${pg.escapeIdentifier(table)} (${columns.map((name) => pg.escapeIdentifier(name)).join(', ')})`;
}
