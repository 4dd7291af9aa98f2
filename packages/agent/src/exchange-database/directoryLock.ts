/**
 * One agent per directory: a SQLite file of its own, locked for as long as the process lives. The kernel gives the lock back
 * however the process ends, and those who only read the exchange database never meet it.
 */
import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import Database from 'better-sqlite3';

export interface DirectoryLock {
  release(): void;
}

/** A killed process may take this long to leave. */
const LEAVING_MS = 1_000;

/** Throws ALREADY_RUNNING when another process holds the directory; a backup, which may run beside the agent, has a lock of its own. */
export function lockDirectory(directory: string, name: 'agent' | 'backup' = 'agent'): DirectoryLock {
  const sqlite = new Database(join(directory, `${name}.lock`), { timeout: LEAVING_MS });
  try {
    sqlite.pragma('locking_mode = EXCLUSIVE');
    // Nothing is ever written: no journal may stay behind a killed process.
    sqlite.pragma('journal_mode = MEMORY');
    sqlite.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    sqlite.close();
    if (!(error instanceof Database.SqliteError) || !error.code.startsWith('SQLITE_BUSY')) throw error;
    throw new QiaoError(
      'ALREADY_RUNNING',
      `${name === 'agent' ? 'An agent' : 'A backup'} runs already in ${directory}.`,
      {
        hint: 'stop it first, or give this agent a directory of its own in agent.yaml; qiao agent status shows how it stands',
        cause: error,
      },
    );
  }
  return { release: () => sqlite.close() };
}
