import { idText } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { TestWorld } from '../world.testing.ts';
import { LaneBooks } from './laneBooks.ts';

/** Two replicas of the hub, each with books of its own over one lane. */
async function twoReplicas() {
  const world = await TestWorld.create();
  const [from, to] = [await world.join('health'), await world.join('archive')];
  const lane = idText((await world.bridge('people', from, to)).laneId);
  const books = [new LaneBooks(world.store), new LaneBooks(await world.storeOf('hub-2'))] as const;
  for (const one of books) await one.load();
  const row = () => world.store.selectFrom('lanes').selectAll().where('id', '=', lane).executeTakeFirstOrThrow();
  return { world, lane, books, row, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

const nonce = (value: number) => new Uint8Array(16).fill(value);

test('an epoch is whose it became on disk first, whichever replica opened it', async () => {
  await using it = await twoReplicas();
  const [one, two] = it.books;
  await one.openEpoch(it.lane, 1n, nonce(1));
  await two.openEpoch(it.lane, 1n, nonce(2));
  expect(two.place(it.lane)).toMatchObject({ highestEpoch: 1n, nonce: nonce(1) });
});

test('a replica learns at its next look that another one opened a higher epoch', async () => {
  await using it = await twoReplicas();
  const [one, two] = it.books;
  await one.openEpoch(it.lane, 3n, nonce(3));
  expect(two.place(it.lane).highestEpoch).toBe(0n);
  await two.load();
  expect(two.place(it.lane)).toMatchObject({ highestEpoch: 3n, nonce: nonce(3) });
});

test('what replicas count is added up, and the highest sequence stays the highest', async () => {
  await using it = await twoReplicas();
  const [one, two] = it.books;
  await one.openEpoch(it.lane, 1n, nonce(1));
  await two.load();
  for (const sequence of [1n, 3n, 5n]) one.countRouted(it.lane, 1n, sequence);
  for (const sequence of [2n, 4n]) two.countRouted(it.lane, 1n, sequence);
  two.countRefused(it.lane);
  await one.flush();
  await two.flush();
  await two.flush();
  expect(await it.row()).toMatchObject({ routed_sequence: 5, routed_deliveries: 5, refused_deliveries: 1 });
});

test('a replica that has not heard of the new epoch does not write the old one’s sequence into it', async () => {
  await using it = await twoReplicas();
  const [one, two] = it.books;
  await one.openEpoch(it.lane, 1n, nonce(1));
  await two.load();
  two.countRouted(it.lane, 1n, 40n);
  await one.openEpoch(it.lane, 2n, nonce(2));
  await two.flush();
  expect(await it.row()).toMatchObject({ highest_epoch: 2, routed_sequence: 0, routed_deliveries: 1 });
});
