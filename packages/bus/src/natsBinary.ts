/** Finds nats-server and asks for its version. */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { QiaoError } from '@qiao/exchange';
import { readVersion } from './natsConfig.ts';

export interface NatsBinary {
  readonly path: string;
  readonly version: { readonly text: string; readonly major: number; readonly minor: number };
}

/** A service's PATH often lacks the administrator's directories, where Debian puts the server. */
const MORE_DIRECTORIES = ['/usr/sbin', '/usr/local/sbin', '/usr/local/bin', '/opt/nats'];
const INSTALL_HINT = 'apt-get install nats-server, or put nats-server 2.9 or later into PATH';

/** Throws NATS_SERVER_MISSING or NATS_SERVER_TOO_OLD (below 2.9), both with the way out. */
export async function findNatsServer(wished?: string): Promise<NatsBinary> {
  const path = wished ?? (await searchPath());
  if (path === undefined) {
    throw new QiaoError('NATS_SERVER_MISSING', `found no nats-server in PATH nor in ${MORE_DIRECTORIES.join(', ')}`, {
      hint: INSTALL_HINT,
    });
  }
  let printed: string;
  try {
    printed = (await promisify(execFile)(path, ['--version'], { timeout: 10_000 })).stdout;
  } catch (cause) {
    throw new QiaoError('NATS_SERVER_MISSING', `${path} does not run`, { hint: INSTALL_HINT, cause });
  }
  const version = readVersion(printed);
  if (version === undefined || version.major < 2 || (version.major === 2 && version.minor < 9)) {
    throw new QiaoError('NATS_SERVER_TOO_OLD', `${path} says ${printed.trim().slice(0, 100)}, expected 2.9 or later`, {
      hint: INSTALL_HINT,
    });
  }
  return { path, version };
}

async function searchPath(): Promise<string | undefined> {
  const directories = [
    ...(process.env['PATH'] ?? '').split(delimiter).filter((entry) => entry !== ''),
    ...MORE_DIRECTORIES,
  ];
  for (const directory of directories) {
    const path = join(directory, 'nats-server');
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // Not here: the next directory.
    }
  }
  return undefined;
}
