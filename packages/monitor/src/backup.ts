// Owns what a monitor is: configuration, identity and the books, whether those are a file or on a database server. Books younger than
// the backup come again from the nodes, which keep their entries.

import { join } from 'node:path';
import {
  copyDatabase,
  copyServerStore,
  databaseTarget,
  isUrl,
  lockDirectory,
  passwordFile,
  placeServerStore,
} from '@qiao/database';
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
import { identityDirectory, readMonitorConfig } from './config.ts';
import { MONITOR_MIGRATIONS } from './monitorDatabase.ts';

export interface BackupMonitorOptions {
  readonly directory: string;
  /** A new file. */
  readonly to: string;
  readonly recipient: BackupRecipient;
  readonly nowMs: number;
}

/** Backs a monitor up, running or not. Throws CONFIG_NOT_FOUND, BACKUP_EXISTS, ALREADY_RUNNING (another backup), what reading a store throws. */
export async function backupMonitor(options: BackupMonitorOptions): Promise<BackupContents> {
  const { directory } = options;
  const config = readMonitorConfig(directory);
  const identity = readIdentity(identityDirectory(directory));
  const target = databaseTarget(directory, config);
  const lock = lockDirectory(directory, 'backup');
  try {
    return await writeBackup({
      manifest: {
        format: 1,
        component: 'monitor',
        platform: identity.platformCode,
        node: identity.nodeCode,
        madeAtMs: options.nowMs,
        notes: [],
      },
      files: [
        { name: 'monitor.yaml', file: join(directory, 'monitor.yaml') },
        ...passwordFile(directory, config),
        ...filesIn(identityDirectory(directory)),
      ],
      databases: [
        isUrl(target.url)
          ? { name: 'store', copy: (to) => copyServerStore(target, to) }
          : { name: 'monitor.db', copy: (to) => copyDatabase(target.url, to) },
      ],
      workDirectory: join(directory, '.backup'),
      to: options.to,
      recipient: options.recipient,
    });
  } finally {
    lock.release();
  }
}

export interface RestoreMonitorOptions {
  readonly from: string;
  /** Missing or empty. */
  readonly directory: string;
  readonly opener: BackupOpener;
  /** URL of the empty database that books from a server go into; the one in monitor.yaml when left out. */
  readonly database?: string;
  readonly nowMs: number;
}

/**
 * Restores a monitor; at its start it asks the nodes for what is younger. Throws what `restoreBackup` and `placeServerStore` throw.
 */
export async function restoreMonitor(options: RestoreMonitorOptions): Promise<BackupContents> {
  return await restoreBackup({
    ...options,
    component: 'monitor',
    last: 'monitor.yaml',
    async place(work) {
      const { database } = options;
      if (database !== undefined) changeConfig(join(work, 'monitor.yaml'), { database });
      await placeServerStore(join(work, 'store'), databaseTarget(work, readMonitorConfig(work)), MONITOR_MIGRATIONS);
    },
  });
}
