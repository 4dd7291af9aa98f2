/** Files that are whole or not there: written under another name, forced to the disk, renamed, and the folder forced after them. */
import { constants } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { QiaoError } from '@qiao/exchange';

const WRITE_ANEW = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;

/** Durable under this name only once its folder was forced, too. A link in its place is refused. */
export async function writeForced(path: string, content: Uint8Array): Promise<void> {
  const file = await open(path, WRITE_ANEW, 0o640);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

export async function writeDurably(path: string, content: Uint8Array): Promise<void> {
  await writeForced(`${path}.tmp`, content);
  await renameDurably(`${path}.tmp`, path);
}

export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await forceFolder(dirname(to));
  if (dirname(from) !== dirname(to)) await forceFolder(dirname(from));
}

/** Folders that are missing are made, and their own folders forced. */
export async function makeFolder(path: string): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o750 });
  if (made === undefined) return;
  for (let at = path; at.length >= made.length; at = dirname(at)) await forceFolder(dirname(at));
}

/** What a target throws for a file that cannot be written (R5). */
export function writeFailure(error: unknown, directory: string): unknown {
  const code = error instanceof QiaoError ? undefined : (error as NodeJS.ErrnoException).code;
  if (code === undefined) return error;
  const say = (name: string, fate: 'transient' | 'permanent', hint: string) =>
    new QiaoError(name, `${directory} cannot be written: ${code}`, { fate, hint, cause: error });
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return say('TARGET_FULL', 'transient', 'make room on the share');
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return say(
        'TARGET_RIGHTS',
        'permanent',
        'give the user of the agent the right to write there: qiao bridge check -f FILE',
      );
    case 'EXDEV':
      return say(
        'TARGET_SCHEMA',
        'permanent',
        'the folder of a table is another file system: qiao bridge check -f FILE',
      );
    default:
      return say('TARGET_UNAVAILABLE', 'transient', 'look whether the share is mounted');
  }
}

export async function forceFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } catch (error) {
    // Some network file systems force no folders: a rename is as durable there as their server makes it.
    if (!['EINVAL', 'ENOTSUP', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  } finally {
    await folder.close();
  }
}
