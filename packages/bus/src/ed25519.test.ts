import { createUser, fromPublic, fromSeed } from 'nkeys.js';
import { getEd25519Helper } from 'nkeys.js/lib/helper.js';
import { expect, test } from 'vitest';
import './ed25519.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));

test('a seed gives the key and the signature of RFC 8032, 7.1, test 3', () => {
  const { fromSeed: pairOf, sign, verify } = getEd25519Helper();
  const { publicKey, secretKey } = pairOf(hex('c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7'));
  expect(publicKey).toEqual(hex('fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025'));
  const signature = sign(hex('af82'), secretKey);
  expect(signature).toEqual(
    hex(
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    ),
  );
  expect(verify(hex('af82'), signature, publicKey)).toBe(true);
  expect(verify(hex('af83'), signature, publicKey)).toBe(false);
  expect(verify(hex('af82'), signature.subarray(1), publicKey)).toBe(false);
});

test('a key of NATS signs, and its public key alone knows the signature', () => {
  const user = createUser();
  const word = new TextEncoder().encode('nonce');
  const signature = fromSeed(user.getSeed()).sign(word);
  expect(fromPublic(user.getPublicKey()).verify(word, signature)).toBe(true);
  expect(fromPublic(createUser().getPublicKey()).verify(word, signature)).toBe(false);
});
