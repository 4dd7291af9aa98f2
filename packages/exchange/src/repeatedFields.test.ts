import { BookEntries, HelloRequest } from '@qiao/contract/control';
import { expect, test } from 'vitest';
import { hasAtMost, repeatedField } from './repeatedFields.ts';

const lanes = (count: number) => Array.from({ length: count }, () => ({ laneId: new Uint8Array(16) }));

test('a repeated field is counted in the bytes, whatever stands beside it', () => {
  const hello = HelloRequest.encode(
    HelloRequest.fromPartial({ nodeId: new Uint8Array(16), version: '1', sending: lanes(3), clockMs: 5n }),
  ).finish();
  expect([...repeatedField(hello, 5)].map(({ length }) => length)).toEqual([18, 18, 18]);
  expect([hasAtMost(hello, 5, 3), hasAtMost(hello, 5, 2), hasAtMost(hello, 9, 0)]).toEqual([true, false, true]);
});

test('values are views that nested messages are counted in', () => {
  const unpacked = { bridgeId: new Uint8Array(16), capture: [{}, {}] };
  const entries = BookEntries.encode(
    BookEntries.fromPartial({ entries: [{ number: 1n, entry: { $case: 'unpacked', value: unpacked } }] }),
  ).finish();
  const [entry] = repeatedField(entries, 1);
  const [counts] = repeatedField(entry ?? new Uint8Array(), 7);
  expect(hasAtMost(counts ?? new Uint8Array(), 2, 1)).toBe(false);
});

test('bytes that are no message end the count and throw nothing', () => {
  for (const bytes of [[0xff, 0xff], [0x0a, 0xff, 0x01], [0x0f, 0x01], [0x0b, 0x0b, 0x0c], Array(20).fill(0xff)]) {
    expect([...repeatedField(Uint8Array.from(bytes), 1)]).toEqual([]);
  }
});
