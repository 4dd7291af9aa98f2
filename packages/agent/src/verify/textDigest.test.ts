import { createHmac } from 'node:crypto';
import { ComparisonKey } from '@qiao/security';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TextDigest } from './textDigest.ts';

const key = new ComparisonKey(new Uint8Array(32).fill(7));

function digestOf(lines: readonly string[], of: Pick<ComparisonKey, 'text'> = key): string {
  const text = new TextDigest(of);
  for (const line of lines) text.add(Buffer.from(line));
  expect(text.rows).toBe(lines.length);
  return Buffer.from(text.digest()).toString('hex');
}

describe('the digest of all rows', () => {
  test('it is the MAC of the lines, each with its LF, whatever their lengths', () => {
    const plain = { text: () => createHmac('sha256', 'key') };
    const line = fc.oneof(
      fc.string(),
      fc.integer({ min: 65_500, max: 65_600 }).map((length) => 'x'.repeat(length)),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
        const expected = createHmac('sha256', 'key').update(lines.map((each) => `${each}\n`).join(''));
        expect(digestOf(lines, plain)).toBe(expected.digest('hex'));
      }),
    );
  });

  test.each([
    ['a row that differs', ['1\ta', '2\tc']],
    ['a row that is missing', ['1\ta']],
    ['a row that is there twice', ['1\ta', '2\tb', '2\tb']],
    ['another order', ['2\tb', '1\ta']],
    ['a line that ends elsewhere', ['1\ta2', '\tb']],
  ])('%s gives another one', (_what, lines) => {
    expect(digestOf(lines)).not.toBe(digestOf(['1\ta', '2\tb']));
  });

  test('under another key it is another one', () => {
    expect(digestOf(['1\ta'], new ComparisonKey(new Uint8Array(32).fill(8)))).not.toBe(digestOf(['1\ta']));
  });
});
