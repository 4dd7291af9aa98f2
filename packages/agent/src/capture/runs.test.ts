// Runs of lines that came as before are passed over whole; whatever moves within them is found all the same.

import { parseId } from '@qiao/exchange';
import * as fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { BRIDGE_ID, CaptureWorld, type MemoryDestination, type MemoryTable } from './captureWorld.testing.ts';
import { KeyEncoder } from './keys.ts';
import { wantRows } from './wantedRows.ts';

const PADDING = 'x'.repeat(150);
const line = (id: number, version: number) => `${id}\tversion ${version} ${PADDING}`;

function table(ids: readonly number[]): MemoryTable {
  return {
    columns: [
      { name: 'id', type: { type: 'integer', bits: 64 } },
      { name: 'name', type: { type: 'text' } },
    ],
    key: ['id'],
    lines: ids.map((id) => line(id, 0)),
  };
}

const everySecond = (count: number) => Array.from({ length: count }, (_none, index) => 2 * index + 2);

/** A destination asks for a whole row. */
function want({ database }: CaptureWorld, id: number): void {
  const rows = Buffer.from(`${id}\n`);
  const columns = ['id'];
  wantRows(database, parseId(BRIDGE_ID), [
    { table: 'person', kind: 'delete', columns, keyColumns: 1, rowCount: 1, rows, wholeRows: true },
  ]);
}

/** A job has sent a delete: the destination has no such row, and its digest goes. */
function forget({ database }: CaptureWorld, destination: MemoryDestination, id: number): void {
  const key = KeyEncoder.ofEncoding('i').encode(Buffer.from(`${id}\n`), 0, `${id}`.length);
  if (database.digests.get(1, key) === undefined) return;
  destination.tables.get('person')?.delete(`${id}`);
  database.digests.remove(1, [key]);
  database.captures.countDigests(1, -1);
}

/** A table that is at rest, in an agent that was just started: its next scan makes all of its runs. */
async function justStarted(world: CaptureWorld, people: MemoryTable): Promise<MemoryDestination> {
  world.addTable('person', people);
  const destination = world.addLane();
  await world.scan();
  await world.deliver();
  world.reopen();
  destination.outcomes.length = 0;
  return destination;
}

test('a scan of a table at rest looks at no digest', async () => {
  using world = new CaptureWorld();
  world.addTable('person', table(everySecond(3_000)));
  world.addLane();
  await world.scan();
  const range = vi.spyOn(world.database.digests, 'range');
  const { rows } = await world.scan();
  expect(rows).toBe(3_000);
  expect(range).not.toHaveBeenCalled();
});

test('digests that are forgotten are sent again, whatever was known of their runs', async () => {
  using world = new CaptureWorld();
  const people = table(everySecond(1_000));
  world.addTable('person', people);
  const destination = world.addLane();
  await world.scan();
  await world.deliver();
  destination.outcomes.length = 0;
  world.database.digests.put(1, [{ key: 'B10', digest: '', sent: true }]);
  await world.scan();
  await world.deliver();
  expect(destination.outcomes).toEqual(['update']);
  while (world.database.digests.forgetSome(1, 300) > 0);
  await world.scan();
  await world.deliver();
  expect(destination.outcomes).toHaveLength(1_001);
});

test('a row that is asked for while a scan reads on is answered by the next one', async () => {
  using world = new CaptureWorld();
  const destination = await justStarted(world, table(everySecond(3_000)));
  world.onChunk = (taken) => {
    // The source has no row 11.
    if (taken === 1) for (const id of [11, 100]) want(world, id);
  };
  await world.scan();
  world.onChunk = () => {};
  await world.scan();
  await world.deliver();
  expect(destination.outcomes.toSorted()).toEqual(['delete-missing', 'update']);
});

test('a row whose delete a job sends while a scan reads on is brought by the next one', async () => {
  using world = new CaptureWorld();
  const people = table(everySecond(3_000));
  const destination = await justStarted(world, people);
  world.onChunk = (taken) => {
    if (taken === 1) forget(world, destination, 100);
  };
  await world.scan();
  world.onChunk = () => {};
  await world.scan();
  await world.deliver();
  expect(destination.outcomes).toEqual(['insert-missing']);
  expect(destination.rows('person')).toEqual([...people.lines].sort());
});

test('a row that is asked for after its place was passed, and then comes, is no second one', async () => {
  using world = new CaptureWorld();
  const people = table(everySecond(600));
  const destination = await justStarted(world, people);
  people.lines = [...people.lines.slice(300), line(11, 0), ...people.lines.slice(0, 300)];
  world.chunkRows = 100;
  world.onChunk = (taken) => {
    if (taken === 1) want(world, 11);
  };
  await world.scan();
  await world.deliver();
  expect(destination.rows('person')).toEqual([...people.lines].sort());
});

