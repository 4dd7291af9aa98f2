/** Promises C1–C6, and D4 about tables that are read by a cursor. */
import { comparable, compareValues } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import type { DataSource, SnapshotCursor, SnapshotTable, SourceSnapshot } from '../adapter.ts';
import { collect, dayText, type Fixture, snapshotTable, type Waivers } from './fixture.ts';

function createTable({ dialect: { timestampType = 'timestamp' } }: Fixture): string {
  return `CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, no bigint, at ${timestampType}, day date, amount numeric(10, 2), x text)`;
}

export function cursorContract(make: () => Promise<Fixture>, waivers: Waivers): void {
  describe('reading by a cursor', () => {
    test('the highest value is the highest of what the snapshot sees, by the type’s own order', async () => {
      await using fixture = await make();
      await fixture.sql(createTable(fixture));
      await using empty = await open(fixture.dataSource);
      expect(await highest(empty, fixture.dataSource, 'no')).toBeUndefined();
      await empty[Symbol.asyncDispose]();
      await fixture.sql(`INSERT INTO t VALUES (1, 9, '2024-01-02 00:00:00', '2024-01-02', 9.5, 'a'),
        (2, 10, '2024-01-01 23:59:59.5', '2024-02-01', 10, 'b'), (3, NULL, NULL, NULL, NULL, 'c'), (4, -3, '1999-12-31 00:00:00', '1999-12-31', -3, 'd')`);
      await using snapshot = await open(fixture.dataSource);
      await fixture.sql("INSERT INTO t VALUES (5, 99, '2024-03-01 00:00:00', '2024-03-01', 99, 'later')");
      expect(await highest(snapshot, fixture.dataSource, 'no')).toBe('10');
      expect(await highest(snapshot, fixture.dataSource, 'at')).toBe('2024-01-02 00:00:00');
      expect(await highest(snapshot, fixture.dataSource, 'day')).toBe(dayText(fixture, '2024-02-01'));
      expect(await highest(snapshot, fixture.dataSource, 'amount')).toBe('10.00');
    });

    test('no value above the given one counts, however far it lies in the future', async () => {
      await using fixture = await make();
      await fixture.sql(createTable(fixture));
      await fixture.sql(`INSERT INTO t VALUES (1, 1, '2024-01-02 10:00:00', '2024-01-02', 1, 'a'),
        (2, 2, '2024-01-02 10:00:00.001', '2024-01-03', 1, 'b'), (3, 3, '9999-12-31 00:00:00', '9999-12-31', 1, 'c')`);
      await using snapshot = await open(fixture.dataSource);
      expect(await highest(snapshot, fixture.dataSource, 'at', '2024-01-02 10:00:00')).toBe('2024-01-02 10:00:00');
      expect(await highest(snapshot, fixture.dataSource, 'day', dayText(fixture, '2024-01-02'))).toBe(
        dayText(fixture, '2024-01-02'),
      );
      expect(await highest(snapshot, fixture.dataSource, 'at', '2024-01-01 00:00:00')).toBeUndefined();
    });

    test('every row at or above the value is read once, ties and later rows included', async () => {
      await using fixture = await make();
      await fixture.sql(createTable(fixture));
      const rows = Array.from(
        { length: 3_000 },
        (_, i) =>
          `(${i}, ${i % 1000}, '2024-01-01 00:${String(i % 60).padStart(2, '0')}:00', '2024-01-01', ${i % 1000}, 'x${i}')`,
      );
      await fixture.sql(`INSERT INTO t VALUES ${rows.join(', ')}`);
      for (const [column, since, isIn] of [
        ['no', '990', (i: number) => i % 1000 >= 990],
        ['amount', '995.00', (i: number) => i % 1000 >= 995],
        ['at', '2024-01-01 00:58:00', (i: number) => i % 60 >= 58],
        ['no', '0', () => true],
        ['no', '1000', () => false],
      ] as const) {
        const { read, refused } = await idsSince(fixture.dataSource, column, since);
        expect(new Set(read).size).toBe(read.length);
        const wanted = Array.from({ length: 3_000 }, (_, i) => i).filter(isIn);
        expect(wanted.filter((id) => !read.includes(id))).toEqual([]);
        expect(refused).toEqual([]);
      }
    });

    test('a window of few rows is not the whole table', async () => {
      await using fixture = await make();
      await fixture.sql(createTable(fixture));
      await fixture.sql('CREATE INDEX t_no ON t (no)');
      const rows = Array.from({ length: 5_000 }, (_, i) => `(${i}, ${i}, NULL, NULL, NULL, 'x')`);
      await fixture.sql(`INSERT INTO t VALUES ${rows.join(', ')}`);
      const { read } = await idsSince(fixture.dataSource, 'no', '4990');
      expect(read).toEqual([4990, 4991, 4992, 4993, 4994, 4995, 4996, 4997, 4998, 4999]);
    });

    test('rows without a value are left out and counted in every reading, whole, from a value on, and in steps', async () => {
      await using fixture = await make();
      await fixture.sql(createTable(fixture));
      await fixture.sql(
        "INSERT INTO t VALUES (1, 1, NULL, NULL, NULL, 'a'), (2, NULL, NULL, NULL, NULL, 'b'), (3, NULL, NULL, NULL, NULL, 'c')",
      );
      for (const options of [{ since: undefined }, { since: '5' }, { since: undefined, stepRows: 1 }]) {
        const { read, refused } = await idsSince(fixture.dataSource, 'no', options.since, options.stepRows);
        expect(read).toEqual(options.since === undefined ? [1] : []);
        expect(refused).toEqual([{ code: 'CURSOR_NULL', column: 'no', count: 2 }]);
      }
    });

    test('the clock is not ahead of what the database takes for now afterwards', async () => {
      await using fixture = await make();
      const before = Date.now();
      await using snapshot = await open(fixture.dataSource);
      const { nowSeconds } = fixture.dialect;
      const [[seconds] = []] = nowSeconds === undefined ? [[Date.now() / 1000]] : await fixture.query(nowSeconds);
      const now = await cursorOf(snapshot).nowMs();
      expect(now).toBeLessThanOrEqual(Number(seconds) * 1000 + 999);
      expect(now).toBeGreaterThanOrEqual(before - 60_000);
    });

    test('the horizon of a database at rest is past, and one that does not tell who is open has none', async () => {
      await using fixture = await make();
      await fixture.sql(createTable(fixture));
      await using snapshot = await open(fixture.dataSource);
      let horizon = await cursorOf(snapshot).horizon();
      expect(horizon !== undefined).toBe(waivers.horizon === undefined);
      await snapshot[Symbol.asyncDispose]();
      // Where a server tells of all its databases together, those of other tests end by and by.
      while (horizon !== undefined) horizon = await fixture.dataSource.remainsOpen?.(horizon);
    });

    test('a table has the same identity in each snapshot', async () => {
      await using fixture = await make();
      await fixture.sql(createTable(fixture));
      const identity = async () => {
        await using snapshot = await open(fixture.dataSource);
        return await cursorOf(snapshot).identity({ name: 't' });
      };
      const first = await identity();
      await fixture.sql("INSERT INTO t VALUES (1, 1, NULL, NULL, NULL, 'a')");
      expect(await identity()).toBe(first);
      expect(first).not.toBe('');
    });

    test('the check names a column that cannot be one, its missing index with the DDL, and that it may be null', async () => {
      await using fixture = await make();
      await fixture.sql(createTable(fixture));
      const { timestampType = 'timestamp' } = fixture.dialect;
      await fixture.sql(`CREATE TABLE good (id bigint NOT NULL PRIMARY KEY, at ${timestampType} NOT NULL)`);
      await fixture.sql('CREATE INDEX good_at ON good (at)');
      const check = async (name: string, cursor: string) => {
        const problems = await fixture.dataSource.checkSource([{ table: name, ref: { name }, cursor }]);
        return problems
          .filter(({ path }) => path !== '')
          .map(({ code, path, warning }) => `${code} ${path}${warning === true ? ' (warning)' : ''}`)
          .toSorted();
      };
      const unseen = (path: string) =>
        waivers.horizon === undefined ? [] : [`CURSOR_HORIZON_UNPROVEN ${path} (warning)`];
      expect(await check('good', 'at')).toEqual(unseen('good.at'));
      expect(await check('t', 'x')).toEqual(['CURSOR_TYPE t.x']);
      expect(await check('t', 'gone')).toEqual(['COLUMN_MISSING t.gone']);
      expect(await check('t', 'at')).toEqual([
        ...unseen('t.at'),
        'CURSOR_NOT_INDEXED t.at (warning)',
        'CURSOR_NULLABLE t.at (warning)',
      ]);
      const [found] = (await fixture.dataSource.checkSource([{ table: 't', ref: { name: 't' }, cursor: 'at' }])).filter(
        ({ code }) => code === 'CURSOR_NOT_INDEXED',
      );
      await fixture.sql((found?.hint ?? '').replace(' CONCURRENTLY', ''));
      expect(await check('t', 'at')).toEqual([...unseen('t.at'), 'CURSOR_NULLABLE t.at (warning)']);
    });
  });
}

