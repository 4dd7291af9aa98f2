import { createHmac, hkdfSync } from 'node:crypto';
import { copyFileSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hasher } from '@qiao/exchange';
import { createMaskHasher, openHostKey } from '@qiao/security';
import { expect, test } from 'vitest';
import { openExchangeDatabase } from '../exchange-database/index.ts';
import { nodeHasher } from './nodeHasher.ts';

/** A node's directory: its exchange database and its key, started as often as a test wants. */
class Node implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'qiao-hasher-'));
  readonly keyFile = join(this.directory, 'masking.key');
  start<T>(use: (hasher: Hasher) => T): T {
    const database = openExchangeDatabase(join(this.directory, 'exchange.db'));
    try {
      return use(nodeHasher(this.keyFile, database.meta));
    } finally {
      database.close();
    }
  }
  hash(scope: string, text: string): string {
    return this.start((hasher) => hasher(scope, text));
  }
  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

test('the same value has the same hash in one scope, across starts and exchange databases, and another in another scope or node', () => {
  using node = new Node();
  using other = new Node();
  const hash = node.hash('births', '11010519491231002X');
  expect(hash).toMatch(/^[0-9a-f]{64}$/);
  expect(statSync(node.keyFile).mode & 0o777).toBe(0o600);
  expect(node.hash('births', '11010519491231002X')).toBe(hash);
  rmSync(join(node.directory, 'exchange.db'));
  expect(node.hash('births', '11010519491231002X')).toBe(hash);
  expect(node.hash('deaths', '11010519491231002X')).not.toBe(hash);
  expect(other.hash('births', '11010519491231002X')).not.toBe(hash);
});

test('a copy of the node from before its first hash gives the same hashes, or none where it has no key', () => {
  using node = new Node();
  using copy = new Node();
  node.start(() => undefined);
  for (const file of ['exchange.db', 'masking.key']) {
    copyFileSync(join(node.directory, file), join(copy.directory, file));
  }
  const hash = node.hash('births', 'x');
  expect(copy.hash('births', 'x')).toBe(hash);
  rmSync(copy.keyFile);
  expect(() => copy.hash('births', 'x')).toThrow('values cannot be hashed as before');
});

test('without the key that values were hashed with nothing is hashed', () => {
  using node = new Node();
  const hash = node.hash('births', 'x');
  renameSync(node.keyFile, `${node.keyFile}.away`);
  expect(() => node.hash('births', 'x')).toThrow('values cannot be hashed as before');
  openHostKey(node.keyFile, { create: true });
  expect(() => node.hash('births', 'x')).toThrow('values were hashed with key');
  renameSync(`${node.keyFile}.away`, node.keyFile);
  expect(node.hash('births', 'x')).toBe(hash);
});

test('a hash is the HMAC of its scope’s own key, for ever', () => {
  const key = hkdfSync('sha256', new Uint8Array(32), '', 'qiao.masking.scope.v1/births', 32);
  for (const text of ['', '王小明', 'x'.repeat(1_000)]) {
    const expected = createHmac('sha256', Buffer.from(key)).update(text).digest('hex');
    expect(createMaskHasher(new Uint8Array(32)).hash('births', text)).toBe(expected);
  }
  const { hash, keyName } = createMaskHasher(new Uint8Array(32).fill(7));
  expect([keyName, hash('births', '王小明')]).toMatchInlineSnapshot(`
    [
      "0ef486dc537dc9be",
      "dbab5bfdbe9d605bf06796e791847f21e1e3fb8e40e54e3fb729d546d90f8216",
    ]
  `);
});
