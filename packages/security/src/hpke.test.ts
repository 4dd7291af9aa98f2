import { randomBytes } from 'node:crypto';
import { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, HkdfSha256 } from '@hpke/core';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { importPoint, importScalar, openBase, sealBase } from './hpke.ts';
import { sealing } from './sealing.ts';

const hex = (text: string) => Buffer.from(text, 'hex');
const whole = (bytes: Uint8Array) => Uint8Array.from(bytes).buffer;
const bytes = fc.uint8Array({ maxLength: 300 });

/** Another hand's HPKE, which knows nothing of ours. */
const other = new CipherSuite({ kem: new DhkemP256HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });

test('the first message of RFC 9180, A.3.1, opens', () => {
  const opened = openBase(
    importScalar(hex('f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2')),
    hex(
      '04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4',
    ),
    Buffer.from('Ode on a Grecian Urn'),
    hex('5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434'),
    { aead: { id: 0x0001, cipher: 'aes-128-gcm', keyBytes: 16 }, additionalData: Buffer.from('Count-0') },
  );
  expect(opened.toString()).toBe('Beauty is truth, truth beauty');
});

test('what is sealed here opens with another implementation, and the other way', async () => {
  await fc.assert(
    fc.asyncProperty(bytes, bytes, async (info, text) => {
      const keys = await sealing.generateKey();
      const [publicKey, privateKey] = [importPoint(keys.publicKey), importScalar(keys.privateKey)];

      const [enc, sealed] = sealBase(publicKey, info, text);
      const recipientKey = await other.kem.importKey('raw', whole(keys.privateKey), false);
      const recipient = await other.createRecipientContext({ recipientKey, enc: whole(enc), info: whole(info) });
      expect(Buffer.from(await recipient.open(whole(sealed)))).toEqual(Buffer.from(text));

      const recipientPublicKey = await other.kem.deserializePublicKey(whole(keys.publicKey));
      const sender = await other.createSenderContext({ recipientPublicKey, info: whole(info) });
      const theirs = new Uint8Array(await sender.seal(whole(text)));
      expect(openBase(privateKey, new Uint8Array(sender.enc), info, theirs)).toEqual(Buffer.from(text));
    }),
    { numRuns: 30 },
  );
});

test('a point written any other way or off the curve is no key, nor is a scalar of another length or past the order', async () => {
  const { publicKey } = await sealing.generateKey();
  const y = publicKey[64] as number;
  const hybrid = Buffer.concat([Buffer.of(0x06 | (y & 1)), publicKey.subarray(1)]);
  const compressed = Buffer.concat([Buffer.of(0x02 | (y & 1)), publicKey.subarray(1, 33)]);
  const off = Buffer.concat([publicKey.subarray(0, 64), Buffer.of(y ^ 1)]);
  for (const point of [hybrid, compressed, off, Buffer.alloc(65), Buffer.alloc(0)]) {
    expect(() => importPoint(point), point.toString('hex')).toThrow(/no point in|Failed to read/);
  }
  for (const scalar of [randomBytes(31), randomBytes(33)]) expect(() => importScalar(scalar)).toThrow('a scalar of');
  const order = hex('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');
  const [enc, sealed] = sealBase(importPoint(publicKey), Buffer.alloc(0), Buffer.from('row'));
  for (const scalar of [order, Buffer.alloc(32, 0xff), Buffer.alloc(32)]) {
    expect(() => openBase(importScalar(scalar), enc, Buffer.alloc(0), sealed)).toThrow(/decapsulation|authenticate/);
  }
});
