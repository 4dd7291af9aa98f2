import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { sealing, sealingContext } from './sealing.ts';

const place = {
  laneId: new Uint8Array(16).fill(1),
  epoch: { ordinal: 3n, nonce: new Uint8Array(16).fill(2) },
  sequence: 7n,
  contentHash: new Uint8Array(32).fill(3),
};
const context = sealingContext(place);
const unreadable = expect.objectContaining({ code: 'BODY_UNREADABLE' });

test('what is sealed for a receiver opens at that receiver, byte for byte', async () => {
  const receiver = await sealing.generateKey();
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 5_000 }), async (content) => {
      const sealed = await sealing.seal(content, receiver.publicKey, context);
      expect(sealed.body).toHaveLength(content.length + sealing.overheadBytes);
      expect(sealed.wrappedKey.length).toBeLessThanOrEqual(512);
      expect(Buffer.compare(await sealing.open(sealed, receiver.privateKey, context), content)).toBe(0);
    }),
    { numRuns: 20 },
  );
});

test('content over several slices survives', async () => {
  const receiver = await sealing.generateKey();
  const content = randomBytes(9 * 1024 * 1024 + 5);
  const sealed = await sealing.seal(content, receiver.publicKey, context);
  expect(Buffer.compare(await sealing.open(sealed, receiver.privateKey, context), content)).toBe(0);
});

test('another key reads nothing', async () => {
  const [receiver, neighbour] = [await sealing.generateKey(), await sealing.generateKey()];
  const sealed = await sealing.seal(Buffer.from('row'), receiver.publicKey, context);
  await expect(sealing.open(sealed, neighbour.privateKey, context)).rejects.toThrow(unreadable);
});

test('a body with any bit changed does not open', async () => {
  const receiver = await sealing.generateKey();
  const sealed = await sealing.seal(Buffer.from('a row of some length'), receiver.publicKey, context);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('body' as const, 'wrappedKey' as const),
      fc.nat(),
      fc.nat(7),
      async (part, at, bit) => {
        const bytes = Uint8Array.from(sealed[part]);
        const index = at % bytes.length;
        bytes[index] = (bytes[index] as number) ^ (1 << bit);
        await expect(sealing.open({ ...sealed, [part]: bytes }, receiver.privateKey, context)).rejects.toThrow(
          unreadable,
        );
      },
    ),
    { numRuns: 60 },
  );
  await expect(
    sealing.open({ ...sealed, body: sealed.body.subarray(0, 20) }, receiver.privateKey, context),
  ).rejects.toThrow(unreadable);
});

test('a body moved to another lane, epoch, sequence or content hash does not open', async () => {
  const receiver = await sealing.generateKey();
  const sealed = await sealing.seal(Buffer.from('row'), receiver.publicKey, context);
  const moved = [
    { ...place, laneId: new Uint8Array(16).fill(9) },
    { ...place, epoch: { ...place.epoch, ordinal: 4n } },
    { ...place, epoch: { ...place.epoch, nonce: new Uint8Array(16).fill(9) } },
    { ...place, sequence: 8n },
    { ...place, contentHash: new Uint8Array(32).fill(9) },
  ];
  for (const other of moved) {
    await expect(sealing.open(sealed, receiver.privateKey, sealingContext(other))).rejects.toThrow(unreadable);
  }
});

test('the same content sealed twice shares no bytes that could be compared', async () => {
  const receiver = await sealing.generateKey();
  const content = Buffer.alloc(64, 'x');
  const [one, two] = [
    await sealing.seal(content, receiver.publicKey, context),
    await sealing.seal(content, receiver.publicKey, context),
  ];
  expect(Buffer.compare(one.body.subarray(12), two.body.subarray(12))).not.toBe(0);
  expect(Buffer.compare(one.wrappedKey, two.wrappedKey)).not.toBe(0);
});

test('a sealing key that is no point is refused with its code', async () => {
  await expect(sealing.seal(Buffer.from('row'), new Uint8Array(65), context)).rejects.toThrow(
    expect.objectContaining({ code: 'SEALING_KEY_INVALID' }),
  );
});
