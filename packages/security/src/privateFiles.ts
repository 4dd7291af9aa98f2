/**
 * Files that hold keys: directories 0700, files 0600, written whole or not at all. Owns modes, fsync and rename;
 * what the files mean is their writer's business.
 */

import { randomBytes } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { QiaoError } from '@qiao/exchange';

/** Makes the directory, parents included, and takes every right from group and others. */
export function makePrivateDirectory(dir: string): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  chmodSync(dir, 0o700);
}

/** Throws what the system says when this user may not write the directory or, where it is missing, what is there of the way to it. */
export function requireWritable(dir: string): void {
  const present = existsSync(dir) || dirname(dir) === dir;
  if (!present) return requireWritable(dirname(dir));
  accessSync(dir, constants.W_OK | constants.X_OK);
}

/** Replaces `file` whole: a crash leaves the old content or the new, never a part. */
export function writeFileAtomically(file: string, content: string | Uint8Array, mode: number): void {
  const temporary = writeTemporary(file, content, mode);
  try {
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(file));
}

/** Like `writeFileAtomically`, but throws FILE_EXISTS when the file is there: a key is never overwritten by mistake. */
export function writeNewFile(file: string, content: string | Uint8Array, mode: number): void {
  const temporary = writeTemporary(file, content, mode);
  try {
    // link(2) fails when the name is taken, where rename(2) would replace it.
    linkSync(temporary, file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    throw new QiaoError('FILE_EXISTS', `${file} exists and is not replaced`, {
      hint: 'choose an empty directory, or move the old one away first',
      cause,
    });
  } finally {
    rmSync(temporary, { force: true });
  }
  syncDirectory(dirname(file));
}

/** Throws FILE_EXPOSED when group or others may read the file. */
export function requirePrivate(file: string): void {
  const mode = statSync(file).mode & 0o777;
  if ((mode & 0o077) === 0) return;
  throw new QiaoError('FILE_EXPOSED', `${file} has mode ${mode.toString(8)}; a key's file is 600`, {
    hint: `chmod 600 ${file}`,
  });
}

function writeTemporary(file: string, content: string | Uint8Array, mode: number): string {
  const temporary = join(dirname(file), `.${randomBytes(8).toString('hex')}.new`);
  const descriptor = openSync(temporary, 'wx', mode);
  try {
    const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : content;
    for (let written = 0; written < bytes.length; ) written += writeSync(descriptor, bytes, written);
    fsyncSync(descriptor);
  } catch (error) {
    closeSync(descriptor);
    rmSync(temporary, { force: true });
    throw error;
  }
  closeSync(descriptor);
  // The process's umask may have taken bits that a readable file (a certificate) needs.
  chmodSync(temporary, mode);
  return temporary;
}

function syncDirectory(dir: string): void {
  const descriptor = openSync(dir, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
