// Owns how the hub's and the monitor's store is opened: durability, locking and waiting are decided here, once.
// A file path opens SQLite; a PostgreSQL URL is refused until that dialect is built, in words.

import { QiaoError } from '@qiao/exchange';
import Sqlite from 'better-sqlite3';
import { Kysely, SqliteDialect } from 'kysely';
import { type Migration, migrate } from './migrations.ts';

/** How long a statement waits for another process's write lock before it fails, milliseconds. */
const BUSY_TIMEOUT_MS = 5_000;

/**
 * Opens (creating when missing) and migrates a store. One connection: transactions run one after the other.
 * Throws DATABASE_UNREADABLE, DATABASE_UNSUPPORTED, and what `migrate` throws. The caller ends it with `destroy()`.
 */
export async function openDatabase<Schema>(
  urlOrFile: string,
  migrations: readonly Migration[],
): Promise<Kysely<Schema>> {
  if (/^[a-z]+:\/\//.test(urlOrFile)) {
    throw new QiaoError('DATABASE_UNSUPPORTED', 'a database URL was given, but this version opens SQLite files only', {
      hint: 'name a file, for example `database: hub.db`',
    });
  }
  const database = openFile(urlOrFile, BUSY_TIMEOUT_MS);
  try {
    // FULL: a commit that was answered survives power failure; hub and monitor answer people and nodes on the strength of it.
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    migrate(database, migrations, urlOrFile);
  } catch (error) {
    database.close();
    throw error;
  }
  return new Kysely<Schema>({ dialect: new SqliteDialect({ database }) });
}

/** Throws DATABASE_UNREADABLE. */
export function openFile(file: string, timeout: number): Sqlite.Database {
  try {
    return new Sqlite(file, { timeout });
  } catch (error) {
    throw new QiaoError(
      'DATABASE_UNREADABLE',
      `cannot open ${file}: ${error instanceof Error ? error.message : String(error)}`,
      {
        hint: 'check that the folder exists and that this user may write to it',
        cause: error,
      },
    );
  }
}
