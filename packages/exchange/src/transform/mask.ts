/** Masks: characters covered, and hashes under the node's key. */
import type { Hash, Hasher, Mask } from './transform.ts';

/** Covers the characters between the first and the last kept ones; a value too short to hide any of is covered whole. */
export function masked(value: string, { keepFirst, keepLast, with: cover }: Mask): string {
  const characters = Array.from(value);
  const hidden = characters.length - keepFirst - keepLast;
  if (hidden <= 0) return cover.repeat(characters.length);
  const end = keepLast === 0 ? '' : characters.slice(-keepLast).join('');
  return characters.slice(0, keepFirst).join('') + cover.repeat(hidden) + end;
}

/** Digits of a whole hash: HMAC-SHA-256 in hexadecimal. */
export const HASH_DIGITS = 64;

export function hashed(value: string, { scope, digits }: Hash, hasher: Hasher): string {
  return hasher(scope, value).slice(0, digits);
}
