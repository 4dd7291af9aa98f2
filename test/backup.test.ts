// A backup is one encrypted file: nothing of it is read, changed or cut without the key and without being noticed, and a restore
// never overwrites what lives.

import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BackupOpener,
  type BackupRecipient,
  createBackupKey,
  listBackup,
  readBackupKeyFile,
  readBackupRecipient,
  restoreBackup,
  writeBackup,
} from '@qiao/security';
import Sqlite from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copyDatabase } from '../packages/database/src/copy.ts';

const SECRET = 'a-secret-that-must-not-lie-about';
const KEY = { kind: 'passphrase', passphrase: 'four words of a drill' } as const;

let folder: string;
let live: Sqlite.Database;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-backup-'));
  mkdirSync(join(folder, 'hub'));
  writeFileSync(join(folder, 'hub', 'key.pem'), SECRET, { mode: 0o600 });
  writeFileSync(join(folder, 'hub', 'empty'), '');
  live = new Sqlite(join(folder, 'hub', 'hub.db'));
  live.pragma('journal_mode = WAL');
  live.exec('CREATE TABLE thing (id INTEGER PRIMARY KEY, text TEXT NOT NULL)');
  const insert = live.prepare('INSERT INTO thing (text) VALUES (?)');
  live.transaction(() => {
    for (let row = 0; row < 5_000; row += 1) insert.run(`${SECRET} ${row}`);
  })();
});
afterAll(() => {
  live.close();
  rmSync(folder, { recursive: true, force: true });
});

let made = 0;
async function backup(recipient: BackupRecipient = KEY, names = ['key.pem', 'empty']): Promise<string> {
  made += 1;
  const to = join(folder, `${made}.qiaobackup`);
  await writeBackup({
    manifest: { format: 1, component: 'hub', platform: 'demo', node: 'hub', madeAtMs: 5, notes: [] },
    files: names.map((name) => ({ name, file: join(folder, 'hub', name.endsWith('empty') ? 'empty' : 'key.pem') })),
    databases: [{ name: 'hub.db', copy: (copy) => copyDatabase(join(folder, 'hub', 'hub.db'), copy) }],
    workDirectory: join(folder, 'hub', '.backup'),
    to,
    recipient,
  });
  return to;
}

const restore = (from: string, directory: string, opener: BackupOpener = KEY) =>
  restoreBackup({ from, component: 'hub', opener, directory, last: 'key.pem', nowMs: 9 });
const code = (value: string) => expect.objectContaining({ code: value });

test('a store in use is backed up whole, comes back with its modes, and the restored place says that it was restored', async () => {
  const writing = live.transaction(() => live.prepare("UPDATE thing SET text = 'new' WHERE id = 1").run());
  const file = await backup();
  writing();
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(join(folder, 'hub'))).not.toContain('.backup');
  const directory = join(folder, 'restored');
  const { manifest, files } = await restore(file, directory);
  expect([manifest.platform, files.map(({ name }) => name)]).toEqual(['demo', ['key.pem', 'empty', 'hub.db']]);
  expect(readdirSync(directory).sort()).toEqual(['empty', 'hub.db', 'key.pem', 'restored.json']);
  expect(statSync(join(directory, 'key.pem')).mode & 0o777).toBe(0o600);
  const copy = new Sqlite(join(directory, 'hub.db'), { readonly: true });
  expect(copy.prepare('SELECT count(*), min(text) FROM thing').raw().get()).toEqual([5_000, `${SECRET} 0`]);
  copy.close();
});

test('a stolen backup shows nothing, not even names, and opens with no other key', async () => {
  const keyFile = join(folder, 'backup.key');
  const recipient = readBackupRecipient(await createBackupKey(keyFile));
  for (const file of [await backup(), await backup(recipient)]) {
    const bytes = readFileSync(file);
    for (const text of [SECRET, 'key.pem', 'demo', 'thing']) expect(bytes.includes(text)).toBe(false);
    await expect(listBackup(file, 'hub', { kind: 'passphrase', passphrase: 'four other words' })).rejects.toThrow(
      code('BACKUP_KEY_WRONG'),
    );
  }
  const sealed = await backup(recipient);
  expect((await listBackup(sealed, 'hub', readBackupKeyFile(keyFile))).files).toHaveLength(3);
  await createBackupKey(join(folder, 'other.key'));
  await expect(listBackup(sealed, 'hub', readBackupKeyFile(join(folder, 'other.key')))).rejects.toThrow(
    code('BACKUP_KEY_WRONG'),
  );
});

test('a byte changed anywhere, and an end cut off anywhere, is found before anything gets its name', async () => {
  const whole = readFileSync(await backup());
  const damaged = join(folder, 'damaged');
  const directory = join(folder, 'never');
  const places = [20, 200, 400, Math.floor(whole.length / 2), whole.length - 1];
  for (const place of places) {
    const changed = Buffer.from(whole);
    changed[place] = (changed[place] as number) ^ 1;
    for (const bytes of [changed, whole.subarray(0, place)]) {
      writeFileSync(damaged, bytes);
      await expect(restore(damaged, directory)).rejects.toThrow(/BACKUP|not whole|does not open|no backup/);
      expect(readdirSync(directory, { withFileTypes: true })).toEqual([]);
    }
  }
  // Cut exactly between two parts of 64 KiB.
  const header = whole.indexOf('}') + 1;
  writeFileSync(damaged, whole.subarray(0, header + 65_536 + 16));
  await expect(restore(damaged, directory)).rejects.toThrow(code('BACKUP_DAMAGED'));
});

test('a restore never overwrites what lives, nor takes another kind of backup, nor a name that leads out', async () => {
  const file = await backup();
  await expect(restore(file, join(folder, 'hub'))).rejects.toThrow(code('DIRECTORY_NOT_EMPTY'));
  await expect(listBackup(file, 'agent', KEY)).rejects.toThrow(code('BACKUP_OF_ANOTHER_KIND'));
  await expect(listBackup(join(folder, 'hub', 'key.pem'), 'hub', KEY)).rejects.toThrow(code('BACKUP_FOREIGN'));
  for (const name of ['../empty', '/tmp/empty', 'a/../empty', 'a//empty', 'a\\empty', '.ssh/empty', 'a/b/c/d/empty']) {
    await expect(restore(await backup(KEY, [name]), join(folder, 'out'))).rejects.toThrow(code('BACKUP_NAME_REFUSED'));
  }
  expect(readdirSync(join(folder, 'out'))).toEqual([]);
});

test('a backup is never made twice under one name', async () => {
  const to = join(folder, 'taken');
  closeSync(openSync(to, 'w'));
  made = -1;
  writeFileSync(join(folder, '0.qiaobackup'), '');
  await expect(backup()).rejects.toThrow(code('BACKUP_EXISTS'));
});
