/**
 * Hashes that stand for values: HMAC-SHA-256 under a key that a node keeps, one key of its own for each scope. Who does not have the
 * key can neither find a value by trying all of them, as with a bare hash of an identity number, nor join the rows of two scopes.
 */
import { createHash, hkdfSync } from 'node:crypto';
import type { Hasher } from '@qiao/exchange';
import { Mac } from './mac.ts';

export interface MaskHasher {
  /** Says which key it is and nothing of it. */
  readonly keyName: string;
  /** 64 hexadecimal digits. */
  readonly hash: Hasher;
}

/** `key`: 32 bytes. */
export function createMaskHasher(key: Uint8Array): MaskHasher {
  const derived = (label: string) => new Uint8Array(hkdfSync('sha256', key, new Uint8Array(0), label, 32));
  const scopes = new Map<string, Mac>();
  return {
    keyName: createHash('sha256').update(derived('qiao.masking.key.v1')).digest('hex').slice(0, 16),
    hash(scope, text) {
      let own = scopes.get(scope);
      if (own === undefined) scopes.set(scope, (own = new Mac(derived(`qiao.masking.scope.v1/${scope}`))));
      return own.of(Buffer.from(text, 'utf8'));
    },
  };
}
