/**
 * Sums of a set of rows: per bucket a count, and the sum of row digests modulo 2^128. Sums are added, never XORed, so that two
 * equal rows do not cancel out. Two ends with equal sums hold equal rows; buckets that differ say where to look closer. Which
 * bucket a row belongs to, and its digest, come from keyed hashes that the caller makes.
 */
import { QiaoError } from './errors.ts';

/** The most buckets are 2^16. */
export const BUCKET_BITS_MAX = 16;
/** Bytes of one bucket on the wire: count, then the sum, little endian. */
const BUCKET_BYTES = 20;
const LIMBS = 4;
const LIMB = 2 ** 32;
/** The digest being added, as bytes: to cut it into numbers by its digits costs as much as to make it. */
const DIGEST = Buffer.alloc(LIMBS * 4);
const DIGEST_WORDS = new DataView(DIGEST.buffer, DIGEST.byteOffset, DIGEST.length);
/** Limbs are added without carrying as long as they stay exact: 2^20 additions of 2^32 each. */
const ADDITIONS_BEFORE_CARRY = 2 ** 20;
/** Rows that a bucket holds on average, so that a differing one names few rows. */
const ROWS_PER_BUCKET = 32;

export class BucketSums {
  readonly bits: number;
  readonly #counts: Float64Array;
  readonly #limbs: Float64Array;
  #rows = 0;

  constructor(bits: number) {
    if (!Number.isInteger(bits) || bits < 0 || bits > BUCKET_BITS_MAX) {
      throw new QiaoError('SUMS_INVALID', `found ${bits} bits of buckets, expected 0 to ${BUCKET_BITS_MAX}`);
    }
    this.bits = bits;
    this.#counts = new Float64Array(2 ** bits);
    this.#limbs = new Float64Array(2 ** bits * LIMBS);
  }

  /** Adds one row. `digest`: 32 hexadecimal digits. */
  add(bucket: number, digest: string): void {
    const at = bucket * LIMBS;
    DIGEST.write(digest, 'hex');
    for (let limb = 0; limb < LIMBS; limb++) {
      // The last four bytes are the lowest limb.
      this.#limbs[at + limb] = (this.#limbs[at + limb] as number) + DIGEST_WORDS.getUint32(12 - limb * 4);
    }
    const count = (this.#counts[bucket] as number) + 1;
    this.#counts[bucket] = count;
    this.#rows += 1;
    if (count % ADDITIONS_BEFORE_CARRY === 0) this.#carry(bucket);
  }

  /** Rows of all buckets. */
  get rows(): number {
    return this.#rows;
  }

  countOf(bucket: number): number {
    return this.#counts[bucket] ?? 0;
  }

  /** Buckets whose count or sum is another than in `other`, ascending. Throws SUMS_INVALID when they have not as many buckets. */
  differing(other: BucketSums): number[] {
    if (other.bits !== this.bits) throw new QiaoError('SUMS_INVALID', 'sums of different numbers of buckets');
    const buckets: number[] = [];
    for (let bucket = 0; bucket < this.#counts.length; bucket++) {
      if (!this.#equals(other, bucket)) buckets.push(bucket);
    }
    return buckets;
  }

  encode(): Uint8Array {
    const bytes = Buffer.alloc(this.#counts.length * BUCKET_BYTES);
    for (let bucket = 0; bucket < this.#counts.length; bucket++) {
      this.#carry(bucket);
      bytes.writeUInt32LE(this.#counts[bucket] as number, bucket * BUCKET_BYTES);
      for (let limb = 0; limb < LIMBS; limb++) {
        bytes.writeUInt32LE(this.#limbs[bucket * LIMBS + limb] as number, bucket * BUCKET_BYTES + 4 + limb * 4);
      }
    }
    return bytes;
  }

  /** Throws SUMS_INVALID when the bytes are not those of 2^bits buckets. */
  static decode(bytes: Uint8Array, bits: number): BucketSums {
    const sums = new BucketSums(bits);
    if (bytes.length !== sums.#counts.length * BUCKET_BYTES) {
      throw new QiaoError(
        'SUMS_INVALID',
        `found ${bytes.length} bytes of sums, expected ${sums.#counts.length} buckets`,
      );
    }
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let bucket = 0; bucket < sums.#counts.length; bucket++) {
      const count = view.readUInt32LE(bucket * BUCKET_BYTES);
      sums.#counts[bucket] = count;
      sums.#rows += count;
      for (let limb = 0; limb < LIMBS; limb++) {
        sums.#limbs[bucket * LIMBS + limb] = view.readUInt32LE(bucket * BUCKET_BYTES + 4 + limb * 4);
      }
    }
    return sums;
  }

  #equals(other: BucketSums, bucket: number): boolean {
    this.#carry(bucket);
    other.#carry(bucket);
    if (this.#counts[bucket] !== other.#counts[bucket]) return false;
    for (let limb = bucket * LIMBS; limb < (bucket + 1) * LIMBS; limb++) {
      if (this.#limbs[limb] !== other.#limbs[limb]) return false;
    }
    return true;
  }

  /** Brings every limb below 2^32; what is past 2^128 is dropped. */
  #carry(bucket: number): void {
    let over = 0;
    for (let limb = bucket * LIMBS; limb < (bucket + 1) * LIMBS; limb++) {
      const sum = (this.#limbs[limb] as number) + over;
      over = Math.floor(sum / LIMB);
      this.#limbs[limb] = sum - over * LIMB;
    }
  }
}

/** How many bits of buckets a table of so many rows is summed into. */
export function bucketBits(rows: number): number {
  const wanted = Math.ceil(Math.log2(Math.max(rows, 1) / ROWS_PER_BUCKET));
  return Math.min(Math.max(wanted, 0), BUCKET_BITS_MAX);
}
