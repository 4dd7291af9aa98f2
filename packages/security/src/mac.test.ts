import { createHmac } from 'node:crypto';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Mac } from './mac.ts';

test('it is the HMAC-SHA-256 of OpenSSL, whatever came before under the same key', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.array(fc.uint8Array({ maxLength: 5_000 })), (key, messages) => {
      const mac = new Mac(key);
      for (const message of messages) {
        expect(mac.of(message)).toBe(createHmac('sha256', key).update(message).digest('hex'));
      }
    }),
  );
});

test('a key longer than a block is refused', () => {
  expect(() => new Mac(new Uint8Array(65))).toThrow('65 bytes');
});
