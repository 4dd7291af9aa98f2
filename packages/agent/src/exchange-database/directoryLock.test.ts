import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { lockDirectory } from './directoryLock.ts';

const HOLDER = `import { lockDirectory } from ${JSON.stringify(join(import.meta.dirname, 'directoryLock.ts'))};
globalThis.lock = lockDirectory(process.argv[1]);
process.stdout.write('held');
setInterval(() => {}, 1000);`;

test('one process at a time holds a directory; a killed one gives it back', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'qiao-lock-'));
  const holder = spawn(process.execPath, ['--input-type=module', '-e', HOLDER, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(holder.stdout, 'data');
    const refused = expect.objectContaining({ code: 'ALREADY_RUNNING', message: expect.stringContaining(directory) });
    expect(() => lockDirectory(directory)).toThrow(refused);
    holder.kill('SIGKILL');
    const lock = lockDirectory(directory);
    expect(() => lockDirectory(directory)).toThrow(refused);
    lock.release();
    lockDirectory(directory).release();
  } finally {
    holder.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  }
});
