/**
 * Hashes under this node's masking key. The key is made at the agent's first start, so that every backup of an exchange database has
 * it, and looked for when the first value is hashed after a later one: under another key every hash would be another, and destinations
 * could join nothing to what they have.
 */
import { existsSync } from 'node:fs';
import { type Hasher, QiaoError } from '@qiao/exchange';
import { createMaskHasher, openHostKey } from '@qiao/security';
import type { MetaStore } from '../exchange-database/meta.ts';

/** The function throws MASKING_KEY_MISSING. */
export function nodeHasher(file: string, meta: Pick<MetaStore, 'maskingKeyName' | 'setMaskingKeyName'>): Hasher {
  let hasher = meta.maskingKeyName() === undefined ? openHasher(file, meta) : undefined;
  return (scope, text) => {
    hasher ??= openHasher(file, meta);
    return hasher(scope, text);
  };
}

function openHasher(file: string, meta: Pick<MetaStore, 'maskingKeyName' | 'setMaskingKeyName'>): Hasher {
  const known = meta.maskingKeyName();
  if (known !== undefined && !existsSync(file)) throw keyMissing(`${file} does not exist`);
  const { keyName, hash } = createMaskHasher(openHostKey(file, { create: true }));
  if (known === undefined) meta.setMaskingKeyName(keyName);
  else if (known !== keyName) throw keyMissing(`${file} holds key ${keyName}, values were hashed with key ${known}`);
  return hash;
}

function keyMissing(why: string): QiaoError {
  return new QiaoError('MASKING_KEY_MISSING', `values cannot be hashed as before: ${why}`, {
    hint: 'put masking.key back from the agent’s backup',
  });
}
