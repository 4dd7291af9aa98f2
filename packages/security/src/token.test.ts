import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { type JoinToken, makeToken, newSecret, readToken, secretHash } from './token.ts';

const code = fc.stringMatching(/^[a-z][a-z0-9-]{0,31}$/);
const tokens: fc.Arbitrary<JoinToken> = fc.record({
  hubAddress: fc.constantFrom('127.0.0.1:7400', 'hub.example:443', '[::1]:7400'),
  secret: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  authorityFingerprint: fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .map((bytes) => Buffer.from(bytes).toString('hex')),
  platformCode: code,
  nodeCode: code,
});
const invalid = expect.objectContaining({ code: 'TOKEN_INVALID' });

test('a token comes back as it was made, also with white space around it', () => {
  fc.assert(
    fc.property(tokens, (token) => {
      expect(readToken(`  ${makeToken(token)}\n`)).toEqual(token);
    }),
  );
});

test('garbage is refused with a code, and never repeated in the message', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `qiao1.${text}`),
        fc.base64String().map((text) => `qiao1.${text}`),
      ),
      (text) => {
        expect(() => readToken(text)).toThrow(invalid);
      },
    ),
  );
});

test('a token with one character changed or lost is refused', () => {
  fc.assert(
    fc.property(tokens, fc.nat(), fc.boolean(), (token, at, lost) => {
      const text = makeToken(token);
      // The last character of base64url may hold bits that mean nothing; every other one counts.
      const index = 6 + (at % (text.length - 7));
      const changed = text.slice(0, index) + (lost ? '' : text[index] === 'A' ? 'B' : 'A') + text.slice(index + 1);
      expect(() => readToken(changed)).toThrow(invalid);
    }),
  );
});

test('a token that nobody could read back is not made', () => {
  const token = {
    hubAddress: 'no address',
    secret: newSecret(),
    authorityFingerprint: 'ab'.repeat(32),
    platformCode: 'demo',
    nodeCode: 'health',
  };
  expect(() => makeToken(token)).toThrow(invalid);
});

test('the hash that is stored tells secrets apart and is not the secret', () => {
  const [one, two] = [newSecret(), newSecret()];
  expect(secretHash(one)).toBe(secretHash(Uint8Array.from(one)));
  expect(secretHash(one)).not.toBe(secretHash(two));
  expect(secretHash(one)).not.toContain(Buffer.from(one).toString('hex'));
});
