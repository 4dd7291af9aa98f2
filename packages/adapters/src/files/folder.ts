/**
 * Files of one folder below a data source's directory: which of them belong to a table, and which are whole. Only looks: nothing of the
 * department is ever moved, written or removed. Nothing outside the directory is reached: a folder that leads out is refused, links
 * among the files are passed over, and a name is only ever joined to its folder, whatever characters it has.
 */
import { isUtf8 } from 'node:buffer';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, realpath } from 'node:fs/promises';
import { sep } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { QiaoError } from '@qiao/exchange';
import type { FilesTable } from '../adapter.ts';

/** Entries of a folder that are looked at in one reading. */
const MOST_FILES = 200_000;
/** What programs call a file that they have not finished. */
const UNFINISHED = /^[.~]|\.(tmp|part|partial|filepart|crdownload)$/i;

/** A file as it lay there when it was looked at. */
export interface FoundFile {
  /** As text; of a name that is no UTF-8 each byte is a character. */
  readonly name: string;
  readonly path: Buffer;
  readonly size: number;
  /** Changes with whatever is written, moved or touched. */
  readonly stamp: string;
}

export interface Folder {
  readonly path: string;
  /** The whole ones, ordered by name. */
  readonly files: readonly FoundFile[];
  /** Every name of the table that lies there, whole or not, in the same order. */
  readonly names: readonly string[];
}

/** The absolute path of a table's folder. Throws SOURCE_UNAVAILABLE, and FOLDER_OUTSIDE for one that leads out of the directory. */
export async function folderOf(
  directory: string,
  table: string,
  { folder = table }: Pick<FilesTable, 'folder'>,
): Promise<string> {
  try {
    const root = await realpath(directory);
    const path = await realpath(`${root}${sep}${folder}`);
    if (path === root || path.startsWith(root === sep ? sep : root + sep)) return path;
  } catch (error) {
    throw unreachable(`${directory}${sep}${folder}`, error);
  }
  throw new QiaoError('FOLDER_OUTSIDE', `the folder of table ${table} leads out of ${directory}`, {
    hint: 'put the files below the directory of the data source; a link must not lead out of it',
  });
}

/** The whole files of a table. `settling` remembers, for the data source's life, how long each has not changed. */
export async function wholeFiles(
  directory: string,
  table: string,
  definition: FilesTable,
  settling: Settling,
  signal: AbortSignal,
): Promise<Folder> {
  const path = await folderOf(directory, table, definition);
  const isOurs = nameMatcher(definition);
  const entries = await entriesOf(path);
  const names = new Set(entries.map(({ name }) => name));
  const ours = entries.filter(({ name }) => isOurs(name));
  if (ours.length > MOST_FILES) {
    throw new QiaoError('FOLDER_TOO_LARGE', `${path} has more than ${MOST_FILES} files`, {
      hint: 'let the department put files that were read long ago into another folder',
    });
  }
  const { marker } = definition;
  const marked = marker === undefined ? ours : ours.filter(({ name }) => names.has(name + marker));
  const files = await look(marked);
  const lying = ours.map(({ name }) => name);
  if (marker !== undefined) return { path, files, names: lying };
  return { path, files: await settling.whole(table, files, look, signal), names: lying };
}

/** Whether a name is one of the table's. */
export function nameMatcher({ files, format }: FilesTable): (name: string) => boolean {
  const pattern = files ?? `*.${format}`;
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  const matches = new RegExp(`^${source}$`, 'su');
  return (name) => matches.test(name) && !UNFINISHED.test(name);
}

