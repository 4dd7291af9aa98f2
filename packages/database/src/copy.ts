// Owns the consistent copy of a store that may be in use: one read transaction, so that writers are neither waited for nor
// made to wait. One on a server: `serverCopy.ts`.

import { QiaoError } from '@qiao/exchange';
import Sqlite from 'better-sqlite3';

/** Copies a SQLite file into a new one. Throws DATABASE_UNREADABLE, DATABASE_DAMAGED when the copy fails its check. */
export function copyDatabase(from: string, to: string): void {
  let source: Sqlite.Database;
  try {
    source = new Sqlite(from, { readonly: true, fileMustExist: true, timeout: 30_000 });
  } catch (cause) {
    throw new QiaoError('DATABASE_UNREADABLE', `cannot open ${from}`, {
      hint: 'check the path, and that this user may read it',
      cause,
    });
  }
  try {
    source.prepare('VACUUM INTO ?').run(to);
  } finally {
    source.close();
  }
  const copy = new Sqlite(to, { readonly: true, fileMustExist: true });
  try {
    const found = copy.pragma('quick_check', { simple: true });
    if (found === 'ok') return;
    throw new QiaoError('DATABASE_DAMAGED', `${from} fails its check: ${String(found)}`, {
      hint: 'keep the last backup that was good, and look at the disk',
    });
  } finally {
    copy.close();
  }
}