test('a run that is dropped while its rest is waited for leaves the lines of the next one whole', async () => {
  using world = new CaptureWorld();
  const people = table(everySecond(2_500));
  // The first run ends with a line of many times the length of a run.
  people.lines[200] += 'x'.repeat(400_000);
  world.chunkRows = 3_000;
  const destination = await justStarted(world, people);
  await world.scan();
  people.lines = people.lines.slice(201);
  world.chunkRows = 900;
  world.deleteGuard = { rows: 100_000, share: 1 };
  world.onChunk = (taken) => {
    if (taken === 1) want(world, 10);
  };
  await world.scan();
  await world.deliver();
  expect(destination.rows('person')).toEqual([...people.lines].sort());
});

test('a destination that is bound later gets every row, also those of runs', async () => {
  using world = new CaptureWorld();
  const people = table(everySecond(2_000));
  world.addTable('person', people);
  world.addLane();
  await world.scan();
  const late = world.addLane();
  people.lines[700] = line(1_402, 1);
  await world.scan();
  await world.deliver();
  expect(late.rows('person')).toEqual([...people.lines].sort());
  expect(late.outcomes).toHaveLength(2_000);
});

/** What happens to the table between two scans: rows from a place on are changed, deleted or come between others. */
const edit = fc.record({
  what: fc.constantFrom('update' as const, 'delete' as const, 'insert' as const),
  at: fc.nat(1_200),
  rows: fc.constantFrom(1, 2, 7, 130, 400),
});
/** What others do to the digests while a scan is between two chunks. */
const outsideWrite = fc.record({
  what: fc.constantFrom('want' as const, 'forget' as const),
  afterChunk: fc.integer({ min: 1, max: 4 }),
  id: fc.nat(1_200),
});
const step = fc.record({
  edits: fc.array(edit, { maxLength: 3 }),
  chunkRows: fc.constantFrom(60, 150, 333, 2_000),
  /** The source gives the second half of its rows first. */
  isTurned: fc.constantFrom(false, false, false, true),
  isNewProcess: fc.boolean(),
  outsideWrites: fc.oneof(fc.constant([]), fc.array(outsideWrite, { minLength: 1, maxLength: 8 })),
});

test('whatever changes between scans, each difference is sent once and nothing else', { timeout: 60_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 5 }), async (steps) => {
      using world = new CaptureWorld();
      const people = table(everySecond(600));
      world.addTable('person', people);
      world.deleteGuard = { rows: 100_000, share: 1 };
      const destination = world.addLane();
      await world.scan();
      await world.deliver();
      const rows = new Map(people.lines.map((text) => [Number.parseInt(text, 10), text]));
      for (const [round, { edits, chunkRows, isTurned, isNewProcess, outsideWrites }] of steps.entries()) {
        const before = new Map(rows);
        for (const { what, at, rows: count } of edits) {
          for (let id = at; id < at + count; id++) {
            if (what === 'delete') rows.delete(id);
            else if (what === 'insert' || rows.has(id)) rows.set(id, line(id, round + 1));
          }
        }
        const sorted = [...rows].sort(([a], [b]) => a - b).map(([, text]) => text);
        const half = isTurned ? Math.floor(sorted.length / 2) : 0;
        people.lines = [...sorted.slice(half), ...sorted.slice(0, half)];
        world.chunkRows = chunkRows;
        destination.outcomes.length = 0;
        if (isNewProcess) world.reopen();
        world.onChunk = (taken) => {
          for (const { what, afterChunk, id } of outsideWrites) {
            if (afterChunk !== taken) continue;
            if (what === 'want') {
              // The destination asks because it has something else.
              if (rows.has(id)) destination.tables.get('person')?.delete(`${id}`);
              else destination.tables.get('person')?.set(`${id}`, line(id, -1));
              want(world, id);
            } else if (rows.has(id) && !isTurned) forget(world, destination, id);
          }
        };
        const result = await world.scan();
        world.onChunk = () => {};
        await world.deliver();
        expect(result.rows).toBe(rows.size);
        if (outsideWrites.length > 0) {
          await world.scan();
          await world.deliver();
          expect(destination.rows('person')).toEqual([...sorted].sort());
          continue;
        }
        expect(destination.rows('person')).toEqual([...sorted].sort());
        const differences = [...new Set([...before.keys(), ...rows.keys()])].filter(
          (id) => before.get(id) !== rows.get(id),
        );
        expect(destination.outcomes).toHaveLength(differences.length);
      }
    }),
    { numRuns: 25 },
  );
});
