import type { BinaryReader } from '@bufbuild/protobuf/wire';
import { BookEntries, HelloRequest } from '@qiao/contract/control';
import { DeliveryHeader, DeliveryMessage } from '@qiao/contract/delivery';
import { expect, test } from 'vitest';
import { MAX_PARTS, MAX_SETTLED_RUNS, MAX_TABLES, readDelivery } from './header.ts';
import { readMessage } from './readMessage.ts';

const tooMany = expect.objectContaining({
  code: 'MESSAGE_UNREADABLE',
  cause: expect.objectContaining({ message: 'more messages than it may hold' }),
});
const parts = Buffer.alloc(3 * 2 ** 20, Buffer.from([0x92, 0x01, 0x00]));
const epoch = { ordinal: 1n, nonce: new Uint8Array(16) };

function delivered(payload: Uint8Array): Uint8Array {
  return DeliveryMessage.encode(DeliveryMessage.fromPartial({ header: { payload } })).finish();
}

test('messages inside a message are counted, however deep, and it with them', () => {
  const sending = [{ epoch }, { epoch }, {}];
  const hello = HelloRequest.encode(HelloRequest.fromPartial({ sending })).finish();
  expect(readMessage(HelloRequest, hello, 'hello', 6)).toEqual(HelloRequest.fromPartial({ sending }));
  expect(() => readMessage(HelloRequest, hello, 'hello', 5)).toThrow(tooMany);
});

test('a few counts in each of many entries are many counts', () => {
  const unpacked = { $case: 'unpacked' as const, value: { capture: Array.from({ length: 100 }, () => ({})) } };
  const entries = Array.from({ length: 1_000 }, () => ({ entry: unpacked }));
  const bytes = BookEntries.encode(BookEntries.fromPartial({ entries })).finish();
  expect(() => readMessage(BookEntries, bytes, 'entries')).toThrow(tooMany);
});

test('the fullest header that may be is read, one message more in it is not', () => {
  const fullest = DeliveryHeader.fromPartial({
    epoch,
    counts: Array.from({ length: MAX_TABLES }, () => ({ table: 't' })),
    parts: Array.from({ length: MAX_PARTS }, () => ({ bytes: 1 })),
    receipts: { settled: Array.from({ length: MAX_SETTLED_RUNS }, () => ({ first: 1n, last: 1n })) },
    role: { $case: 'opening', value: { previous: epoch } },
  });
  const payload = DeliveryHeader.encode(fullest).finish();
  expect(readDelivery(delivered(payload)).header).toEqual(fullest);
  expect(() => readDelivery(delivered(Buffer.concat([payload, Buffer.from([0x92, 0x01, 0x00])])))).toThrow(tooMany);
});

// Each makes whoever counts the bytes beside the decoder see something else than the decoder does.
test.each([
  ['a length of 2^32, of which a decoder keeps 0', [0x7a, 0x80, 0x80, 0x80, 0x80, 0x10]],
  ['a tag in ten bytes', [0x92, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x00]],
  ['an epoch whose nonce ends after it', [0x42, 0x01, 0x12, 0x03, 0x7a, 0xff, 0x7f]],
])('a header of a million parts is not read behind %s', (_, before) => {
  expect(() => readDelivery(delivered(Buffer.concat([Buffer.from(before), parts])))).toThrow(tooMany);
});

test('a decoder stops where there are too many, and makes no more of them', () => {
  let readBytes = 0;
  const watched = {
    decode(reader: BinaryReader) {
      try {
        return DeliveryHeader.decode(reader);
      } finally {
        readBytes = reader.pos;
      }
    },
  };
  expect(() => readMessage(watched, parts, 'header', 1_000)).toThrow(tooMany);
  expect(readBytes).toBe(3 * 1_000);
});
