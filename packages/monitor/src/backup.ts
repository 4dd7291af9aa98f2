// Owns which files are a monitor: configuration, identity and the books, unless those are on a database server. Books younger than
// the backup come again from the nodes, which keep their entries.

import { join } from 'node:path';
import { copyDatabase, isUrl, lockDirectory } from '@qiao/database';
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

export interface BackupMonitorOptions {
  readonly directory: string;
  /** A new file. */
  readonly to: string;
  readonly recipient: BackupRecipient;
  readonly nowMs: number;
}

/** Backs a monitor up, running or not. Throws CONFIG_NOT_FOUND, BACKUP_EXISTS, ALREADY_RUNNING (another backup). */
export async function backupMonitor(options: BackupMonitorOptions): Promise<BackupContents> {
  const { directory } = options;
  const { database } = readMonitorConfig(directory);
  const identity = readIdentity(identityDirectory(directory));
  const onServer = isUrl(database);
  const lock = lockDirectory(directory, 'backup');
  try {
    return await writeBackup({
      manifest: {
        format: 1,
        component: 'monitor',
        platform: identity.platformCode,
        node: identity.nodeCode,
        madeAtMs: options.nowMs,
        notes: onServer ? ['the books are on a database server and not in this backup: pg_dump them beside'] : [],
      },
      files: [
        { name: 'monitor.yaml', file: join(directory, 'monitor.yaml') },
        ...filesIn(identityDirectory(directory)),
      ],
      databases: onServer ? [] : [{ name: 'monitor.db', file: join(directory, database) }],
      workDirectory: join(directory, '.backup'),
      copyDatabase,
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
  readonly nowMs: number;
}

/** Restores a monitor; at its start it asks the nodes for what is younger. Throws what `restoreBackup` throws. */
export async function restoreMonitor(options: RestoreMonitorOptions): Promise<BackupContents> {
  return await restoreBackup({ ...options, component: 'monitor', last: 'monitor.yaml' });
}
