import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { ComparisonKey } from './comparisonKey.ts';

const secret = new Uint8Array(32).fill(7);
const context = Buffer.from('lane and number');

describe('the key of a comparison', () => {
  test('digests are HMAC-SHA-256 under a key of their own, cut to 128 bits, whatever the length of the row', () => {
    const key = new ComparisonKey(secret);
    const rowKey = createHmac('sha256', secret).update('qiao.compare.v1\0row').digest();
    for (const length of [0, 1, 63, 64, 4_032, 4_033, 20_000, 3]) {
      const row = Buffer.alloc(length, 'r');
      expect(key.digest(row)).toBe(createHmac('sha256', rowKey).update(row).digest('hex').slice(0, 32));
    }
  });

  test('another key gives other digests, hashes of keys and buckets; the same key the same', () => {
    const other = new ComparisonKey(new Uint8Array(32).fill(8));
    const [one, two] = [new ComparisonKey(secret), new ComparisonKey(secret)];
    const row = Buffer.from('1\t王\n');
    expect([one.digest(row), one.keyHash(row)]).toEqual([two.digest(row), two.keyHash(row)]);
    expect(one.digest(row)).not.toBe(other.digest(row));
    expect(one.keyHash(row)).not.toBe(one.digest(row));
    const buckets = (key: ComparisonKey) => Array.from({ length: 64 }, (_, n) => key.bucket(Buffer.from(`${n}`), 16));
    expect(buckets(one)).toEqual(buckets(two));
    expect(buckets(one)).not.toEqual(buckets(other));
  });

  test('keys in sequence fall evenly into buckets', () => {
    const key = new ComparisonKey(secret);
    const counts = new Uint32Array(64);
    for (let n = 0; n < 64_000; n++) {
      const bucket = key.bucket(Buffer.from(String(n)), 6);
      counts[bucket] = (counts[bucket] as number) + 1;
    }
    expect(Math.min(...counts)).toBeGreaterThan(800);
    expect(Math.max(...counts)).toBeLessThan(1_200);
    expect(key.bucket(Buffer.from('x'), 0)).toBe(0);
  });

  test('only the same key, side and context opens what was sealed', () => {
    const key = new ComparisonKey(secret);
    const sealed = key.seal('question', Buffer.from('which rows'), context);
    expect(Buffer.from(key.open('question', sealed, context)).toString()).toBe('which rows');
    const other = new ComparisonKey(new Uint8Array(32).fill(8));
    expect(() => key.open('reading', sealed, context)).toThrow(/opened/);
    expect(() => key.open('question', sealed, Buffer.from('elsewhere'))).toThrow(/opened/);
    expect(() => other.open('question', sealed, context)).toThrow(/opened/);
    expect(() => key.open('question', sealed.subarray(0, 9), context)).toThrow(/opened/);
    expect(() => new ComparisonKey(new Uint8Array(31))).toThrow(/32/);
  });
});
