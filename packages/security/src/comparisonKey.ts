/**
 * The key under which two ends compare their rows: row digests, key hashes and what they write to each other all come from
 * it, each under a label of its own. Only the two ends hold it, so that nobody else can guess a row from its digest.
 */
import { createCipheriv, createDecipheriv, createHmac, type Hmac, randomBytes } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';
import { Mac } from './mac.ts';

/** Bytes of the key itself. */
export const COMPARISON_KEY_BYTES = 32;
const DIGEST_DIGITS = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Who writes: an answer is never valid as a question. */
export type ComparisonSide = 'question' | 'reading';

export class ComparisonKey {
  readonly #row: Mac;
  readonly #key: Mac;
  readonly #text: Buffer;
  readonly #sides: Readonly<Record<ComparisonSide, Buffer>>;
  readonly #seed: number;

  /** `secret`: 32 random bytes. Throws COMPARISON_KEY_INVALID. */
  constructor(secret: Uint8Array) {
    if (secret.length !== COMPARISON_KEY_BYTES) {
      throw new QiaoError(
        'COMPARISON_KEY_INVALID',
        `found a comparison key of ${secret.length} bytes, expected ${COMPARISON_KEY_BYTES}`,
      );
    }
    const derive = (label: string) => createHmac('sha256', secret).update(`qiao.compare.v1\0${label}`).digest();
    this.#row = new Mac(derive('row'));
    this.#key = new Mac(derive('key'));
    this.#text = derive('text');
    this.#sides = { question: derive('question'), reading: derive('reading') };
    this.#seed = derive('bucket').readUInt32LE(0);
  }

  /** HMAC-SHA-256 of a row's compared columns, cut to 128 bits: 32 hexadecimal digits. */
  digest(row: Uint8Array): string {
    return this.#row.of(row).slice(0, DIGEST_DIGITS);
  }

  /** HMAC-SHA-256 of many rows, which the caller adds as they come. */
  text(): Hmac {
    return createHmac('sha256', this.#text);
  }

  /** HMAC-SHA-256 of a row's canonical key, cut to 128 bits: 32 hexadecimal digits. */
  keyHash(key: Uint8Array): string {
    return this.#key.of(key).slice(0, DIGEST_DIGITS);
  }

  /** The bucket of a key among 2^bits. Spreads evenly and differs from job to job; it hides nothing by itself. */
  bucket(key: Uint8Array, bits: number): number {
    let mixed = this.#seed;
    for (let at = 0; at < key.length; at++) {
      mixed = Math.imul(mixed ^ (key[at] as number), 0x5bd1e995);
      mixed ^= mixed >>> 15;
    }
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    mixed ^= mixed >>> 16;
    return bits === 0 ? 0 : mixed >>> (32 - bits);
  }

  /** Seals bytes for the other end, bound to `context`: nonce, ciphertext, tag. */
  seal(side: ComparisonSide, content: Uint8Array, context: Uint8Array): Uint8Array {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#sides[side], nonce);
    cipher.setAAD(context);
    return Buffer.concat([nonce, cipher.update(content), cipher.final(), cipher.getAuthTag()]);
  }

  /** Throws COMPARISON_UNREADABLE for what was not sealed so. */
  open(side: ComparisonSide, sealed: Uint8Array, context: Uint8Array): Uint8Array {
    try {
      const end = sealed.length - TAG_BYTES;
      const decipher = createDecipheriv('aes-256-gcm', this.#sides[side], sealed.subarray(0, NONCE_BYTES));
      decipher.setAAD(context);
      decipher.setAuthTag(sealed.subarray(end));
      return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, end)), decipher.final()]);
    } catch (cause) {
      throw new QiaoError('COMPARISON_UNREADABLE', 'a message of a comparison cannot be opened', { cause });
    }
  }
}
