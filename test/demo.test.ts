// The demo, as the README promises it: it tells its story, ends with balanced books, and leaves nothing behind.

import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const DEMO = fileURLToPath(new URL('../deploy/demo/demo.ts', import.meta.url));

test('the demo shows a benefit that should have stopped, balances its books, and removes everything it made', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-demo-test-'));
  const child = spawn(process.execPath, [DEMO], { env: { ...process.env, TMPDIR: folder } });
  let told = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      told += chunk;
    });
  }
  const code = await new Promise((resolve) => child.once('close', resolve));
  expect(code, told).toBe(0);
  expect(told).toContain('应停发');
  expect(told).toContain('the books balance');
  const rows = Number(/([\d,]+) rows have arrived/.exec(told)?.[1]?.replaceAll(',', ''));
  expect(rows).toBeGreaterThanOrEqual(10_000);
  // Node keeps compiled code of its own in the temporary folder; everything else there was the demo's.
  expect(readdirSync(folder).filter((name) => name !== 'node-compile-cache')).toEqual([]);
  rmSync(folder, { recursive: true });
});
