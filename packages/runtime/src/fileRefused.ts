// Files and directories that the system refuses to this program, in one sentence with the way out: whose they are is the machine's matter, and
// the program may have been started by the wrong user.

import { userInfo } from 'node:os';
import { QiaoError } from '@qiao/exchange';

const CODES = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'SQLITE_CANTOPEN']);

/** FILE_REFUSED when an error says that a file or directory may not be read or written; undefined for every other error. SQLite names no file. */
export function fileRefused(error: unknown, file?: string): QiaoError | undefined {
  if (!(error instanceof Error) || error instanceof QiaoError) return undefined;
  const { code, path } = error as NodeJS.ErrnoException;
  if (code === undefined || !(CODES.has(code) || code.startsWith('SQLITE_READONLY'))) return undefined;
  const what = file ?? path;
  if (what === undefined) return undefined;
  return new QiaoError('FILE_REFUSED', `the system refuses ${what} to the user ${userName()} (${code})`, {
    hint: `namei -l ${what}  # whose each part of the way is; then run this as that user, or chown`,
    cause: error,
  });
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user of a container need not be in /etc/passwd.
    return String(process.getuid?.() ?? '');
  }
}