function open(dataSource: DataSource): Promise<SourceSnapshot> {
  return dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
}

function cursorOf(snapshot: SourceSnapshot): SnapshotCursor {
  if (snapshot.cursor === undefined) throw new Error('the snapshot cannot be read by a cursor');
  return snapshot.cursor;
}

async function highest(snapshot: SourceSnapshot, dataSource: DataSource, column: string, atMost?: string) {
  const { columns } = await snapshotTable(dataSource, 't', ['id', column]);
  const type = columns[1]?.type ?? { type: 'text' };
  const found = await cursorOf(snapshot).highest({ ref: { name: 't' }, column, type }, atMost);
  if (found !== undefined && atMost !== undefined) {
    expect(compareValues(comparable(type, found), comparable(type, atMost))).toBeLessThanOrEqual(0);
  }
  return found;
}

/** Ids of the rows from `since` on, in ascending order, and what was refused. */
async function idsSince(dataSource: DataSource, column: string, since: string | undefined, stepRows?: number) {
  const table = await snapshotTable(dataSource, 't', ['id', column]);
  const type = table.columns[1]?.type ?? { type: 'text' as const };
  const read: SnapshotTable = { ...table, cursor: { column, type, since } };
  await using snapshot = await dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000, stepRows });
  const { rows, refused } = await collect(snapshot.rows(read), 2);
  return { read: rows.map(([id]) => Number(id)).toSorted((a, b) => a - b), refused };
}
