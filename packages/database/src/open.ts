// Owns how the hub's and the monitor's store is opened: durability, locking and waiting are decided here, once. A file is SQLite,
// a URL is PostgreSQL; whoever holds what is returned need not know which.

import { Kysely, SqliteDialect } from 'kysely';
import { migratePostgres } from './migratePostgres.ts';
import { migrateSqlite } from './migrateSqlite.ts';
import type { Migration } from './migrations.ts';
import { openFile } from './openFile.ts';
import { connectionOptions, OneWriterDialect, openPool } from './postgres.ts';
import { keepingStatements } from './statements.ts';
import { type DatabaseTarget, isUrl, readPostgresUrl } from './target.ts';

/** How long a statement waits for another process's write lock before it fails, milliseconds. */
const BUSY_TIMEOUT_MS = 5_000;

export interface OpenOptions {
  /** Whose connection this is: what `qiao_replica()` answers inside SQL. Default: hub. A code. */
  readonly replica?: string;
}

/**
 * Opens (creating when missing) and migrates a store. Writing transactions run one after the other: in SQLite because there is
 * one connection, in PostgreSQL across all programs that have it open.
 * Throws DATABASE_UNREADABLE, DATABASE_URL_INVALID, DATABASE_UNSUPPORTED, DATABASE_PASSWORD_MISSING, DATABASE_UNAVAILABLE,
 * DATABASE_TOO_OLD, and what migrating throws. The caller ends it with `destroy()`.
 */
export async function openDatabase<Schema>(
  target: string | DatabaseTarget,
  migrations: readonly Migration[],
  { replica = 'hub' }: OpenOptions = {},
): Promise<Kysely<Schema>> {
  const named = typeof target === 'string' ? { url: target } : target;
  return isUrl(named.url) ? openPostgres(named, migrations, replica) : openSqlite(named.url, migrations, replica);
}

async function openPostgres<Schema>(
  target: DatabaseTarget,
  migrations: readonly Migration[],
  replica: string,
): Promise<Kysely<Schema>> {
  const address = readPostgresUrl(target);
  await migratePostgres(connectionOptions(address, replica), migrations, address.text);
  return new Kysely<Schema>({ dialect: new OneWriterDialect(openPool(address, replica), address.text) });
}

function openSqlite<Schema>(file: string, migrations: readonly Migration[], replica: string): Kysely<Schema> {
  const database = openFile(file, BUSY_TIMEOUT_MS);
  try {
    // FULL: a commit that was answered survives power failure; hub and monitor answer people and nodes on the strength of it.
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    database.function('qiao_replica', () => replica);
    migrateSqlite(database, migrations, file);
  } catch (error) {
    database.close();
    throw error;
  }
  return new Kysely<Schema>({ dialect: new SqliteDialect({ database: keepingStatements(database) }) });
}
