// Owns which files are an agent: its configuration, identity, host key, exchange database and exchange tables. A restored
// exchange database is an old copy, and is treated as one: its lanes begin new epochs and its books a new numbering.

import { existsSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { copyDatabase, lockDirectory } from '@qiao/database/files';
import { parseConfig } from '@qiao/runtime';
import {
  type BackupContents,
  type BackupOpener,
  type BackupRecipient,
  filesIn,
  readFromBackup,
  readIdentity,
  restoreBackup,
  writeBackup,
} from '@qiao/security';
import { agentConfigSchema } from './config.ts';
import {
  exchangeDatabaseFile,
  exchangeTablesFile,
  hostKeyFile,
  maskingKeyFile,
  readAgentConfig,
  rowKeyFile,
} from './data-sources/settings.ts';
import { identityDirectory } from './join/join.ts';

export interface BackupAgentOptions {
  /** agent.yaml */
  readonly configFile: string;
  /** A new file. */
  readonly to: string;
  readonly recipient: BackupRecipient;
  readonly nowMs: number;
}

/** Backs an agent up, running or not. Throws CONFIG_*, IDENTITY_MISSING, BACKUP_EXISTS, ALREADY_RUNNING (another backup). */
export async function backupAgent(options: BackupAgentOptions): Promise<BackupContents> {
  const config = readAgentConfig(options.configFile);
  const identity = readIdentity(identityDirectory(config));
  const present = (files: { name: string; file: string }[]) => files.filter(({ file }) => existsSync(file));
  const lock = lockDirectory(config.directory, 'backup');
  try {
    return await writeBackup({
      manifest: {
        format: 1,
        component: 'agent',
        platform: identity.platformCode,
        node: identity.nodeCode,
        madeAtMs: options.nowMs,
        notes: ['databases named in agent.yaml are not in this backup'],
      },
      files: [
        { name: 'agent.yaml', file: resolve(options.configFile) },
        ...present([
          { name: 'host.key', file: hostKeyFile(config) },
          { name: 'rows.key', file: rowKeyFile(config) },
          { name: 'masking.key', file: maskingKeyFile(config) },
        ]),
        ...filesIn(identityDirectory(config)),
      ],
      databases: present([
        { name: 'exchange.db', file: exchangeDatabaseFile(config) },
        { name: 'exchange-tables.db', file: exchangeTablesFile(config) },
      ]).map(({ name, file }) => ({ name, copy: (to) => copyDatabase(file, to) })),
      workDirectory: join(config.directory, '.backup'),
      to: options.to,
      recipient: options.recipient,
    });
  } finally {
    lock.release();
  }
}

export interface RestoreAgentOptions {
  readonly from: string;
  /** Where agent.yaml is, or goes: one that is there stays as it is and says which directory is the agent's. */
  readonly configFile: string;
  readonly opener: BackupOpener;
  readonly nowMs: number;
}

/** Restores an agent into the directory that its configuration names. Throws what `restoreBackup` and reading the configuration throw. */
export async function restoreAgent(options: RestoreAgentOptions): Promise<BackupContents & { directory: string }> {
  const configFile = resolve(options.configFile);
  const isThere = existsSync(configFile);
  const directory = isThere ? readAgentConfig(configFile).directory : await directoryInBackup(options, configFile);
  const configName = relative(directory, configFile).split('/')[0] ?? '';
  const contents = await restoreBackup({
    ...options,
    component: 'agent',
    directory,
    mayHold: [configName],
    last: 'identity',
    elsewhere: { 'agent.yaml': isThere ? undefined : configFile },
  });
  return { ...contents, directory };
}

/** Which directory the configuration inside the backup names, as if it lay at `configFile` already. */
async function directoryInBackup({ from, opener }: RestoreAgentOptions, configFile: string): Promise<string> {
  const text = await readFromBackup(from, 'agent', opener, 'agent.yaml');
  const { directory } = parseConfig(text.toString('utf8'), 'agent.yaml', agentConfigSchema);
  return resolve(dirname(configFile), directory);
}
