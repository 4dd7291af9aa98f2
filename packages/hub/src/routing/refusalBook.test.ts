import { expect, test } from 'vitest';
import { START_MS, TestWorld } from '../world.testing.ts';
import { RefusalBook, type RefusalNote } from './refusalBook.ts';

function note(change: Partial<RefusalNote>): RefusalNote {
  const place = { bridge: '', laneId: '', epoch: 0n, sequence: 0n };
  return { atMs: START_MS, fromNode: 'health', code: 'HEADER_INVALID', message: 'm', ...place, ...change };
}

async function audited(world: TestWorld) {
  const rows = await world.store.selectFrom('audit').selectAll().orderBy('number').execute();
  return rows.map((row) => ({ subject: row.subject, atMs: row.at_ms, ...JSON.parse(row.detail_json) }));
}

test('alternating refusals of a node are a few entries of the audit in a minute, and one that counts the rest', async () => {
  await using world = await TestWorld.create();
  const book = new RefusalBook(world.store);
  for (let round = 0; round < 50; round += 1) {
    await book.record(note({ atMs: START_MS + round, code: round % 2 === 0 ? 'HEADER_INVALID' : 'FENCED' }));
  }
  await book.record(note({ fromNode: 'civil' }));
  expect((await audited(world)).map(({ subject }) => subject)).toEqual([...Array(10).fill('health'), 'civil']);
  await book.tellRest(START_MS + 59_999);
  expect(await audited(world)).toHaveLength(11);
  await book.tellRest(START_MS + 60_000);
  const entries = await audited(world);
  expect(entries).toHaveLength(12);
  expect(entries.at(-1)).toMatchObject({ subject: 'health', atMs: START_MS + 49, times: 40 });
  await book.tellRest(Number.POSITIVE_INFINITY);
  expect(await audited(world)).toHaveLength(12);
});

test('a new minute counts anew and tells the rest of the old one first', async () => {
  await using world = await TestWorld.create();
  const book = new RefusalBook(world.store);
  const flood = async (atMs: number) => {
    await Promise.all(
      Array.from({ length: 15 }, (_, index) =>
        book.record(note({ atMs, laneId: index.toString(16).padStart(32, '0') })),
      ),
    );
  };
  await flood(START_MS);
  await flood(START_MS + 60_000);
  const entries = await audited(world);
  expect(entries).toHaveLength(21);
  expect(entries[10]).toMatchObject({ subject: 'health', times: 5 });
});

test('a node that floods pushes out its own refusals and nobody else’s', async () => {
  await using world = await TestWorld.create();
  const book = new RefusalBook(world.store);
  await book.record(note({ fromNode: 'civil' }));
  for (let round = 0; round < 3; round += 1) {
    const lanes = Array.from({ length: 500 }, (_, index) => (round * 500 + index).toString(16).padStart(32, '0'));
    await Promise.all(lanes.map((laneId) => book.record(note({ laneId }))));
  }
  const rows = await world.store.selectFrom('refusals').select(['from_node', 'lane_id']).orderBy('id').execute();
  expect(rows.filter((row) => row.from_node === 'civil')).toHaveLength(1);
  const kept = rows.filter((row) => row.from_node === 'health');
  expect(kept).toHaveLength(1_000);
  expect(kept.at(-1)?.lane_id).toBe((1_499).toString(16).padStart(32, '0'));
});

test('a long message is cut', async () => {
  await using world = await TestWorld.create();
  await new RefusalBook(world.store).record(note({ message: 'x'.repeat(5_000) }));
  const row = await world.store.selectFrom('refusals').select('message').executeTakeFirstOrThrow();
  expect(row.message).toHaveLength(1_000);
});
