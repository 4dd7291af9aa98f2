import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { lockDirectory } from './index.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-lock-'));
  folders.push(folder);
  return folder;
}

const code = (value: string) => expect.objectContaining({ code: value });

test('a directory is locked once until it is released, and another name in it is another lock', () => {
  const folder = newFolder();
  const lock = lockDirectory(folder, 'hub');
  expect(() => lockDirectory(folder, 'hub')).toThrow(code('ALREADY_RUNNING'));
  expect(() => lockDirectory(folder, 'hub')).toThrow(folder);
  lockDirectory(folder, 'monitor').release();
  lock.release();
  lockDirectory(folder, 'hub').release();
});

test('a lock ends with the process that held it, even one that was killed', async () => {
  const folder = newFolder();
  const script = `
    import { lockDirectory } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)};
    globalThis.lock = lockDirectory(${JSON.stringify(folder)}, 'hub');
    console.log('locked');
    setInterval(() => {}, 1000);
  `;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: new URL('..', import.meta.url),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  expect(() => lockDirectory(folder, 'hub')).toThrow(code('ALREADY_RUNNING'));
  holder.kill('SIGKILL');
  // At once: whoever restarts a killed program does not wait for its end.
  lockDirectory(folder, 'hub').release();
});

test('a directory that cannot be written is named', () => {
  expect(() => lockDirectory('/nonexistent', 'hub')).toThrow(code('DATABASE_UNREADABLE'));
});
