// Owns that one program at a time works in a directory: a lock of the kernel on a file there, which ends with its process
// however that ends.

import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import Sqlite from 'better-sqlite3';
import { openFile } from './openFile.ts';

export interface DirectoryLock {
  release(): void;
}

/** A process that was killed a moment ago is given this long to be gone, milliseconds. */
const PATIENCE_MS = 1_000;

/**
 * Takes the only lock of this name (`hub` locks `hub.lock`) in the directory, for as long as the process lives or until
 * `release()`. Hold on to what is returned. Throws ALREADY_RUNNING, DATABASE_UNREADABLE.
 */
export function lockDirectory(directory: string, name: string): DirectoryLock {
  const database = openFile(join(directory, `${name}.lock`), PATIENCE_MS);
  try {
    database.pragma('locking_mode = EXCLUSIVE');
    // Nothing is ever written: no journal may stay behind a killed process.
    database.pragma('journal_mode = MEMORY');
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (!(error instanceof Sqlite.SqliteError) || !error.code.startsWith('SQLITE_BUSY')) throw error;
    throw new QiaoError('ALREADY_RUNNING', `another ${name} works in ${directory} already`, {
      hint: `stop the ${name} that runs there, or give this one a directory of its own`,
      cause: error,
    });
  }
  return { release: () => database.close() };
}
