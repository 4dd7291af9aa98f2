/**
 * HMAC-SHA-256 (RFC 2104) over one-shot hashes: an Hmac object per message costs ten times as much as the two hashes it stands for.
 */
import { hash } from 'node:crypto';

const BLOCK_BYTES = 64;
const HASH_BYTES = 32;

export class Mac {
  readonly #outer = Buffer.alloc(BLOCK_BYTES + HASH_BYTES, 0x5c);
  #inner = Buffer.alloc(1_024, 0x36);

  /** `key`: at most 64 bytes, one block; a longer one would have to be hashed first. */
  constructor(key: Uint8Array) {
    if (key.length > BLOCK_BYTES) throw new Error(`a key of ${key.length} bytes is longer than a block`);
    for (let at = 0; at < key.length; at += 1) {
      this.#inner[at] = (key[at] as number) ^ 0x36;
      this.#outer[at] = (key[at] as number) ^ 0x5c;
    }
  }

  /** 64 hexadecimal digits. */
  of(message: Uint8Array): string {
    const needed = BLOCK_BYTES + message.length;
    if (needed > this.#inner.length) {
      const grown = Buffer.alloc(needed * 2);
      this.#inner.copy(grown, 0, 0, BLOCK_BYTES);
      this.#inner = grown;
    }
    this.#inner.set(message, BLOCK_BYTES);
    this.#outer.write(hash('sha256', this.#inner.subarray(0, needed), 'hex'), BLOCK_BYTES, 'hex');
    return hash('sha256', this.#outer, 'hex');
  }
}
