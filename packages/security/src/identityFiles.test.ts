import { chmodSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hasIdentity, type NodeIdentity, readIdentity, writeIdentity } from './identityFiles.ts';
import { temporaryDirectory } from './temporaryDirectory.testing.ts';

const identity: NodeIdentity = {
  role: 'agent',
  platformId: new Uint8Array(16).fill(1),
  platformCode: 'demo',
  platformTitle: '示范平台',
  timeZone: 'Asia/Shanghai',
  nodeId: new Uint8Array(16).fill(2),
  nodeCode: 'health',
  departmentCode: 'health',
  departmentTitle: '卫生健康委员会',
  hubAddress: '127.0.0.1:7400',
  natsUrls: ['tls://127.0.0.1:4222'],
  keyPem: '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n',
  certificate: new Uint8Array([1, 2, 3]),
  authority: new Uint8Array([4, 5]),
  hubCertificate: new Uint8Array([6]),
  sealingKey: { publicKey: new Uint8Array([7]), privateKey: new Uint8Array([8]) },
  nats: { seed: 'SUSEED', jwt: 'jwt.jwt.jwt' },
};
const code = (value: string) => expect.objectContaining({ code: value });

test('an identity comes back as it was written, with and without its optional keys', () => {
  using dir = temporaryDirectory();
  writeIdentity(join(dir.path, 'a'), identity);
  expect(readIdentity(join(dir.path, 'a'))).toEqual(identity);
  const { sealingKey: _sealing, nats: _nats, ...operator } = { ...identity, role: 'operator' as const };
  writeIdentity(join(dir.path, 'b'), operator);
  expect(readIdentity(join(dir.path, 'b'))).toEqual(operator);
});

test('keys are readable by their owner only, and nothing half-written is left', () => {
  using dir = temporaryDirectory();
  writeIdentity(dir.path, identity);
  writeIdentity(dir.path, identity);
  const modes = ['key.pem', 'sealing.key', 'nats.seed', 'nats.jwt'].map(
    (name) => statSync(join(dir.path, name)).mode & 0o777,
  );
  expect(modes).toEqual([0o600, 0o600, 0o600, 0o600]);
  expect(statSync(dir.path).mode & 0o777).toBe(0o700);
  expect(readdirSync(dir.path).sort()).toEqual([
    'authority.pem',
    'certificate.pem',
    'hub.pem',
    'identity.json',
    'key.pem',
    'nats.jwt',
    'nats.seed',
    'sealing.key',
  ]);
  chmodSync(join(dir.path, 'key.pem'), 0o644);
  expect(() => readIdentity(dir.path)).toThrow(code('FILE_EXPOSED'));
});

test('a directory whose writing was cut short is no identity, a damaged one is named', () => {
  using dir = temporaryDirectory();
  expect(() => readIdentity(dir.path)).toThrow(code('IDENTITY_MISSING'));
  writeIdentity(dir.path, identity);
  rmSync(join(dir.path, 'identity.json'));
  expect(hasIdentity(dir.path)).toBe(false);
  writeFileSync(join(dir.path, 'identity.json'), '{"role":"king"}');
  expect(() => readIdentity(dir.path)).toThrow(code('IDENTITY_INVALID'));
  writeFileSync(join(dir.path, 'identity.json'), 'no json');
  expect(() => readIdentity(dir.path)).toThrow(code('IDENTITY_INVALID'));
});
