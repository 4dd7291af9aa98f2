/** The command against servers that nobody here can run: it ends with words and 2, and shows no password. */
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { contractCommand } from './command.testing.ts';

// Port 1 belongs to nobody.
test.each([
  ['mssql://qiao@127.0.0.1:1/his', /^SOURCE_UNAVAILABLE .*\n→ check that the server runs/],
  ['oracle://qiao@127.0.0.1:1/his', /^SOURCE_UNAVAILABLE .*\n→ check that the server runs/],
  [
    `dm://qiao@127.0.0.1:1?driver=${encodeURIComponent(tmpdir())}`,
    /^SOURCE_DRIVER_MISSING .*\n→ .*npm install --prefix/,
  ],
  ['dm://qiao@db.example.gov', /^CONFIG_INVALID .*TLS/],
])('%s is not run', async (url, said) => {
  const { status, output } = await contractCommand(['--url', url], 'hunter2');
  expect(output).toMatch(said);
  expect(output).not.toContain('hunter2');
  expect(status).toBe(2);
});
