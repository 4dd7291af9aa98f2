import { BookEntry } from '@qiao/contract/control';
import { Statement } from '@qiao/contract/receipt';
import { type BridgeTable, parseId } from '@qiao/exchange';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openEpoch } from '../send/lanes.ts';
import { BRIDGE_ID, CaptureWorld, type MemoryTable } from './captureWorld.testing.ts';

const integer = { type: 'integer', bits: 64 } as const;
const text = { type: 'text' } as const;

function people(lines: string[] = []): MemoryTable {
  return {
    columns: [
      { name: 'id', type: integer },
      { name: 'name', type: text },
    ],
    key: ['id'],
    lines,
  };
}

/** Rows that the books call refused so far. */
function refusedRows({ database }: CaptureWorld): bigint {
  const entries = database.books.after(0n, 1_000).map(({ entry }) => BookEntry.decode(entry).entry);
  const counts = entries.flatMap((entry) => {
    if (entry?.$case === 'unpacked') return entry.value.capture;
    if (entry?.$case !== 'statement') return [];
    return Statement.decode(entry.value.payload).capture;
  });
  return counts.reduce((sum, { refused }) => sum + refused, 0n);
}

function numbered(count: number, value = 'v'): string[] {
  return Array.from({ length: count }, (_, i) => `${i + 1}\t${value}${i + 1}`);
}

