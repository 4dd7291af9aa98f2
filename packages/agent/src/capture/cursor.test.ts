import { type BridgeTable, parseId, type Section } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import { BRIDGE_ID } from './captureWorld.testing.ts';
import { CursorWorld } from './cursorWorld.testing.ts';
import { wantRows } from './wantedRows.ts';

const NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')";

describe('capture by a cursor', () => {
  test('loads the whole table, then reads only what lies above the position, and tells inserts from updates', async () => {
    using world = new CursorWorld();
    world.bridgeTables[0] = { ...world.person, cursor: { column: 'at', lagMs: 5_000 } };
    world.fill(2_000);
    await world.scan();
    // The second reading finds nobody open behind the first, so that its candidate is proven.
    expect((await world.scan()).rows).toBeLessThan(2_000);
    await world.deliver();
    expect(world.destination.rows('person')).toEqual(world.rows());

    world.destination.outcomes.length = 0;
    world.sql(`UPDATE person SET name = 'changed', at = ${NOW} WHERE id = 7`);
    world.sql(`INSERT INTO person VALUES (5000, 'new', ${NOW})`);
    const { rows } = await world.scan();
    // SQLite looks from the minute on.
    expect(rows).toBeLessThan(100);
    await world.deliver();
    expect(world.destination.rows('person')).toEqual(world.rows());
    expect(world.destination.outcomes.toSorted()).toEqual(['insert-missing', 'update']);

    world.destination.outcomes.length = 0;
    await world.scan();
    await world.scan();
    await world.deliver();
    expect(world.destination.outcomes).toEqual([]);
  });

  test('concludes no delete, neither from a part nor from the whole table', async () => {
    using world = new CursorWorld();
    world.fill(50);
    await world.scan();
    world.sql('DELETE FROM person WHERE id BETWEEN 5 AND 9');
    await world.scan();
    world.database.cursors.forget(world.tableId);
    await world.scan();
    await world.deliver();
    expect(world.destination.rows('person').length).toBe(50);
    // For the destination, a row that comes back under its key is the one that it has.
    world.destination.outcomes.length = 0;
    world.sql(`INSERT INTO person VALUES (5, 'back', ${NOW})`);
    await world.scan();
    await world.deliver();
    expect(world.destination.outcomes).toEqual(['update']);
  });

  test('loses no row that is committed with the value that the position has', async () => {
    using world = new CursorWorld();
    world.bridgeTables[0] = { ...world.person, cursor: { column: 'at', lagMs: 0 } };
    world.sql("INSERT INTO person VALUES (1, 'a', '2024-05-01 10:00:00')");
    await world.scan();
    for (let id = 2; id < 6; id++) {
      world.sql(`INSERT INTO person VALUES (${id}, 'tie', '2024-05-01 10:00:00')`);
      await world.scan();
    }
    expect(world.state.position).toBe('2024-05-01 10:00:00');
    await world.deliver();
    expect(world.destination.rows('person')).toEqual(world.rows());
    expect(world.destination.outcomes).toEqual(Array(5).fill('insert-missing'));
  });

  test('finds a row whose value lies behind the position by less than the lag', async () => {
    using world = new CursorWorld();
    world.bridgeTables[0] = { ...world.person, cursor: { column: 'at', lagMs: 60_000 } };
    world.fill(3, "'2024-05-01 10:00:00'");
    await world.scan();
    await world.scan();
    world.sql("INSERT INTO person VALUES (10, 'slow', '2024-05-01 09:59:00'), (11, 'too slow', '2024-05-01 09:58:59')");
    await world.scan();
    await world.deliver();
    const ids = world.destination.rows('person').map((line) => line.split('\t')[0]);
    expect(ids).toContain('10');
    // The lag is the promise: what comes later than that is for a longer one, or for a column that the database writes.
    expect(ids).not.toContain('11');
  });

  test('refuses and counts rows without a value, once, and sends them when they have one', async () => {
    using world = new CursorWorld();
    world.fill(10);
    world.sql("INSERT INTO person VALUES (90, 'a', NULL), (91, 'b', NULL)");
    await world.scan();
    await world.scan();
    expect(world.refused).toBe(2n);
    world.sql("INSERT INTO person VALUES (92, 'c', NULL)");
    await world.scan();
    await world.scan();
    expect(world.refused).toBe(3n);
    world.sql(`UPDATE person SET at = ${NOW} WHERE id = 91`);
    await world.scan();
    await world.deliver();
    const ids = world.destination.rows('person').map((line) => line.split('\t')[0]);
    expect([ids.includes('91'), ids.includes('90'), ids.includes('92')]).toEqual([true, false, false]);
  });

  test('books a row that cannot be read once, whether a part or the whole table shows it first', async () => {
    using world = new CursorWorld();
    const unreadable = (id: number, at: string) => world.sql(`INSERT INTO person VALUES (${id}, x'ff', ${at})`);
    for (let id = 1; id <= 5; id++) unreadable(id, "'2024-05-01 10:00:00'");
    world.sql(`INSERT INTO person VALUES (50, 'new', ${NOW}), (51, 'no time', NULL)`);
    const refused: bigint[] = [];
    const scan = async () => {
      await world.scan();
      refused.push(world.refused);
    };
    await scan();
    await scan();
    unreadable(6, NOW);
    await scan();
    await scan();
    world.database.cursors.forget(world.tableId);
    await scan();
    await scan();
    unreadable(7, NOW);
    await scan();
    world.database.cursors.forget(world.tableId);
    await scan();
    expect(refused).toEqual([6n, 6n, 7n, 7n, 7n, 7n, 8n, 8n]);
  });

  test('goes on telling of rows that a part of the table showed to be unfit, until they are mended or the whole is read', async () => {
    using world = new CursorWorld();
    world.bridgeTables[0] = {
      ...world.person,
      checks: [{ column: 'name', required: true }],
      cursor: { column: 'at', lagMs: 0 },
    };
    const told: string[][] = [];
    const scan = async () => {
      await world.scan();
      await world.scan();
      told.push(world.database.refusals.counts(world.tableId).map(({ code, count }) => `${code} ${count}`));
    };
    world.sql("INSERT INTO person VALUES (1, 'first', '2024-05-01 10:00:00')");
    await scan();
    world.sql("INSERT INTO person VALUES (2, x'ff', '2024-05-01 10:00:01'), (3, ' ', '2024-05-01 10:00:01')");
    await scan();
    world.sql("INSERT INTO person VALUES (4, x'ff', '2024-05-01 10:00:02'), (5, 'fit', '2024-05-01 10:00:02')");
    await scan();
    world.sql("INSERT INTO person VALUES (6, 'later', '2024-05-01 10:00:03'), (7, 'no time', NULL)");
    await scan();
    world.sql("UPDATE person SET name = 'mended', at = '2024-05-01 10:00:04' WHERE id IN (2, 3)");
    world.sql("UPDATE person SET at = '2024-05-01 10:00:04' WHERE id = 7");
    await scan();
    world.database.cursors.forget(world.tableId);
    await scan();
    expect(told).toEqual([
      [],
      ['REQUIRED_MISSING 1', 'STORAGE_CLASS 1'],
      ['REQUIRED_MISSING 1', 'STORAGE_CLASS 2'],
      ['CURSOR_NULL 1', 'REQUIRED_MISSING 1', 'STORAGE_CLASS 2'],
      // Nobody can tell which of the unreadable rows was mended before the table is read whole.
      ['STORAGE_CLASS 2'],
      ['STORAGE_CLASS 1'],
    ]);
  });

  test.each(['9999-12-31 00:00:00', '2099-01-01 00:00:00'])(
    'is not silenced by a clock that once said %s',
    async (future) => {
      using world = new CursorWorld();
      world.fill(20);
      world.sql(`INSERT INTO person VALUES (100, 'wrong clock', '${future}')`);
      await world.scan();
      for (let id = 200; id < 204; id++) {
        world.sql(`INSERT INTO person VALUES (${id}, 'later', ${NOW})`);
        await world.scan();
      }
      await world.deliver();
      expect(world.destination.rows('person')).toEqual(world.rows());
      expect(world.destination.outcomes).toEqual(Array(25).fill('insert-missing'));
      // Corrected, it is one more change.
      world.sql(`UPDATE person SET at = ${NOW} WHERE id = 100`);
      await world.scan();
      await world.deliver();
      expect(world.destination.rows('person')).toEqual(world.rows());
    },
  );

  test('reads numbers as numbers, and as many steps back as the bridge says', async () => {
    using world = new CursorWorld();
    world.bridgeTables[0] = { ...world.person, cursor: { column: 'id', lagSteps: 3 } };
    world.sql(`INSERT INTO person VALUES (8, 'a', ${NOW}), (9, 'b', ${NOW}), (10, 'c', ${NOW})`);
    await world.scan();
    await world.scan();
    expect(world.state.position).toBe('10');
    world.sql(`INSERT INTO person VALUES (7, 'late', ${NOW}), (11, 'd', ${NOW}), (6, 'too late', ${NOW})`);
    expect((await world.scan()).rows).toBe(5);
    await world.deliver();
    expect(
      world.destination
        .rows('person')
        .map((line) => line.split('\t')[1] ?? '')
        .toSorted(),
    ).toEqual(['a', 'b', 'c', 'd', 'late']);
  });

  test('moves the position only with the scan’s last parcel', async () => {
    using world = new CursorWorld();
    world.fill(5_000);
    await world.scan();
    await world.scan();
    const before = world.state;
    world.parcelBytes = 4_096;
    world.sql(`UPDATE person SET name = name || '!', at = ${NOW}`);
    const packed = world.packed;
    const stop = new AbortController();
    const { onFlush } = world;
    world.onFlush = () => stop.abort();
    await expect(world.scan(stop.signal)).rejects.toMatchObject({ code: 'CAPTURE_STOPPED' });
    world.onFlush = onFlush;
    expect(world.packed).toBeGreaterThan(packed);
    expect(world.state).toEqual(before);
    world.reopen();
    await world.scan();
    await world.deliver();
    expect(world.destination.rows('person')).toEqual(world.rows());
    expect(world.state.candidate).not.toBe(before.candidate);
  });

  test('reads the whole table for a new destination, and after the bridge’s columns, filter or cursor have changed', async () => {
    using world = new CursorWorld();
    world.fill(100, "'2024-05-01 10:00:00'");
    world.sql(`INSERT INTO person VALUES (1000, 'new', ${NOW})`);
    await world.scan();
    await world.scan();
    expect((await world.scan()).rows).toBeLessThan(100);
    const second = world.addLane();
    expect((await world.scan()).rows).toBe(101);
    const changes: BridgeTable[] = [
      { ...world.person, where: 'id <> 3' },
      { ...world.person, where: 'id <> 3', columns: ['id', 'name'] },
      { ...world.person, where: 'id <> 3', columns: ['id', 'name'], cursor: { column: 'id' } },
    ];
    for (const change of changes) {
      world.bridgeTables[0] = change;
      world.version += 1;
      expect((await world.scan()).rows).toBe(101);
      await world.scan();
      expect((await world.scan()).rows).toBeLessThan(100);
    }
    await world.deliver();
    const expected = world.rows('id, name').filter((line) => !line.startsWith('3\t'));
    expect(world.destination.rows('person')).toEqual(expected);
    expect(second.rows('person')).toEqual(expected);
  });

  test('goes over to compare and back: compare finds what was deleted meanwhile', async () => {
    using world = new CursorWorld();
    world.fill(40);
    await world.scan();
    world.sql('DELETE FROM person WHERE id <= 3');
    await world.scan();
    world.capture = 'compare';
    world.bridgeTables[0] = { name: 'person', transform: [], checks: [] };
    await world.scan();
    await world.deliver();
    expect(world.destination.rows('person')).toEqual(world.rows());
    world.sql("UPDATE person SET name = 'without a new time' WHERE id = 20");
    await world.scan();
    world.capture = 'cursor';
    world.bridgeTables[0] = world.person;
    world.sql("UPDATE person SET name = 'found by the whole reading' WHERE id = 21");
    await world.scan();
    await world.deliver();
    expect(world.destination.rows('person')).toEqual(world.rows());
  });

  test('a source that was put back is read whole, and a person is told until they ask for a run', async () => {
    using world = new CursorWorld();
    world.fill(30, "'2024-05-01 10:00:00'");
    await world.scan();
    await world.scan();
    expect(world.trouble).toBe('');
    world.sql("DELETE FROM person WHERE id > 20; UPDATE person SET at = '2024-04-01 10:00:00', name = 'as it was'");
    expect((await world.scan()).rows).toBe(20);
    expect(world.trouble).toBe('CURSOR_WENT_BACK');
    await world.scan();
    expect(world.trouble).toBe('CURSOR_WENT_BACK');
    await world.deliver();
    // What the backup brought back has arrived; what it does not have stays, for nothing says that it was deleted.
    expect(world.destination.rows('person').slice(-10)).not.toEqual(world.rows());
    expect(world.destination.rows('person').filter((line) => line.includes('as it was'))).toEqual(world.rows());
    expect(world.destination.rows('person').length).toBe(30);
    world.captureRun += 1n;
    await world.scan();
    expect(world.trouble).toBe('');
  });

  test('a row that a destination asks for is sent from below the position, and one that is gone is answered by a delete', async () => {
    using world = new CursorWorld();
    world.fill(30, "'2024-05-01 10:00:00'");
    world.sql(`INSERT INTO person VALUES (1000, 'new', ${NOW})`);
    await world.scan();
    await world.scan();
    world.sql('DELETE FROM person WHERE id IN (4, 5)');
    await world.deliver();
    world.destination.outcomes.length = 0;
    const asked: Section = {
      table: 'person',
      kind: 'delete',
      columns: ['id'],
      keyColumns: 1,
      rowCount: 2,
      rows: Buffer.from('4\n9\n'),
      wholeRows: true,
    };
    wantRows(world.database, parseId(BRIDGE_ID), [asked]);
    await world.scan();
    await world.deliver();
    expect(world.destination.outcomes.toSorted()).toEqual(['delete', 'update']);
    expect(world.destination.rows('person').some((line) => line.startsWith('4\t'))).toBe(false);
    expect(world.destination.rows('person').some((line) => line.startsWith('5\t'))).toBe(true);
  });

  test('names what it cannot go by', async () => {
    using world = new CursorWorld();
    world.fill(1);
    for (const [cursor, code] of [
      [{ column: 'gone' }, 'COLUMN_MISSING'],
      [{ column: 'name' }, 'CURSOR_TYPE'],
      [{ column: 'id', lagMs: 1_000 }, 'CURSOR_LAG'],
      [{ column: 'at', lagSteps: 1 }, 'CURSOR_LAG'],
    ] as const) {
      world.bridgeTables[0] = { ...world.person, cursor };
      await expect(world.scan()).rejects.toMatchObject({ code, fate: 'permanent' });
    }
  });
});
