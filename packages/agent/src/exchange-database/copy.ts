/**
 * A consistent copy of a SQLite file beside a running agent: one read transaction, which waits for no writer and makes none wait.
 */
import { QiaoError } from '@qiao/exchange';
import Database from 'better-sqlite3';

/** Copies `from` into the new file `to`. Throws EXCHANGE_DATABASE_BROKEN when the copy fails its check. */
export function copyExchangeDatabase(from: string, to: string): void {
  const source = new Database(from, { readonly: true, fileMustExist: true, timeout: 30_000 });
  try {
    source.prepare('VACUUM INTO ?').run(to);
  } finally {
    source.close();
  }
  const copy = new Database(to, { readonly: true, fileMustExist: true });
  try {
    const found = copy.pragma('quick_check', { simple: true });
    if (found === 'ok') return;
    throw new QiaoError('EXCHANGE_DATABASE_BROKEN', `${from} fails its check: ${String(found)}`, {
      hint: 'keep the last backup that was good, and look at the disk',
    });
  } finally {
    copy.close();
  }
}
