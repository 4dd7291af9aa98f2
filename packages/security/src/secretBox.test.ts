import { chmodSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { decryptSecret, encryptSecret, isEncryptedSecret, openHostKey } from './secretBox.ts';
import { temporaryDirectory } from './temporaryDirectory.testing.ts';

const code = (value: string) => expect.objectContaining({ code: value });

test('a secret comes back with the key of its host only', () => {
  using dir = temporaryDirectory();
  const ours = openHostKey(join(dir.path, 'one', 'host.key'), { create: true });
  const theirs = openHostKey(join(dir.path, 'two', 'host.key'), { create: true });
  const text = encryptSecret('密码 p@ss word', ours);
  expect(isEncryptedSecret(text)).toBe(true);
  expect(text).not.toContain('p@ss');
  expect(decryptSecret(text, ours)).toBe('密码 p@ss word');
  expect(() => decryptSecret(text, theirs)).toThrow(code('SECRET_UNREADABLE'));
  for (const broken of [`${text.slice(0, -4)}AAAA`, 'qiaosec1:', 'p@ss', 'qiaosec1:AAAA']) {
    expect(() => decryptSecret(broken, ours)).toThrow(code('SECRET_UNREADABLE'));
  }
});

test('the host key is made once, readable by its owner only, and read again', () => {
  using dir = temporaryDirectory();
  const file = join(dir.path, 'host.key');
  expect(() => openHostKey(file)).toThrow(code('HOST_KEY_MISSING'));
  const made = openHostKey(file, { create: true });
  expect(openHostKey(file)).toEqual(made);
  expect(openHostKey(file, { create: true })).toEqual(made);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readFileSync(file, 'utf8')).toHaveLength(45);
  chmodSync(file, 0o644);
  expect(() => openHostKey(file)).toThrow(code('FILE_EXPOSED'));
});
