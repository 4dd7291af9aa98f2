// Owns what a hub is: configuration, authority and identity, bus keys with their revocations, and the store, whether it is a file or
// on a database server. What is under way on the bus is not part of it: agents publish again what has no receipt.

import { isAbsolute, join, relative, resolve } from 'node:path';
import {
  copyDatabase,
  copyServerStore,
  databaseTarget,
  isUrl,
  lockDirectory,
  passwordFile,
  placeServerStore,
} from '@qiao/database';
import { QiaoError } from '@qiao/exchange';
import { changeConfig } from '@qiao/runtime';
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
import { HUB_MIGRATIONS } from './hubDatabase.ts';

export interface BackupHubOptions {
  readonly directory: string;
  /** A new file. */
  readonly to: string;
  readonly recipient: BackupRecipient;
  readonly nowMs: number;
}

/** Backs a hub up, running or not. Throws CONFIG_NOT_FOUND, BACKUP_EXISTS, ALREADY_RUNNING (another backup), DATABASE_OUTSIDE, what reading a store throws. */
export async function backupHub(options: BackupHubOptions): Promise<BackupContents> {
  const config = readHubConfig(options.directory);
  const { directory } = config;
  const identity = readIdentity(join(directory, 'identity'));
  const target = databaseTarget(directory, config);
  const lock = lockDirectory(directory, 'backup');
  try {
    return await writeBackup({
      manifest: {
        format: 1,
        component: 'hub',
        platform: identity.platformCode,
        node: 'hub',
        madeAtMs: options.nowMs,
        notes: [],
      },
      files: [
        { name: 'hub.yaml', file: join(directory, 'hub.yaml') },
        ...passwordFile(directory, config),
        ...filesIn(join(directory, 'identity')),
        // nats.conf is written anew at each start; what else the server keeps there is its own.
        ...filesIn(join(directory, 'bus'), (name) => name.endsWith('.seed') || name === 'revocations.json'),
      ],
      databases: [
        isUrl(target.url)
          ? { name: 'store', copy: (to) => copyServerStore(target, to) }
          : { name: nameInside(directory, target.url), copy: (to) => copyDatabase(target.url, to) },
      ],
      workDirectory: join(directory, '.backup'),
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
  /** URL of the empty database that a store from a server goes into; the one in hub.yaml when left out. */
  readonly database?: string;
  readonly nowMs: number;
}

/**
 * Restores a hub; when it starts it collects, and routes only after `qiao hub confirm`. Throws what `restoreBackup` and
 * `placeServerStore` throw.
 */
export async function restoreHub(options: RestoreHubOptions): Promise<BackupContents> {
  return await restoreBackup({
    ...options,
    component: 'hub',
    last: 'hub.yaml',
    async place(work) {
      const { database } = options;
      if (database !== undefined) changeConfig(join(work, 'hub.yaml'), { database });
      await placeServerStore(join(work, 'store'), databaseTarget(work, readHubConfig(work)), HUB_MIGRATIONS);
    },
  });
}

function nameInside(directory: string, database: string): string {
  const name = relative(directory, resolve(directory, database));
  if (!name.startsWith('..') && !isAbsolute(name)) return name;
  throw new QiaoError('DATABASE_OUTSIDE', `the store ${database} lies outside ${directory}`, {
    hint: 'keep the store in the hub’s directory, or on a database server',
  });
}
