// `qiao hub|monitor|agent backup` and `restore`, one shape for the three: what is written, with which key, what it contains. Keys and
// passphrases come from files or the environment, never from the command line.

import { readFileSync } from 'node:fs';
import { QiaoError } from '@qiao/exchange';
import { systemClock } from '@qiao/runtime';
import type { BackupContents, BackupOpener, BackupRecipient } from '@qiao/security';
import type { Command } from 'commander';
import { wantsJson } from './json.ts';
import { grouped, moment, printFacts, printJson, printTable, remark, say } from './output.ts';

interface KeyOptions {
  readonly recipient?: string;
  readonly passphraseFile?: string;
  readonly key?: string;
}

interface RestoreOptions extends KeyOptions {
  readonly list?: boolean;
  readonly database?: string;
}

interface BackupTask {
  readonly to: string;
  readonly recipient: BackupRecipient;
  readonly nowMs: number;
}

interface RestoreTask {
  readonly from: string;
  /** URL of the empty database that a store from a server goes into. */
  readonly database?: string;
  readonly opener: BackupOpener;
  readonly nowMs: number;
}

/** How one kind of process is named on the command line, backed up and restored. */
export interface BackupKind<Place> {
  readonly component: 'hub' | 'monitor' | 'agent';
  /** Option that names the place, for example `--dir <dir>`. */
  readonly place: readonly [flags: string, description: string, value?: string];
  /** Its store may be on a database server. */
  readonly mayBeOnServer?: true;
  backup(place: Place, task: BackupTask): Promise<BackupContents>;
  /** Restores and says what comes next. */
  restore(place: Place, task: RestoreTask): Promise<BackupContents & { next: string }>;
}

/** Adds `backup` and `restore` to a noun. */
export function registerBackup<Place extends object>(noun: Command, kind: BackupKind<Place>): void {
  noun
    .command('backup')
    .description(`write one encrypted file with everything that the ${kind.component} is; it may run meanwhile`)
    .option(...kind.place)
    .requiredOption('--to <file>', 'the backup: a new file')
    .option('--recipient <key>', 'public key from `qiao hub backup-key` (or QIAO_BACKUP_RECIPIENT)')
    .option('--passphrase-file <file>', 'a passphrase instead (or QIAO_BACKUP_PASSPHRASE)')
    .action(async (options: Place & KeyOptions & { to: string }, command: Command) => {
      requirePlace(options, kind.place[0]);
      const recipient = await recipientOf(options);
      const contents = await kind.backup(options, { to: options.to, recipient, nowMs: systemClock.nowMs() });
      if (wantsJson(command)) return printJson({ file: options.to, ...contents });
      printContents(contents);
      say(`Backed up to ${options.to}.`);
      for (const note of contents.manifest.notes) remark(note);
    });

  const restore = noun
    .command('restore <file>')
    .description(`prove a backup and restore the ${kind.component} from it into a place that is empty`)
    .option(...kind.place)
    .option('--key <file>', 'private key from `qiao hub backup-key`, for a backup made for its public key')
    .option('--passphrase-file <file>', 'the passphrase otherwise (or QIAO_BACKUP_PASSPHRASE)')
    .option('--list', 'prove it and name what it contains; restore nothing')
    .action(async (from: string, options: Place & RestoreOptions, command: Command) => {
      if (options.list !== true) requirePlace(options, kind.place[0]);
      const opener = await openerOf(options);
      if (options.list === true) {
        const { listBackup } = await import('@qiao/security');
        const contents = await listBackup(from, kind.component, opener);
        if (wantsJson(command)) return printJson(contents);
        return printContents(contents);
      }
      const { database } = options;
      const task = { from, opener, nowMs: systemClock.nowMs(), ...(database === undefined ? {} : { database }) };
      const { next, ...contents } = await kind.restore(options, task);
      if (wantsJson(command)) return printJson(contents);
      printContents(contents);
      for (const note of contents.manifest.notes) remark(note);
      say(`Restored.\n\nNext:  ${next}`);
    });
  if (kind.mayBeOnServer === true) {
    restore.option(
      '--database <url>',
      'an empty PostgreSQL database for a store from a server, when it is another one now',
    );
  }
}

/** `qiao hub backup-key`. */
export function registerBackupKey(noun: Command): void {
  noun
    .command('backup-key')
    .description('make a key pair for backups: the public key seals them anywhere, the private one opens them')
    .requiredOption('--to <file>', 'where the private key goes: a new file, to be kept away from what is backed up')
    .action(async (options: { to: string }, command: Command) => {
      const { createBackupKey } = await import('@qiao/security');
      const recipient = await createBackupKey(options.to);
      if (wantsJson(command)) return printJson({ recipient, privateKeyFile: options.to });
      say(recipient);
      remark(
        `\nThe private key is in ${options.to}. Without it no backup made for this public key can ever be opened.`,
      );
      remark('Next:  QIAO_BACKUP_RECIPIENT=KEY qiao hub backup --dir DIR --to FILE');
    });
}

function requirePlace(options: object, flags: string): void {
  const name = /--([a-z]+)/.exec(flags)?.[1] ?? '';
  if ((options as Record<string, unknown>)[name] !== undefined) return;
  throw new QiaoError('PLACE_MISSING', `--${name} is missing`, { hint: `add ${flags}` });
}

async function recipientOf(options: KeyOptions): Promise<BackupRecipient> {
  const { readBackupRecipient, requirePassphrase } = await import('@qiao/security');
  const recipient = options.recipient ?? process.env.QIAO_BACKUP_RECIPIENT;
  if (recipient !== undefined && recipient !== '') return readBackupRecipient(recipient);
  const passphrase = passphraseOf(options);
  if (passphrase !== undefined) return requirePassphrase(passphrase);
  throw new QiaoError('BACKUP_KEY_MISSING', 'a backup is never written in clear, and no key was given', {
    hint: 'qiao hub backup-key --to FILE, then --recipient KEY; or set QIAO_BACKUP_PASSPHRASE',
  });
}

async function openerOf(options: KeyOptions): Promise<BackupOpener> {
  const { readBackupKeyFile } = await import('@qiao/security');
  if (options.key !== undefined) return readBackupKeyFile(options.key);
  const passphrase = passphraseOf(options);
  if (passphrase !== undefined) return { kind: 'passphrase', passphrase };
  throw new QiaoError('BACKUP_KEY_MISSING', 'a backup opens only with its key, and none was given', {
    hint: 'name the private key with --key FILE, or set QIAO_BACKUP_PASSPHRASE',
  });
}

function passphraseOf({ passphraseFile }: KeyOptions): string | undefined {
  if (passphraseFile === undefined) return process.env.QIAO_BACKUP_PASSPHRASE || undefined;
  try {
    return readFileSync(passphraseFile, 'utf8').replace(/\r?\n$/, '');
  } catch (cause) {
    throw new QiaoError('FILE_NOT_READABLE', `cannot read ${passphraseFile}`, { cause });
  }
}

function printContents({ manifest, files }: BackupContents): void {
  printFacts({
    'backup of': `${manifest.component} ${manifest.node} of ${manifest.platform}`,
    made: moment(manifest.madeAtMs),
  });
  printTable(
    ['file', 'bytes'],
    files.map(({ name, bytes }) => [name, grouped(bytes)]),
  );
}
