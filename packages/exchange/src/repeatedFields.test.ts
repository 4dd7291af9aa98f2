import { BookEntries, HelloRequest } from '@qiao/contract/control';
import { DeliveryHeader } from '@qiao/contract/delivery';
import { expect, test } from 'vitest';
import { isWithin } from './repeatedFields.ts';
import { BOOK_ENTRIES_LIMITS, HEADER_LIMITS } from './wireLimits.ts';

const lanes = (count: number) => Array.from({ length: count }, () => ({ laneId: new Uint8Array(16) }));

test('a repeated field is counted in the bytes, whatever stands beside it', () => {
  const hello = HelloRequest.encode(
    HelloRequest.fromPartial({ nodeId: new Uint8Array(16), version: '1', sending: lanes(3), clockMs: 5n }),
  ).finish();
  const has = (number: number, most: number) => isWithin(hello, { [number]: { most } });
  expect([has(5, 3), has(5, 2), has(9, 0)]).toEqual([true, false, true]);
});

test('messages inside a message are counted in, each for itself', () => {
  const unpacked = { bridgeId: new Uint8Array(16), capture: [{}, {}] };
  const entry = { number: 1n, entry: { $case: 'unpacked' as const, value: unpacked } };
  const entries = BookEntries.encode(BookEntries.fromPartial({ entries: [entry, entry] })).finish();
  const capture = (most: number) => isWithin(entries, { 1: { inside: { 7: { inside: { 2: { most } } } } } });
  expect([capture(2), capture(1)]).toEqual([true, false]);
});

test('bytes that are no message end the count and throw nothing', () => {
  for (const bytes of [[0xff, 0xff], [0x0a, 0xff, 0x01], [0x0f, 0x01], [0x0b, 0x0b, 0x0c], Array(20).fill(0xff)]) {
    expect(isWithin(Uint8Array.from(bytes), { 1: { most: 0 } })).toBe(true);
  }
});

test('the largest header and the fullest books that may be are within their limits, one more of anything is not', () => {
  const most = {
    counts: Array.from({ length: 1_000 }, () => ({ table: 't' })),
    parts: Array.from({ length: 64 }, () => ({ bytes: 1 })),
    receipts: { settled: Array.from({ length: 1_000 }, () => ({ first: 1n, last: 1n })) },
    role: { $case: 'rows' as const, value: { incompleteTables: Array(1_000).fill('t') } },
  };
  const isHeader = (header: Parameters<typeof DeliveryHeader.fromPartial>[0]) =>
    isWithin(DeliveryHeader.encode(DeliveryHeader.fromPartial(header)).finish(), HEADER_LIMITS);
  expect(isHeader(most)).toBe(true);
  expect(isHeader({ ...most, counts: Array.from({ length: 1_001 }, () => ({})) })).toBe(false);
  expect(isHeader({ ...most, parts: Array.from({ length: 65 }, () => ({})) })).toBe(false);
  expect(isHeader({ ...most, receipts: { settled: Array.from({ length: 1_001 }, () => ({})) } })).toBe(false);
  expect(isHeader({ role: { $case: 'rows', value: { incompleteTables: Array(1_001).fill('') } } })).toBe(false);
  const areEntries = (count: number) =>
    isWithin(
      BookEntries.encode(BookEntries.fromPartial({ entries: Array.from({ length: count }, () => ({})) })).finish(),
      BOOK_ENTRIES_LIMITS,
    );
  expect([areEntries(1_000), areEntries(1_001)]).toEqual([true, false]);
});
