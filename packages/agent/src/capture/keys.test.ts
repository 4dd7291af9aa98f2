import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { KeyEncoder } from './keys.ts';

const integer = { type: 'integer', bits: 64 } as const;
const text = { type: 'text' } as const;

const field = fc
  .string({ unit: 'grapheme', maxLength: 20 })
  .map((value) =>
    value.replace(/[\\\t\n\r\0]/g, (c) => ({ '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' })[c] ?? ''),
  );
const number = fc.bigInt({ min: -(1n << 63n), max: (1n << 64n) - 1n });

function encode(encoder: KeyEncoder, line: string): string {
  const bytes = Buffer.from(`${line}\n`);
  return encoder.encode(bytes, 0, bytes.length - 1);
}

test('a key turns back into the very text it came from', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(number, field, fc.oneof(field, fc.constant('\\N'), fc.constant('007'), fc.constant('-0')), field),
      ),
      (rows) => {
        const encoder = new KeyEncoder([integer, text, integer]);
        const keys = rows.map(([a, b, c, rest]) => ({
          text: `${a}\t${b}\t${c}`,
          key: encode(encoder, `${a}\t${b}\t${c}\t${rest}`),
        }));
        for (const { text, key } of keys) expect(encoder.decode(key).toString()).toBe(`${text}\n`);
      },
    ),
  );
});

test('ascending integers are ascending keys', () => {
  fc.assert(
    fc.property(number, number, (a, b) => {
      const encoder = new KeyEncoder([integer]);
      const [first, second] = [encode(encoder, `${a}\tx`), encode(encoder, `${b}`)];
      expect([first < second, first === second]).toEqual([a < b, a === b]);
    }),
  );
});

test('different keys never share their bytes', () => {
  fc.assert(
    fc.property(fc.tuple(field, field), fc.tuple(field, field), (a, b) => {
      const encoder = new KeyEncoder([text, text]);
      const same = a[0] === b[0] && a[1] === b[1];
      expect(encode(encoder, a.join('\t')) === encode(encoder, b.join('\t'))).toBe(same);
    }),
  );
});

test('an empty text is a key too, and comes after "nothing"', () => {
  const encoder = new KeyEncoder([text]);
  expect(encode(encoder, '\tvalue').length).toBe(1);
  expect(encoder.decode(encode(encoder, '\tvalue')).toString()).toBe('\n');
});