/** Opened to be read; a link in its place is refused. Throws FILE_CHANGING when it is another file than the one that was found. */
export async function openFound(file: FoundFile): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    handle = await open(file.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw unreadable(file.name, error);
  }
  try {
    await stillThere(handle, file);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Throws FILE_CHANGING (transient) when the file was written since it was found. */
export async function stillThere(handle: FileHandle, file: FoundFile): Promise<void> {
  const now = await handle.stat({ bigint: true });
  if (stampOf(now) === file.stamp) return;
  throw new QiaoError('FILE_CHANGING', `${quotedName(file.name)} was changed while it was read`, {
    fate: 'transient',
    hint: 'let the department write under a temporary name (.tmp) and rename the file when it is whole',
  });
}

/** A name as messages show it: whatever characters it has, it stays on one line. */
export function quotedName(name: string): string {
  return JSON.stringify(name);
}

/** What holds up one file only: the agent's user may not read it. Whatever else happens is the share's. */
function unreadable(name: string, error: unknown): QiaoError {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'EACCES' && code !== 'EPERM') return unreachable(quotedName(name), error);
  return new QiaoError('FILE_UNREADABLE', `${quotedName(name)} cannot be read: ${code}`, {
    fate: 'transient',
    hint: 'give the user of the agent the right to read it, or take it away',
    cause: error,
  });
}

export function unreachable(what: string, error: unknown): QiaoError {
  if (error instanceof QiaoError) return error;
  const code = (error as NodeJS.ErrnoException).code ?? String(error);
  return new QiaoError('SOURCE_UNAVAILABLE', `${what} cannot be read: ${code}`, {
    fate: 'transient',
    hint: 'look whether the share is mounted, and whether the user of the agent may read it',
    cause: error,
  });
}

/** How long each file was seen unchanged, by this machine's own monotonic clock: a file server's clock may be anywhere. */
export class Settling {
  readonly #afterMs: number;
  readonly #seen = new Map<string, Map<string, { readonly stamp: string; readonly atMs: number }>>();

  constructor(afterMs: number) {
    this.#afterMs = afterMs;
  }

  /** Those that did not change for long enough. Waits once for files that it never saw before; for a growing one it does not. */
  async whole(
    table: string,
    found: readonly FoundFile[],
    again: (files: readonly FoundFile[]) => Promise<FoundFile[]>,
    signal: AbortSignal,
  ): Promise<FoundFile[]> {
    const before = this.#seen.get(table);
    const isNew = found.some(({ name }) => before?.get(name) === undefined);
    let whole = this.#note(table, found);
    if (isNew && this.#afterMs > 0) {
      await pause(this.#afterMs, undefined, { signal });
      whole = this.#note(table, await again(found));
    }
    return whole;
  }

  #note(table: string, found: readonly FoundFile[]): FoundFile[] {
    const before = this.#seen.get(table);
    const now = performance.now();
    const seen = new Map(
      found.map(({ name, stamp }) => {
        const known = before?.get(name);
        return [name, known?.stamp === stamp ? known : { stamp, atMs: now }];
      }),
    );
    this.#seen.set(table, seen);
    // A timer may fire a millisecond early.
    return found.filter(({ name }) => now - (seen.get(name)?.atMs ?? now) >= this.#afterMs - 1);
  }
}

async function entriesOf(folder: string): Promise<{ name: string; path: Buffer }[]> {
  let entries: Buffer[];
  try {
    entries = await readdir(folder, { encoding: 'buffer' });
  } catch (error) {
    throw unreachable(folder, error);
  }
  const prefix = Buffer.from(folder + sep);
  return entries
    .map((bytes) => ({ name: bytes.toString(isUtf8(bytes) ? 'utf8' : 'latin1'), path: Buffer.concat([prefix, bytes]) }))
    .sort((a, b) => Buffer.compare(a.path, b.path));
}

/** Regular files only; one that went meanwhile is left out. */
async function look(entries: readonly { name: string; path: Buffer }[]): Promise<FoundFile[]> {
  const found: FoundFile[] = [];
  for (const { name, path } of entries) {
    try {
      const stat = await lstat(path, { bigint: true });
      if (stat.isFile()) found.push({ name, path, size: Number(stat.size), stamp: stampOf(stat) });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw unreachable(quotedName(name), error);
    }
  }
  return found;
}

function stampOf({ ino, size, mtimeNs, ctimeNs }: { ino: bigint; size: bigint; mtimeNs: bigint; ctimeNs: bigint }) {
  return `${ino}-${size}-${mtimeNs}-${ctimeNs}`;
}
