/** Promises R1, R2, R6–R8 and amend's counting. */
import { type Filter, parseFilter } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import { defaultJournalColumns, type TargetTable } from '../adapter.ts';
import { applied, type Fixture, integer, mirror, openLane, scan, section, snapshotTable, text } from './fixture.ts';

const COLUMNS = ['id', 'city', 'x'];
const DDL = 'CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, city text, x text, own text)';

function table(changes: Partial<TargetTable> = {}): TargetTable {
  return mirror(
    't',
    [
      { name: 'id', type: integer },
      { name: 'city', type: text },
      { name: 'x', type: text },
    ],
    changes,
  );
}

function filter(source: string): Filter {
  const { filter: parsed, problem } = parseFilter(source);
  if (!parsed) throw new Error(problem);
  return parsed;
}

export function rowsContract(make: () => Promise<Fixture>): void {
  describe('applying rows', () => {
    test('inserts count inserted, unchanged and updatedInsteadOfInsert', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fixture.sql(
        `INSERT INTO t VALUES (2, 'c', 'same', 'mine'), (3, 'c', 'old', 'mine'), (4, NULL, NULL, 'mine')`,
      );
      const { target, lane } = await openLane(fixture, [table()]);
      const { cells } = await applied(
        target,
        lane.next([
          section('t', 'insert', COLUMNS, [
            ['1', 'c', 'new'],
            ['2', 'c', 'same'],
            ['3', 'c', 'new'],
            ['4', null, null],
            ['5', null, ''],
          ]),
        ]),
      );
      expect(cells).toEqual(['t insert inserted 2', 't insert unchanged 2', 't insert updatedInsteadOfInsert 1']);
      expect(await fixture.query('SELECT id, city, x, own FROM t ORDER BY id')).toEqual([
        ['1', 'c', 'new', null],
        ['2', 'c', 'same', 'mine'],
        ['3', 'c', 'new', 'mine'],
        ['4', null, null, 'mine'],
        ['5', null, '', null],
      ]);
    });

    test('a row that is there with its own unique values is no conflict with itself', async () => {
      await using fixture = await make();
      const { keyTextType = 'text' } = fixture.dialect;
      await fixture.sql(`CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, city ${keyTextType} UNIQUE, x text)`);
      await fixture.sql(`INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'x'), (4, 'd', 'x')`);
      const { target, lane } = await openLane(fixture, [table()]);
      const rows = [
        ['1', 'a', 'x'],
        ['2', 'b', 'y'],
        ['3', 'c', 'x'],
        ['4', 'd', 'y'],
        ['5', 'e', 'x'],
      ];
      const { cells } = await applied(target, lane.next([section('t', 'insert', COLUMNS, rows)]));
      expect(cells).toEqual(['t insert inserted 1', 't insert unchanged 2', 't insert updatedInsteadOfInsert 2']);
      const again = await applied(target, lane.next([section('t', 'update', COLUMNS, [...rows, ['6', 'f', 'x']])]));
      expect(again.cells).toEqual(['t update insertedInsteadOfUpdate 1', 't update unchanged 5']);
    });

    test('NULL, empty text and different case are different values', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fixture.sql(`INSERT INTO t VALUES (1, NULL, 'a', NULL), (2, '', 'a', NULL), (3, 'a', 'a', NULL)`);
      const { target, lane } = await openLane(fixture, [table()]);
      const { cells } = await applied(
        target,
        lane.next([
          section('t', 'update', COLUMNS, [
            ['1', '', 'a'],
            ['2', null, 'a'],
            ['3', 'A', 'a'],
          ]),
        ]),
      );
      expect(cells).toEqual(['t update updated 3']);
    });

    test('updates count updated, unchanged and insertedInsteadOfUpdate', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fixture.sql(`INSERT INTO t VALUES (2, 'c', 'same', NULL), (3, 'c', 'old', NULL)`);
      const { target, lane } = await openLane(fixture, [table()]);
      const { cells } = await applied(
        target,
        lane.next([
          section('t', 'update', COLUMNS, [
            ['1', 'c', 'new'],
            ['2', 'c', 'same'],
            ['3', 'c', 'new'],
          ]),
        ]),
      );
      expect(cells).toEqual(['t update insertedInsteadOfUpdate 1', 't update unchanged 1', 't update updated 1']);
      expect(await fixture.query('SELECT id, x FROM t ORDER BY id')).toEqual([
        ['1', 'new'],
        ['2', 'same'],
        ['3', 'new'],
      ]);
    });

    test('a partial update touches its own columns only and is held without its row', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fixture.sql(`INSERT INTO t VALUES (1, 'c', 'old', 'mine')`);
      const { target, lane } = await openLane(fixture, [table()]);
      const rows = [
        ['1', 'new'],
        ['2', 'new'],
      ];
      const { cells, quarantined } = await applied(
        target,
        lane.next([section('t', 'update', ['id', 'x'], rows, { wholeRows: false })]),
      );
      expect(cells).toEqual(['t update held 1', 't update updated 1']);
      expect(quarantined).toMatchObject([
        { table: 't', kind: 'update', index: 1, outcome: 'held', code: 'MISSING_BASE' },
      ]);
      expect(await fixture.query('SELECT id, city, x, own FROM t')).toEqual([['1', 'c', 'new', 'mine']]);
    });

    test('deletes count deleted and deletedNothing', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fixture.sql(`INSERT INTO t VALUES (1, 'c', 'a', NULL), (2, 'c', 'b', NULL)`);
      const { target, lane } = await openLane(fixture, [table()]);
      const { cells } = await applied(target, lane.next([section('t', 'delete', COLUMNS, [['1'], ['9']])]));
      expect(cells).toEqual(['t delete deleted 1', 't delete deletedNothing 1']);
      expect(await fixture.query('SELECT id FROM t')).toEqual([['2']]);
    });

    test('sections apply in their order', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [table()]);
      const { cells } = await applied(
        target,
        lane.next([
          section('t', 'insert', COLUMNS, [
            ['1', 'c', 'a'],
            ['2', 'c', 'a'],
          ]),
          section('t', 'delete', COLUMNS, [['1']]),
          section('t', 'update', COLUMNS, [['2', 'c', 'b']]),
          section('t', 'insert', COLUMNS, [['1', 'c', 'z']]),
        ]),
      );
      expect(cells).toEqual(['t delete deleted 1', 't insert inserted 3', 't update updated 1']);
      expect(await fixture.query('SELECT id, x FROM t ORDER BY id')).toEqual([
        ['1', 'z'],
        ['2', 'b'],
      ]);
    });

    test('a table of keys only can be inserted, updated and deleted', async () => {
      await using fixture = await make();
      const { keyTextType = 'text' } = fixture.dialect;
      await fixture.sql(`CREATE TABLE k (a bigint NOT NULL, b ${keyTextType} NOT NULL, PRIMARY KEY (a, b))`);
      const { target, lane } = await openLane(fixture, [
        mirror(
          'k',
          [
            { name: 'a', type: integer },
            { name: 'b', type: text },
          ],
          { key: ['a', 'b'] },
        ),
      ]);
      const two = { keyColumns: 2 };
      const { cells } = await applied(
        target,
        lane.next([
          section(
            'k',
            'insert',
            ['a', 'b'],
            [
              ['1', 'x'],
              ['1', 'y'],
            ],
            two,
          ),
          section(
            'k',
            'update',
            ['a', 'b'],
            [
              ['1', 'x'],
              ['2', 'x'],
            ],
            two,
          ),
          section('k', 'delete', ['a', 'b'], [['1', 'y']], two),
        ]),
      );
      expect(cells).toEqual([
        'k delete deleted 1',
        'k insert inserted 2',
        'k update insertedInsteadOfUpdate 1',
        'k update unchanged 1',
      ]);
    });

    test('values arrive exactly as they were sent', async () => {
      await using fixture = await make();
      const { bytesType, timestampType = 'timestamp', uuidType = 'uuid' } = fixture.dialect;
      await fixture.sql(
        `CREATE TABLE v (id bigint NOT NULL PRIMARY KEY, d decimal(10,2), f double precision, b boolean, t text, y ${bytesType}, day date, at ${timestampType}, u ${uuidType})`,
      );
      const names = ['id', 'd', 'f', 'b', 't', 'y', 'day', 'at', 'u'];
      const described = await fixture.dataSource.describe({ name: 'v' });
      const columns = names.map((name) => ({
        name,
        type: described?.columns.find((c) => c.name === name)?.type as typeof text,
      }));
      const { target, lane } = await openLane(fixture, [mirror('v', columns)]);
      const rows = [
        [
          '9007199254740993',
          '12.50',
          '0.1',
          't',
          '𠮷\t\n\r\\',
          '\\x00ff',
          '2024-02-29',
          '2024-01-31 08:00:00.123456',
          '0f8fad5b-d9cb-469f-a165-70867728950e',
        ],
        [
          '-1',
          '-99999999.99',
          '1e-07',
          'f',
          '',
          '\\x',
          '0001-01-01',
          '9999-12-31 23:59:59',
          '00000000-0000-0000-0000-000000000000',
        ],
        ['2', null, null, null, null, null, null, null, null],
      ];
      const first = await applied(target, lane.next([section('v', 'insert', names, rows)]));
      expect(first.cells).toEqual(['v insert inserted 3']);
      const again = await applied(target, lane.next([section('v', 'update', names, rows)]));
      expect(again.cells).toEqual(['v update unchanged 3']);
      const read = await scan(fixture.dataSource, await snapshotTable(fixture.dataSource, 'v', names));
      expect(read.rows.toSorted((a, b) => Number(b[0]) - Number(a[0]))).toEqual(
        rows.toSorted((a, b) => Number(b[0]) - Number(a[0])),
      );
    });

    test('ownership by filter keeps foreign rows and isolates rows outside', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fixture.sql(
        `INSERT INTO t VALUES (1, '3701', 'theirs', NULL), (2, '3702', 'ours', NULL), (3, NULL, 'nobody', NULL), (4, '3701', 'theirs', NULL)`,
      );
      const { target, lane } = await openLane(fixture, [table({ ownership: filter("city = '3702'") })]);
      const { cells, quarantined } = await applied(
        target,
        lane.next([
          section('t', 'insert', COLUMNS, [
            ['1', '3702', 'taken'],
            ['5', '3702', 'new'],
            ['6', '3701', 'outside'],
          ]),
          section('t', 'update', COLUMNS, [
            ['2', '3702', 'changed'],
            ['3', '3702', 'taken'],
            ['7', '3701', 'outside'],
          ]),
          section('t', 'delete', COLUMNS, [['4'], ['9']]),
        ]),
      );
      expect(cells).toEqual([
        't delete deletedNothing 1',
        't delete keptTarget 1',
        't insert inserted 1',
        't insert keptTarget 1',
        't insert quarantined 1',
        't update keptTarget 1',
        't update quarantined 1',
        't update updated 1',
      ]);
      expect(quarantined.map(({ section: s, index, code }) => [s, index, code])).toEqual([
        [0, 2, 'OUTSIDE_OWNERSHIP'],
        [1, 2, 'OUTSIDE_OWNERSHIP'],
      ]);
      expect(await fixture.query('SELECT id, x FROM t ORDER BY id')).toEqual([
        ['1', 'theirs'],
        ['2', 'changed'],
        ['3', 'nobody'],
        ['4', 'theirs'],
        ['5', 'new'],
      ]);
    });

    test("ownership none lets the lane's own deletes through", async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fixture.sql(`INSERT INTO t VALUES (1, 'c', 'a', NULL)`);
      const { target, lane } = await openLane(fixture, [table({ ownership: 'none' })]);
      const { cells } = await applied(target, lane.next([section('t', 'delete', COLUMNS, [['1']])]));
      expect(cells).toEqual(['t delete deleted 1']);
    });

    test('onDelete mark marks, and a marked row counts as absent', async () => {
      await using fixture = await make();
      await fixture.sql(
        'CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, city text, x text, gone boolean NOT NULL DEFAULT FALSE)',
      );
      await fixture.sql(
        `INSERT INTO t VALUES (1, 'c', 'a', FALSE), (2, 'c', 'b', TRUE), (3, 'c', 'c', TRUE), (4, 'c', 'd', TRUE), (5, 'c', 'e', FALSE)`,
      );
      const { target, lane } = await openLane(fixture, [table({ onDelete: 'mark', markColumn: 'gone' })]);
      const { cells } = await applied(
        target,
        lane.next([
          section('t', 'delete', COLUMNS, [['1'], ['2'], ['9']]),
          section('t', 'insert', COLUMNS, [
            ['3', 'c', 'c'],
            ['5', 'c', 'e'],
            ['6', 'c', 'f'],
          ]),
          section('t', 'update', COLUMNS, [['4', 'c', 'new']]),
        ]),
      );
      expect(cells).toEqual([
        't delete deleted 1',
        't delete deletedNothing 2',
        't insert inserted 2',
        't insert unchanged 1',
        't update insertedInsteadOfUpdate 1',
      ]);
      const live = await fixture.query('SELECT id FROM t WHERE gone = FALSE ORDER BY id');
      expect(live).toEqual([['3'], ['4'], ['5'], ['6']]);
      expect(await fixture.query('SELECT id FROM t WHERE gone = TRUE ORDER BY id')).toEqual([['1'], ['2']]);
      const partial = await applied(
        target,
        lane.next([section('t', 'update', ['id', 'x'], [['1', 'z']], { wholeRows: false })]),
      );
      expect(partial.cells).toEqual(['t update held 1']);
    });

    test('a journal keeps every change as a row of its own', async () => {
      await using fixture = await make();
      const journal = table({ landing: 'journal', table: 't', ref: { name: '流水' } });
      await fixture.dataSource.createTable(journal);
      const { target, lane } = await openLane(fixture, [journal]);
      const work = lane.next([
        section('t', 'insert', COLUMNS, [['1', 'c', 'a']]),
        section('t', 'update', COLUMNS, [['1', 'c', 'b']]),
        section('t', 'update', COLUMNS, [['1', 'c', 'b']]),
        section('t', 'delete', COLUMNS, [['1']]),
      ]);
      const { cells } = await applied(target, work);
      expect(cells).toEqual(['t delete deleted 1', 't insert inserted 1', 't update updated 2']);
      const { operation, batchNo, sourceDepartment, appliedAt, processed } = defaultJournalColumns;
      const rows = await fixture.query(
        `SELECT ${operation}, id, city, x, ${batchNo}, ${sourceDepartment}, ${processed}, CONCAT(${appliedAt}, '') FROM "流水" ORDER BY qiao_journal_id`,
      );
      expect(rows.map((row) => row.slice(0, 7))).toEqual([
        ['I', '1', 'c', 'a', 'batch-1', '卫生健康委员会', '0'],
        ['U', '1', 'c', 'b', 'batch-1', '卫生健康委员会', '0'],
        ['U', '1', 'c', 'b', 'batch-1', '卫生健康委员会', '0'],
        ['D', '1', null, null, 'batch-1', '卫生健康委员会', '0'],
      ]);
      // 2023-11-14 22:13:20 UTC, in whatever zone the department's own session prints it.
      expect(rows.every((row) => /^2023-11-1[45] \d\d:13:20/.test(row[7] ?? ''))).toBe(true);
    });

    test('a journal takes no update that does not carry every column: NULL there says that a value is NULL', async () => {
      await using fixture = await make();
      const journal = table({ landing: 'journal', table: 't', ref: { name: '流水' } });
      await fixture.dataSource.createTable(journal);
      const { target, lane } = await openLane(fixture, [journal]);
      const parts = [
        ['1', 'new'],
        ['2', 'new'],
      ];
      const { cells, quarantined } = await applied(
        target,
        lane.next([
          section('t', 'insert', COLUMNS, [['1', 'c', 'a']]),
          section('t', 'update', ['id', 'x'], parts, { wholeRows: false }),
          section('t', 'update', COLUMNS, [['3', 'c', 'b']]),
        ]),
      );
      expect(cells).toEqual(['t insert inserted 1', 't update held 2', 't update updated 1']);
      const held = { table: 't', kind: 'update', outcome: 'held', code: 'MISSING_BASE' };
      expect(quarantined).toMatchObject([
        { ...held, index: 0 },
        { ...held, index: 1 },
      ]);
      expect(await fixture.query('SELECT id, city, x FROM "流水" ORDER BY id')).toEqual([
        ['1', 'c', 'a'],
        ['3', 'c', 'b'],
      ]);
    });

    test('one delivery may have many tables', { timeout: 120_000 }, async () => {
      await using fixture = await make();
      const names = Array.from({ length: 120 }, (_, place) => `t${place}`);
      await fixture.sql(names.map((name) => DDL.replace('TABLE t ', `TABLE ${name} `)).join('; '));
      const { target, lane } = await openLane(
        fixture,
        names.map((name) => ({ ...table(), table: name, ref: { name } })),
      );
      const each = (kind: 'insert' | 'update', x: string) =>
        names.map((name) => section(name, kind, COLUMNS, [['1', 'c', x]]));
      const { cells } = await applied(target, lane.next([...each('insert', 'old'), ...each('update', 'new')]));
      expect(cells).toEqual(
        names.flatMap((name) => [`${name} insert inserted 1`, `${name} update updated 1`]).toSorted(),
      );
      const changed = await applied(target, lane.next([...each('update', 'newer')]));
      expect(changed.cells).toEqual(names.map((name) => `${name} update updated 1`).toSorted());
    });

    test('a large delivery is applied in bounded time while the event loop goes on', { timeout: 120_000 }, async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fixture.sql(`INSERT INTO t VALUES (0, 'c', 'already here', NULL)`);
      const { target, lane } = await openLane(fixture, [table()]);
      const rows = Array.from({ length: 60_000 }, (_, i) => [String(i), '济南', `第${i}行`]);
      let turns = 0;
      const ticking = setInterval(() => turns++, 5);
      const startedAt = performance.now();
      const first = await applied(target, lane.next([section('t', 'insert', COLUMNS, rows)]));
      expect(first.cells).toEqual(['t insert inserted 59999', 't insert updatedInsteadOfInsert 1']);
      const changed = rows.map(([id, city, x], i) => [
        id as string,
        city as string,
        i % 2 === 0 ? `${x}改` : (x as string),
      ]);
      const second = await applied(target, lane.next([section('t', 'update', COLUMNS, changed)]));
      expect(second.cells).toEqual(['t update unchanged 30000', 't update updated 30000']);
      const third = await applied(target, lane.next([section('t', 'delete', COLUMNS, rows)]));
      expect(third.cells).toEqual(['t delete deleted 60000']);
      clearInterval(ticking);
      // A statement per row over a network, or a scan of the table per row, would take minutes.
      expect(performance.now() - startedAt).toBeLessThan(30_000);
      expect(turns).toBeGreaterThan(5);
    });
  });
}
