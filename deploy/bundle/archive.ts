// Checksums inside the bundle, and the archive around it. The same sources give the same bytes: names sorted, owner root, one time.

import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';

/** Writes SHA256SUMS over every other file of the directory, in the form that `sha256sum -c` reads. */
export function writeChecksums(directory: string): void {
  const lines = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort()
    .map(
      (name) =>
        `${createHash('sha256')
          .update(readFileSync(join(directory, name)))
          .digest('hex')}  ${name}`,
    );
  writeFileSync(join(directory, 'SHA256SUMS'), `${lines.join('\n')}\n`);
}

/** Packs `directory` into `archive` (tar, gzip), writes `<archive>.sha256` and returns the digest. Needs GNU tar. */
export async function packArchive(options: {
  readonly root: string;
  readonly directory: string;
  readonly archive: string;
}): Promise<string> {
  const { root, directory, archive } = options;
  const tar = spawn(
    'tar',
    [
      '--create',
      '--sort=name',
      '--owner=root:0',
      '--group=root:0',
      `--mtime=@${sourceDate(root)}`,
      '--mode=u=rwX,go=rX',
      '-C',
      dirname(directory),
      basename(directory),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ended = once(tar, 'close') as Promise<[number | null]>;
  await pipeline(tar.stdout, createGzip(), createWriteStream(archive));
  const [code] = await ended;
  if (code !== 0) throw new Error(`tar ended with ${code}`);

  const hash = createHash('sha256');
  await pipeline(createReadStream(archive), hash);
  const sha256 = hash.digest('hex');
  writeFileSync(`${archive}.sha256`, `${sha256}  ${basename(archive)}\n`);
  return sha256;
}

/** Seconds since 1970: SOURCE_DATE_EPOCH, else the last commit, else now. */
function sourceDate(root: string): string {
  const given = process.env.SOURCE_DATE_EPOCH;
  if (given !== undefined) return given;
  try {
    const stdio: ['ignore', 'pipe', 'ignore'] = ['ignore', 'pipe', 'ignore'];
    return execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: root, stdio, encoding: 'utf8' }).trim();
  } catch {
    return String(Math.floor(Date.now() / 1000));
  }
}
