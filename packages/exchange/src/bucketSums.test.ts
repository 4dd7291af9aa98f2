import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BucketSums, bucketBits } from './bucketSums.ts';

const digest = fc.stringMatching(/^[0-9a-f]{32}$/);
const MODULUS = 2n ** 128n;

function sumOf(digests: readonly string[]): string {
  const sum = digests.reduce((total, one) => (total + BigInt(`0x${one}`)) % MODULUS, 0n);
  return sum.toString(16).padStart(32, '0');
}

describe('sums of rows', () => {
  test('the sum of a bucket is the sum of its digests modulo 2^128', () => {
    fc.assert(
      fc.property(fc.array(digest, { maxLength: 40 }), (digests) => {
        const sums = new BucketSums(0);
        for (const one of digests) sums.add(0, one);
        const bytes = Buffer.from(sums.encode());
        expect(bytes.readUInt32LE(0)).toBe(digests.length);
        expect(Buffer.from(bytes.subarray(4)).reverse().toString('hex')).toBe(sumOf(digests));
      }),
    );
  });

  test('the order of rows plays no part, and both ends read each other', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(15), digest), { maxLength: 60 }), (rows) => {
        const here = new BucketSums(4);
        const there = new BucketSums(4);
        for (const [bucket, one] of rows) here.add(bucket, one);
        for (const [bucket, one] of rows.toReversed()) there.add(bucket, one);
        const read = BucketSums.decode(there.encode(), 4);
        expect(here.differing(read)).toEqual([]);
        expect(read.rows).toBe(rows.length);
      }),
    );
  });

  test('a row that is missing, doubled or changed makes its bucket differ; a doubled pair does not cancel out', () => {
    const a = '0f'.repeat(16);
    const sums = (digests: readonly string[]) => {
      const made = new BucketSums(3);
      for (const one of digests) made.add(5, one);
      return made;
    };
    expect(sums([a]).differing(sums([]))).toEqual([5]);
    expect(sums([a]).differing(sums([a, a]))).toEqual([5]);
    expect(sums([a]).differing(sums([a, a, a]))).toEqual([5]);
    expect(sums([a]).differing(sums(['0e'.repeat(16)]))).toEqual([5]);
  });

  test('more additions than a limb holds exactly stay exact', () => {
    const sums = new BucketSums(0);
    const most = 'f'.repeat(32);
    const rows = 2 ** 21 + 3;
    for (let row = 0; row < rows; row++) sums.add(0, most);
    const expected = (BigInt(rows) * (MODULUS - 1n)) % MODULUS;
    expect(Buffer.from(Buffer.from(sums.encode()).subarray(4)).reverse().toString('hex')).toBe(
      expected.toString(16).padStart(32, '0'),
    );
  });

  test('sums of another size are refused', () => {
    expect(() => BucketSums.decode(new Uint8Array(21), 0)).toThrow(/20|buckets/);
    expect(() => BucketSums.decode(new Uint8Array(20), 17)).toThrow(/bits/);
  });

  test('buckets grow with the table and end at 2^16', () => {
    expect([0, 32, 33, 1_000_000, 10 ** 9].map(bucketBits)).toEqual([0, 0, 1, 15, 16]);
  });
});
