import { generateKeyPairSync } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { Authority } from './authority.ts';
import { p256Sha256 } from './cryptoSuite.ts';
import { createKeyAndCsr } from './request.ts';
import { Signer, Verifier } from './signed.ts';
import { temporaryDirectory } from './temporaryDirectory.testing.ts';

const payload = Buffer.from('出生医学证明 birth certificate');

async function world() {
  const dir = temporaryDirectory();
  const authority = await Authority.create(dir.path, { platformId: new Uint8Array(16).fill(1), platformCode: 'demo' });
  const member = async (code: string) => {
    const { keyPem, csrDer } = await createKeyAndCsr(code);
    const certificate = await authority.issue(csrDer, {
      role: 'agent',
      platformId: new Uint8Array(16).fill(1),
      nodeId: new Uint8Array(16).fill(2),
      code,
      days: 1,
    });
    return { keyPem, certificate };
  };
  const [health, civil] = [await member('health'), await member('civil-affairs')];
  return { health, civil, [Symbol.dispose]: () => dir[Symbol.dispose]() };
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof QiaoError) return error.code;
    throw error;
  }
  return 'nothing was thrown';
}

test('a signature is accepted for its own context, payload and certificate', async () => {
  using w = await world();
  const signed = new Signer(w.health.keyPem, w.health.certificate).sign('qiao.delivery.v1', payload);
  const verifier = new Verifier();
  verifier.verify('qiao.delivery.v1', signed, w.health.certificate);
  verifier.verify('qiao.delivery.v1', signed, w.health.certificate);
  expect(signed.suite).toBe('p256-sha256');
  expect(signed.signature).toHaveLength(64);
});

test('a signature made for one context is refused in another', async () => {
  using w = await world();
  const signed = new Signer(w.health.keyPem, w.health.certificate).sign('qiao.receipt.v1', payload);
  expect(codeOf(() => new Verifier().verify('qiao.delivery.v1', signed, w.health.certificate))).toBe(
    'SIGNATURE_INVALID',
  );
});

test('a changed payload, a cut signature and a missing one are refused', async () => {
  using w = await world();
  const signed = new Signer(w.health.keyPem, w.health.certificate).sign('qiao.control.v1', payload);
  const verifier = new Verifier();
  const changed = Uint8Array.from(payload);
  changed[3] = (changed[3] as number) ^ 1;
  const refused = (part: Partial<typeof signed>) =>
    codeOf(() => verifier.verify('qiao.control.v1', { ...signed, ...part }, w.health.certificate));
  expect(refused({ payload: changed })).toBe('SIGNATURE_INVALID');
  expect(refused({ signature: signed.signature.subarray(0, 63) })).toBe('SIGNATURE_INVALID');
  expect(refused({ signature: new Uint8Array(0) })).toBe('SIGNATURE_MISSING');
  expect(refused({ suite: 'none' })).toBe('SUITE_UNKNOWN');
  expect(codeOf(() => verifier.verify('qiao.control.v1', undefined, w.health.certificate))).toBe('SIGNATURE_MISSING');
});

test("another node's certificate does not verify a signature, named or not", async () => {
  using w = await world();
  const verifier = new Verifier();
  const signed = new Signer(w.health.keyPem, w.health.certificate).sign('qiao.delivery.v1', payload);
  expect(codeOf(() => verifier.verify('qiao.delivery.v1', signed, w.civil.certificate))).toBe('KEY_MISMATCH');
  const renamed = { ...signed, keyId: new Signer(w.civil.keyPem, w.civil.certificate).keyId };
  expect(codeOf(() => verifier.verify('qiao.delivery.v1', renamed, w.civil.certificate))).toBe('SIGNATURE_INVALID');
});

test('a key that is not the certificate’s makes no signer', async () => {
  using w = await world();
  expect(codeOf(() => new Signer(w.civil.keyPem, w.health.certificate))).toBe('KEY_MISMATCH');
});

test('a message past 1 MiB is neither signed nor verified', async () => {
  using w = await world();
  const signer = new Signer(w.health.keyPem, w.health.certificate);
  const large = new Uint8Array(1024 * 1024 + 1);
  expect(codeOf(() => signer.sign('qiao.snapshot.v1', large))).toBe('SIGNED_TOO_LARGE');
  const signed = signer.sign('qiao.snapshot.v1', payload);
  expect(
    codeOf(() => new Verifier().verify('qiao.snapshot.v1', { ...signed, payload: large }, w.health.certificate)),
  ).toBe('SIGNED_TOO_LARGE');
});

test('the suite takes keys on P-256 only', () => {
  const other = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({
    format: 'der',
    type: 'spki',
  });
  expect(codeOf(() => p256Sha256.verify(other, payload, new Uint8Array(64)))).toBe('KEY_INVALID');
  expect(codeOf(() => p256Sha256.sign(Buffer.from('no key'), payload))).toBe('KEY_INVALID');
});

test('a node signs its own word again under its new key, and only when it must', async () => {
  using w = await world();
  const before = new Signer(w.health.keyPem, w.health.certificate).sign('qiao.receipt.v1', payload);
  const signer = new Signer(w.civil.keyPem, w.civil.certificate);
  const after = signer.renew('qiao.receipt.v1', before);
  new Verifier().verify('qiao.receipt.v1', after, w.civil.certificate);
  expect(signer.renew('qiao.receipt.v1', after)).toBe(after);
});
