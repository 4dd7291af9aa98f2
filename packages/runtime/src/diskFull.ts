// A full disk as every program meets it: SQLite, the file system and PostgreSQL each say it in their own words, and an operator wants
// one sentence with the way out. Nothing is lost by it: what could not be written is done again when there is room.

import { QiaoError } from '@qiao/exchange';

/** SQLite's code, the kernel's two, and PostgreSQL's SQLSTATE. */
const CODES = new Set(['SQLITE_FULL', 'ENOSPC', 'EDQUOT', '53100']);

/** DISK_FULL (transient) when an error says that there is no room left, whoever said it; undefined for every other error. */
export function diskFull(error: unknown): QiaoError | undefined {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof QiaoError && cause.code === 'DISK_FULL') return cause;
    if (!('code' in cause) || typeof cause.code !== 'string' || !CODES.has(cause.code)) continue;
    return new QiaoError('DISK_FULL', 'the disk is full: nothing can be written until there is room', {
      hint: 'df -h  # then make room; it goes on by itself',
      fate: 'transient',
      cause: error,
    });
  }
  return undefined;
}