describe('a scan', () => {
  test('loads a new destination, then sends only what changed', async () => {
    using world = new CaptureWorld();
    const table = people(numbered(5_000));
    world.addTable('person', table);
    const destination = world.addLane();
    world.parcelBytes = 16 * 1024;
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toEqual([...table.lines].sort());

    destination.outcomes.length = 0;
    table.lines = [...table.lines.slice(1, 99), '100\tchanged', ...table.lines.slice(100), '9000\tnew'];
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toEqual([...table.lines].sort());
    expect(destination.outcomes.sort()).toEqual(['delete', 'insert-missing', 'update']);
  });

  test('of an unchanged table packs nothing and writes no digest', async () => {
    using world = new CaptureWorld();
    world.addTable('person', people(numbered(3_000)));
    world.addLane();
    await world.scan();
    const writes = (): unknown => world.database.sqlite.prepare('SELECT total_changes()').pluck().get();
    const sequence = world.database.lanesOut.all()[0]?.lastSequence;
    const before = writes() as number;
    await world.scan();
    expect(world.database.lanesOut.all()[0]?.lastSequence).toBe(sequence);
    expect((writes() as number) - before).toBeLessThan(20);
  });

  test('begins a load once and ends it once, also when there is nothing to load', async () => {
    using world = new CaptureWorld();
    world.addTable('person', people());
    const destination = world.addLane();
    destination.tables.set('person', new Map([['1', '1\tleft over']]));
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toEqual([]);
    expect(world.database.lanesOut.all()[0]?.phase).toBe('streaming');
  });

  test('gives a destination that is bound later a load of its own, and the others only changes', async () => {
    using world = new CaptureWorld();
    const table = people(numbered(500));
    world.addTable('person', table);
    const first = world.addLane();
    await world.scan();
    await world.deliver();
    first.outcomes.length = 0;
    const second = world.addLane();
    table.lines[7] = '8\tchanged';
    await world.scan();
    await world.deliver();
    expect(first.outcomes).toEqual(['update']);
    expect(second.rows('person')).toEqual([...table.lines].sort());
    expect(second.outcomes).toHaveLength(500);
  });

  test('whose only lane began a new epoch meanwhile states no row that no parcel carries', async () => {
    using world = new CaptureWorld();
    const table = people(numbered(10));
    world.addTable('person', table);
    const destination = world.addLane();
    await world.scan();
    table.lines = [...table.lines, '11\tnew'];
    const [lane] = world.lanes;
    if (lane === undefined) throw new Error('no lane');
    world.onSnapshot = () => openEpoch(world.ports, world.desired.bridges.get(BRIDGE_ID) as never, lane, 2n, 'loading');
    await world.scan();
    world.onSnapshot = () => {};
    const unpacked = world.database.books
      .after(0n, 100)
      .map(({ entry }) => BookEntry.decode(entry).entry)
      .flatMap((entry) => (entry?.$case === 'unpacked' ? entry.value.capture : []));
    expect(unpacked).toEqual([]);
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toHaveLength(11);
  });

  test('that is interrupted calls nothing deleted, and the next one finds everything', async () => {
    using world = new CaptureWorld();
    const table = people(numbered(5_000));
    world.addTable('person', table);
    const destination = world.addLane();
    world.parcelBytes = 8 * 1024;
    await world.scan();
    await world.deliver();
    table.lines = table.lines.filter((_, i) => i % 10 !== 0).map((line, i) => (i % 7 === 0 ? `${line}x` : line));
    destination.outcomes.length = 0;
    world.failAfterChunks = 2;
    await expect(world.scan()).rejects.toThrow('went away');
    world.reopen();
    await world.deliver();
    expect(destination.outcomes).not.toContain('delete');
    world.failAfterChunks = Number.POSITIVE_INFINITY;
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toEqual([...table.lines].sort());
  });

  test('refuses two rows of one key, whatever the order they come in', async () => {
    for (const lines of [
      ['1\ta', '1\tb'],
      ['1\ta', '2\tb', '1\tc'],
      ['2\ta', '1\tb', '2\tc'],
    ]) {
      for (const chunkRows of [1, 10]) {
        using world = new CaptureWorld();
        world.chunkRows = chunkRows;
        world.addTable('person', people(lines));
        world.addLane();
        await expect(world.scan()).rejects.toMatchObject({ code: 'KEY_NOT_UNIQUE' });
      }
    }
  });

  test('sends parents before children and deletes children before parents', async () => {
    using world = new CaptureWorld();
    const child = { ...people(['1\tc']), parents: ['parent'] };
    const parent = people(['1\tp']);
    world.addTable('child', child);
    world.addTable('parent', parent);
    const destination = world.addLane();
    const order: string[] = [];
    const apply = destination.tables.set.bind(destination.tables);
    destination.tables.set = (name, rows) => {
      order.push(name);
      return apply(name, rows);
    };
    await world.scan();
    await world.deliver();
    expect(order).toEqual(['parent', 'child']);
    child.lines = [];
    parent.lines = [];
    order.length = 0;
    await world.scan();
    await world.deliver();
    expect(order).toEqual(['child', 'parent']);
  });

  test('holds deletes while the adapter leaves rows out, because the missing may be among them', async () => {
    using world = new CaptureWorld();
    const table = people(numbered(10));
    world.addTable('person', table);
    const destination = world.addLane();
    await world.scan();
    table.lines = table.lines.slice(1);
    table.refused = 1;
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toHaveLength(10);
    table.refused = 0;
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toHaveLength(9);
  });

  test('of a table with a row that a dictionary of another column refuses still sends its deletes', async () => {
    using world = new CaptureWorld();
    const table = people(['1\ta', '2\ta']);
    const transform: BridgeTable['transform'] = [
      { rename: { name: 'title' } },
      { dictionary: { column: 'title', map: { a: 'A' }, otherwise: 'refuse' } },
    ];
    world.addTable('person', table, { transform });
    const destination = world.addLane();
    await world.scan();
    table.lines = ['2\ta', '3\tunknown'];
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toEqual(['2\tA']);
    expect(world.database.captures.holding(parseId(BRIDGE_ID))).toEqual([]);
  });

  test('of a table with rows that the source cannot give still sends its deletes: such a row is asked for by its key', async () => {
    using world = new CaptureWorld();
    const table = people(['1\ta', '2\tb', '3\tc', '4\td', '5\te']);
    world.addTable('person', table);
    const destination = world.addLane();
    await world.scan();
    table.lines = ['3\tc', '5\te'];
    table.refusedKeys = ['1', '4', '9'];
    for (const expected of [
      ['1\ta', '3\tc', '4\td', '5\te'],
      ['1\ta', '3\tc', '4\td'],
    ]) {
      await world.scan();
      await world.deliver();
      expect(destination.rows('person')).toEqual(expected);
      expect(world.database.captures.holding(parseId(BRIDGE_ID))).toEqual([]);
      table.lines = ['3\tc'];
    }
    const { refusals } = world.database;
    expect(refusals.counts(1)).toEqual([{ code: 'VALUE_INVALID', column: 'x', count: 3 }]);
    expect(refusals.rows(1, 10)).toHaveLength(2);
    expect(refusedRows(world)).toBe(3n);
    // They can be carried again, or are gone.
    table.lines = ['1\tz', '3\tc', '9\tn'];
    table.refusedKeys = [];
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toEqual(['1\tz', '3\tc', '9\tn']);
    expect(refusals.counts(1)).toEqual([]);
  });

  test('holds the deletes of a table with more refused rows than are asked for, and of one that names them by their places', async () => {
    using world = new CaptureWorld();
    const table = people(numbered(1_100));
    world.addTable('person', table);
    const destination = world.addLane();
    await world.scan();
    const [gone = ''] = table.lines;
    table.refusedKeys = table.lines.slice(1).map((line) => line.split('\t', 1)[0] as string);
    table.lines = [];
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toContain(gone);
    const held = { name: 'person', refused: 1_099, nameless: 1_099, heldDeletes: 1_100 };
    expect(world.database.captures.holding(parseId(BRIDGE_ID))).toEqual([held]);
  });

  test('counts a row whose key cannot be made once per content, and holds deletes until it can', async () => {
    using world = new CaptureWorld();
    const table: MemoryTable = {
      columns: [
        { name: 'id', type: text },
        { name: 'name', type: text },
      ],
      key: ['id'],
      lines: ['a\t1', 'b\t2'],
    };
    const map = { a: 'A', b: 'B', c: 'C' };
    world.addTable('person', table, { transform: [{ dictionary: { column: 'id', map, otherwise: 'refuse' } }] });
    const destination = world.addLane();
    await world.scan();
    const refused = async (lines: string[]): Promise<bigint> => {
      table.lines = lines;
      await world.scan();
      return refusedRows(world);
    };
    expect(await refused(['b\t2', 'x\t3', 'y\t4'])).toBe(2n);
    expect(await refused(['b\t2', 'x\t3', 'y\t4'])).toBe(2n);
    expect(await refused(['b\t2', 'c\t5', 'x\tchanged', 'y\t4'])).toBe(3n);
    expect(await refused(['b\t2', 'c\t5', 'x\tchanged'])).toBe(3n);
    expect(await refused(['b\t2', 'c\t5', 'x\tchanged', 'y\t4'])).toBe(4n);
    await world.deliver();
    expect(destination.rows('person')).toEqual(['A\t1', 'B\t2', 'C\t5']);
    const held = { name: 'person', refused: 0, nameless: 2, heldDeletes: 1 };
    expect(world.database.captures.holding(parseId(BRIDGE_ID))).toEqual([held]);

    expect(await refused(['b\t2', 'c\t5'])).toBe(4n);
    await world.deliver();
    expect(destination.rows('person')).toEqual(['B\t2', 'C\t5']);
    expect(world.database.captures.holding(parseId(BRIDGE_ID))).toEqual([]);
    expect(world.database.digests.after(1, '', 10)).toHaveLength(2);
  });

  test('remembers what the last scan refused: counts by code and column, keys under references that stay', async () => {
    using world = new CaptureWorld();
    const table = people(['1\ta', '2\t ', '3\tc', '4\t\\N']);
    world.addTable('person', table, {
      checks: [
        { column: 'name', required: true },
        { column: 'name', dictionary: ['a'] },
      ],
    });
    world.addLane();
    await world.scan();
    const { refusals } = world.database;
    expect(refusals.counts(1)).toEqual([
      { code: 'DICTIONARY_UNKNOWN_VALUE', column: 'name', count: 1 },
      { code: 'REQUIRED_MISSING', column: 'name', count: 2 },
    ]);
    const first = refusals.rows(1, 10);
    expect(first.map(({ ref, ...row }) => [/^[0-9a-f]{20}$/.test(ref), row.code])).toEqual([
      [true, 'REQUIRED_MISSING'],
      [true, 'DICTIONARY_UNKNOWN_VALUE'],
      [true, 'REQUIRED_MISSING'],
    ]);
    expect(new Set(first.map(({ ref }) => ref)).size).toBe(3);
    table.lines = ['1\ta', '2\ta', '4\t\\N'];
    await world.scan();
    expect(refusals.rows(1, 10)).toEqual([first[2]]);
    table.lines = [];
    await world.scan();
    expect([refusals.rows(1, 10), refusals.counts(1)]).toEqual([[], []]);
  });

  test('loads anew when the key of a table changes', async () => {
    using world = new CaptureWorld();
    const table = people(['1\ta', '2\tb']);
    world.addTable('person', table);
    const destination = world.addLane();
    await world.scan();
    world.version = 2;
    world.tables.set('person', {
      columns: [
        { name: 'name', type: text },
        { name: 'id', type: integer },
      ],
      key: ['name'],
      lines: ['a\t1', 'b\t2'],
    });
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toEqual(['a\t1', 'b\t2']);
  });
});

