/**
 * Connections to one SQLite file: how they are opened, how they wait for a lock without stopping the event loop, how a failure becomes a
 * `QiaoError`. Knows nothing of tables.
 *
 * better-sqlite3 is synchronous and its busy timeout sleeps in the main thread, so a connection here never waits by itself: the busy
 * timeout is 0 and `patiently` tries again from the event loop. Two lanes of one agent that write to the same file would otherwise stop
 * each other for the whole timeout.
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { QiaoError } from '@qiao/exchange';
import Database from 'better-sqlite3';

export type Connection = Database.Database;

/** How long a lock is waited for before the attempt is given up as transient. */
const LOCK_PATIENCE_MS = 10_000;

/** A connection that cannot write. Throws FILE_MISSING or SOURCE_UNAVAILABLE. */
export function openReader(file: string): Connection {
  requireFile(file);
  try {
    const db = new Database(file, { readonly: true, fileMustExist: true, timeout: 0 });
    db.pragma('query_only = ON');
    return db;
  } catch (error) {
    throw failure(error, 'SOURCE_UNAVAILABLE', file);
  }
}

/** A connection for applying: constraints on, full synchronisation, nothing spilled before the commit. */
export function openWriter(file: string): Connection {
  requireFile(file);
  try {
    const db = new Database(file, { fileMustExist: true, timeout: 0 });
    // A mark that was confirmed must survive a power failure, and WAL's default (NORMAL) does not promise that.
    db.pragma('synchronous = FULL');
    db.pragma('foreign_keys = ON');
    // The library's own default; this build's is ON and would fire triggers the department has never seen fire.
    db.pragma('recursive_triggers = OFF');
    // A spill needs the exclusive lock in the middle of a transaction, where nobody can wait for it.
    db.pragma('cache_spill = OFF');
    return db;
  } catch (error) {
    throw failure(error, 'TARGET_UNAVAILABLE', file);
  }
}

/** Makes an empty database in WAL mode when the file does not exist: for the built-in exchange tables. True when it was made. */
export function createFile(file: string): boolean {
  if (existsSync(file)) return false;
  try {
    const db = new Database(file, { timeout: 0 });
    db.pragma('journal_mode = WAL');
    db.close();
    return true;
  } catch (error) {
    throw failure(error, 'TARGET_UNAVAILABLE', file);
  }
}

/** Whether readers of this file leave its writers alone. */
export function isWal(db: Connection): boolean {
  return db.pragma('journal_mode', { simple: true }) === 'wal';
}

/** Runs `action` again while the file is locked by others, up to ten seconds; the event loop runs in between. */
export async function patiently<T>(action: () => T, signal?: AbortSignal): Promise<T> {
  for (let waitedMs = 0, pauseMs = 1; ; waitedMs += pauseMs, pauseMs = Math.min(pauseMs * 2, 50)) {
    try {
      return action();
    } catch (error) {
      if (!isBusy(error) || waitedMs >= LOCK_PATIENCE_MS) throw error;
      await sleep(pauseMs, undefined, signal ? { signal } : undefined);
    }
  }
}

export function isBusy(error: unknown): boolean {
  const code = sqliteCode(error);
  return code.startsWith('SQLITE_BUSY') || code === 'SQLITE_LOCKED';
}

/** The extended result code, or '' when the error is not SQLite's. */
export function sqliteCode(error: unknown): string {
  return error instanceof Database.SqliteError ? error.code : '';
}

/** A failure that is not one row's, as a `QiaoError`; `away` is the code for a database that cannot be reached. */
export function failure(error: unknown, away: 'SOURCE_UNAVAILABLE' | 'TARGET_UNAVAILABLE', file: string): Error {
  const code = sqliteCode(error);
  if (error instanceof QiaoError || (code === '' && !(error instanceof Error))) return error as Error;
  const side = away === 'SOURCE_UNAVAILABLE' ? 'SOURCE' : 'TARGET';
  const said = `SQLite said ${code || 'that it cannot open the file'}: ${(error as Error).message}`;
  if (isBusy(error)) {
    return new QiaoError(`${side}_BUSY`, `another program has kept ${file} locked for ten seconds`, {
      fate: 'transient',
      hint: `Find the program that holds a transaction open: fuser -v ${file}. A running agent tries again by itself.`,
      cause: error,
    });
  }
  if (code === 'SQLITE_FULL') {
    return new QiaoError(`${side}_FULL`, `the disk under ${file} is full`, {
      fate: 'transient',
      hint: 'Free space; Qiao tries again by itself.',
      cause: error,
    });
  }
  if (code === 'SQLITE_CORRUPT' || code.startsWith('SQLITE_CORRUPT_') || code === 'SQLITE_NOTADB') {
    return new QiaoError(`${side}_CORRUPT`, `${file} is not a sound SQLite database. ${said}`, {
      hint: `Run: sqlite3 FILE "PRAGMA integrity_check", then restore it from a backup.`,
      cause: error,
    });
  }
  if (code === 'SQLITE_ERROR' || code === 'SQLITE_SCHEMA' || code === 'SQLITE_RANGE' || code === 'SQLITE_AUTH') {
    return new QiaoError(`${side}_SCHEMA`, said, {
      hint: 'Compare the tables with the bridge: qiao bridge check -f FILE',
      cause: error,
    });
  }
  if (code.startsWith('SQLITE_CONSTRAINT')) {
    return new QiaoError(`${side}_SCHEMA`, `the transaction as a whole breaks a constraint. ${said}`, {
      hint: 'Look at deferred foreign keys and triggers of the target tables: qiao bridge check -f FILE',
      cause: error,
    });
  }
  if (code === '' && !/unable to open|directory does not exist|file must exist/i.test((error as Error).message)) {
    return error as Error;
  }
  return new QiaoError(away, `${file} cannot be used. ${said}`, {
    fate: 'transient',
    hint: 'Check that the file, its directory and its -wal and -shm files can be read and written by the user of the agent.',
    cause: error,
  });
}

/** An identifier as SQL: any text a database can store. */
export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A string as an SQL literal: for DDL, where nothing can be bound. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function requireFile(file: string): void {
  if (existsSync(file)) return;
  throw new QiaoError('FILE_MISSING', `${file} does not exist`, {
    fate: 'transient',
    hint: 'Let the department make its database, or correct `file` of the data source in agent.yaml.',
  });
}
