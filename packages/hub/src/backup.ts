// Owns which files are a hub: configuration, authority and identity, bus keys with their revocations, and the store unless that is
// on a database server. What is under way on the bus is not part of it: agents publish again what has no receipt.

import { isAbsolute, join, relative, resolve } from 'node:path';
import { copyDatabase, isUrl, lockDirectory } from '@qiao/database';
import { QiaoError } from '@qiao/exchange';
import {
  type BackupContents,
  type BackupOpener,
  type BackupRecipient,
  filesIn,
  readIdentity,
  restoreBackup,
  writeBackup,
} from '@qiao/security';
import { readHubConfig } from './config.ts';

export interface BackupHubOptions {
  readonly directory: string;
  /** A new file. */
  readonly to: string;
  readonly recipient: BackupRecipient;
  readonly nowMs: number;
}

/** Backs a hub up, running or not. Throws CONFIG_NOT_FOUND, BACKUP_EXISTS, ALREADY_RUNNING (another backup), DATABASE_OUTSIDE. */
export async function backupHub(options: BackupHubOptions): Promise<BackupContents> {
  const config = readHubConfig(options.directory);
  const { directory } = config;
  const identity = readIdentity(join(directory, 'identity'));
  const onServer = isUrl(config.database);
  const lock = lockDirectory(directory, 'backup');
  try {
    return await writeBackup({
      manifest: {
        format: 1,
        component: 'hub',
        platform: identity.platformCode,
        node: 'hub',
        madeAtMs: options.nowMs,
        notes: onServer ? ['the store is on a database server and not in this backup: pg_dump it beside'] : [],
      },
      files: [
        { name: 'hub.yaml', file: join(directory, 'hub.yaml') },
        ...filesIn(join(directory, 'identity')),
        // nats.conf is written anew at each start; what else the server keeps there is its own.
        ...filesIn(join(directory, 'bus'), (name) => name.endsWith('.seed') || name === 'revocations.json'),
      ],
      databases: onServer
        ? []
        : [{ name: nameInside(directory, config.database), file: resolve(directory, config.database) }],
      workDirectory: join(directory, '.backup'),
      copyDatabase,
      to: options.to,
      recipient: options.recipient,
    });
  } finally {
    lock.release();
  }
}

export interface RestoreHubOptions {
  readonly from: string;
  /** Missing or empty. */
  readonly directory: string;
  readonly opener: BackupOpener;
  readonly nowMs: number;
}

/** Restores a hub; when it starts it collects, and routes only after `qiao hub confirm`. Throws what `restoreBackup` throws. */
export async function restoreHub(options: RestoreHubOptions): Promise<BackupContents> {
  return await restoreBackup({ ...options, component: 'hub', last: 'hub.yaml' });
}

function nameInside(directory: string, database: string): string {
  const name = relative(directory, resolve(directory, database));
  if (!name.startsWith('..') && !isAbsolute(name)) return name;
  throw new QiaoError('DATABASE_OUTSIDE', `the store ${database} lies outside ${directory}`, {
    hint: 'keep the store in the hub’s directory, or on a database server',
  });
}