describe('the deleteGuard', () => {
  test('stops an emptied source from emptying its destinations, until a person allows it', async () => {
    using world = new CaptureWorld();
    const table = people(numbered(3_000));
    world.addTable('person', table);
    const destination = world.addLane();
    await world.scan();
    table.lines = ['1\tchanged'];
    const guarded = await world.scan();
    await world.deliver();
    expect(guarded.guarded).toMatchObject({ code: 'DELETE_GUARD' });
    expect(guarded.guarded?.hint).toContain('--allow-deletes 2999');
    expect(destination.rows('person')).toHaveLength(3_000);
    expect(destination.rows('person')).toContain('1\tchanged');

    const stuck = () => world.database.captures.get(parseId(BRIDGE_ID))?.stuck?.code;
    expect(stuck()).toBe('DELETE_GUARD');

    // Changes go on, and the rows that come back end it.
    table.lines = ['1\tagain'];
    expect((await world.scan()).guarded).toBeDefined();
    await world.deliver();
    expect(destination.rows('person')).toContain('1\tagain');
    table.lines = numbered(3_000);
    expect((await world.scan()).guarded).toBeUndefined();
    expect(stuck()).toBeUndefined();
    table.lines = ['1\tchanged'];

    world.allowedDeletes = 2_998n;
    expect((await world.scan()).guarded).toBeDefined();
    world.allowedDeletes = 2_999n;
    expect((await world.scan()).guarded).toBeUndefined();
    await world.deliver();
    expect(destination.rows('person')).toEqual(['1\tchanged']);
  });

  test('lets a small share of a large table go', async () => {
    using world = new CaptureWorld();
    world.deleteGuard = { rows: 10, share: 0.05 };
    const table = people(numbered(1_000));
    world.addTable('person', table);
    const destination = world.addLane();
    await world.scan();
    table.lines = table.lines.slice(50);
    expect((await world.scan()).guarded).toBeUndefined();
    await world.deliver();
    expect(destination.rows('person')).toHaveLength(950);
  });
});

