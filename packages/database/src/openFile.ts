// Owns how a SQLite file is opened: the one place where a path that cannot be opened becomes a clear error.

import { QiaoError } from '@qiao/exchange';
import Sqlite from 'better-sqlite3';

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