describe('a filter', () => {
  test('makes leaving rows deletes and entering rows inserts, and counts each change of a row outside once', async () => {
    using world = new CaptureWorld();
    const table = people(['1\tin', '2\tout', '3\tin']);
    world.addTable('person', table, { where: "name = 'in'" });
    const destination = world.addLane();
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toEqual(['1\tin', '3\tin']);
    destination.outcomes.length = 0;
    table.lines = ['1\tout', '2\tin', '3\tin'];
    await world.scan();
    await world.deliver();
    expect(destination.outcomes.sort()).toEqual(['delete', 'insert-missing']);
    expect(destination.rows('person')).toEqual(['2\tin', '3\tin']);
    table.lines = ['1\tfar out', '3\tin'];
    await world.scan();
    await world.deliver();
    expect(destination.rows('person')).toEqual(['3\tin']);
  });
});

test('whatever changes, in whatever order the source answers, wherever a scan breaks off, destinations end equal to the source', async () => {
  const key = fc.integer({ min: -40, max: 40 });
  const rows = fc.uniqueArray(fc.tuple(key, fc.integer({ min: 0, max: 3 })), { selector: ([id]) => id, maxLength: 60 });
  const round = fc.record({
    rows,
    isOrdered: fc.boolean(),
    chunkRows: fc.integer({ min: 1, max: 20 }),
    breaksAfter: fc.option(fc.integer({ min: 0, max: 8 }), { nil: undefined }),
    binds: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 6 }), fc.boolean(), async (rounds, isTextKey) => {
      using world = new CaptureWorld();
      world.parcelBytes = 256;
      const table = people();
      if (isTextKey)
        Object.assign(table, {
          columns: [
            { name: 'id', type: text },
            { name: 'name', type: text },
          ],
        });
      world.addTable('person', table);
      world.addLane();
      for (const { rows: next, isOrdered, chunkRows, breaksAfter, binds } of rounds) {
        if (binds && world.lanes.length < 3) world.addLane();
        world.chunkRows = chunkRows;
        table.lines = (isOrdered ? [...next].sort(([a], [b]) => a - b) : next).map(([id, value]) => `${id}\t${value}`);
        if (breaksAfter !== undefined) {
          world.failAfterChunks = breaksAfter;
          const failure = await world.scan().then(
            () => 'none',
            (error: Error) => error.message,
          );
          if (failure !== 'none' && failure !== 'the source went away') throw new Error(failure);
          world.failAfterChunks = Number.POSITIVE_INFINITY;
          world.reopen();
        }
        await world.scan();
        await world.deliver();
        for (const destination of world.destinations) {
          expect(destination.rows('person')).toEqual([...table.lines].sort());
        }
      }
    }),
    { numRuns: 40 },
  );
});
