/** Promises L1–L3. */
import { parseFilter } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import type { TargetTable } from '../adapter.ts';
import { applied, type Fixture, integer, mirror, openLane, section, text } from './fixture.ts';

const COLUMNS = ['id', 'x'];
const DDL = 'CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text)';
const WHOLE = { begins: true, ends: true };

function table(changes: Partial<TargetTable> = {}): TargetTable {
  return mirror(
    't',
    [
      { name: 'id', type: integer },
      { name: 'x', type: text },
    ],
    changes,
  );
}

function numbers(from: number, to: number): string[][] {
  return Array.from({ length: to - from + 1 }, (_, i) => [String(from + i), 'x']);
}

async function fill(fixture: Fixture, from: number, to: number): Promise<void> {
  await fixture.sql(
    `INSERT INTO t VALUES ${numbers(from, to)
      .map(([id]) => `(${id}, 'x')`)
      .join(', ')}`,
  );
}

async function leftovers(fixture: Fixture): Promise<string[]> {
  // The catalogues differ; a note that stays would be seen as a table.
  return (await fixture.dataSource.tables()).map(({ name }) => name).toSorted();
}

export function loadContract(make: () => Promise<Fixture>): void {
  describe('loading', () => {
    test('a load into an empty table inserts and removes nothing', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      const { target, lane } = await openLane(fixture, [table()]);
      const { cells, answer } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, numbers(1, 50))], { load: WHOLE }),
      );
      expect(cells).toEqual(['t insert inserted 50']);
      expect(answer.extras).toEqual([]);
    });

    test('rows that are held back are named by the load all the same', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fill(fixture, 1, 5);
      const { target, lane } = await openLane(fixture, [table()]);
      const held = [section('t', 'insert', COLUMNS, numbers(1, 2)), section('t', 'update', COLUMNS, numbers(3, 3))];
      const { answer } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, numbers(4, 4))], {
          load: WHOLE,
          held: { sections: held, open: [] },
        }),
      );
      expect(answer.extras).toEqual([{ table: 't', deleted: 1, kept: 0 }]);
      expect((await fixture.query('SELECT id FROM t ORDER BY id')).flat()).toEqual(['1', '2', '3', '4']);
    });

    test('a table of which a row could not be named loses nothing at the end, and says what it kept', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fixture.sql('CREATE TABLE u (id bigint NOT NULL PRIMARY KEY, x text)');
      await fill(fixture, 1, 3);
      await fixture.sql("INSERT INTO u VALUES (1, 'a'), (2, 'b')");
      const other = mirror('u', table().columns);
      const { target, lane } = await openLane(fixture, [table(), other]);
      const sections = [section('t', 'insert', COLUMNS, numbers(1, 1)), section('u', 'insert', COLUMNS, [['1', 'a']])];
      const { answer } = await applied(target, lane.next(sections, { load: { ...WHOLE, incomplete: ['t'] } }));
      expect(answer.extras.toSorted((a, b) => (a.table < b.table ? -1 : 1))).toEqual([
        { table: 't', deleted: 0, kept: 2 },
        { table: 'u', deleted: 1, kept: 0 },
      ]);
      expect((await fixture.query('SELECT id FROM t ORDER BY id')).flat()).toEqual(['1', '2', '3']);
      expect((await fixture.query('SELECT id FROM u')).flat()).toEqual(['1']);
    });

    test('a void in the middle of a load keeps its end from removing anything', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fill(fixture, 1, 3);
      const { target, lane } = await openLane(fixture, [table()]);
      await applied(target, lane.next([section('t', 'insert', COLUMNS, numbers(1, 1))], { load: { begins: true } }));
      await applied(target, lane.next([], { load: { isBroken: true } }));
      const { answer } = await applied(target, lane.next([], { load: { ends: true } }));
      expect(answer.extras).toEqual([]);
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['3']]);
      expect(await leftovers(fixture)).toEqual(['t']);
    });

    test('a load over several deliveries removes what none of them named', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fill(fixture, 1, 10);
      const { target, lane } = await openLane(fixture, [table()]);
      await applied(target, lane.next([section('t', 'insert', COLUMNS, numbers(1, 3))], { load: { begins: true } }));
      await fixture.sql(`INSERT INTO t VALUES (500, 'the department wrote this meanwhile')`);
      await applied(target, lane.next([section('t', 'insert', COLUMNS, numbers(4, 6))]));
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['11']]);
      const { cells, answer } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, numbers(20, 21))], { load: { ends: true } }),
      );
      expect(cells).toEqual(['t insert inserted 2']);
      expect(answer.extras).toEqual([{ table: 't', deleted: 4, kept: 0 }]);
      expect((await fixture.query('SELECT id FROM t ORDER BY id')).flat()).toEqual([
        '1',
        '2',
        '3',
        '4',
        '5',
        '6',
        '20',
        '21',
        '500',
      ]);
      expect(await leftovers(fixture)).toEqual(['t']);
    });

    test('ownership none keeps extra rows and counts them', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fill(fixture, 1, 10);
      const { target, lane } = await openLane(fixture, [table({ ownership: 'none' })]);
      const { answer } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, numbers(1, 3))], { load: WHOLE }),
      );
      expect(answer.extras).toEqual([{ table: 't', deleted: 0, kept: 7 }]);
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['10']]);
    });

    test('ownership by filter removes its own extra rows only', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fixture.sql(`INSERT INTO t VALUES (1, 'ours'), (2, 'ours'), (3, 'theirs'), (4, NULL)`);
      const ownership = parseFilter("x = 'ours'").filter;
      if (!ownership) throw new Error('the filter does not parse');
      const { target, lane } = await openLane(fixture, [table({ ownership })]);
      const { answer } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, [['1', 'ours']])], { load: WHOLE }),
      );
      expect(answer.extras).toEqual([{ table: 't', deleted: 1, kept: 0 }]);
      expect((await fixture.query('SELECT id FROM t ORDER BY id')).flat()).toEqual(['1', '3', '4']);
    });

    test('onDelete mark marks extra rows and leaves marked ones alone', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text, gone boolean NOT NULL DEFAULT FALSE)');
      await fixture.sql(`INSERT INTO t VALUES (1, 'a', FALSE), (2, 'b', FALSE), (3, 'c', TRUE)`);
      const { target, lane } = await openLane(fixture, [table({ onDelete: 'mark', markColumn: 'gone' })]);
      const { answer } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])], { load: WHOLE }),
      );
      expect(answer.extras).toEqual([{ table: 't', deleted: 1, kept: 0 }]);
      expect((await fixture.query('SELECT id FROM t WHERE gone = TRUE ORDER BY id')).flat()).toEqual(['2', '3']);
    });

    test('the row that a quarantined one would replace stays', async () => {
      await using fixture = await make();
      await fixture.sql(`${DDL.slice(0, -1)}, CHECK (x <> 'bad'))`);
      await fill(fixture, 1, 3);
      const { target, lane } = await openLane(fixture, [table()]);
      const rows = [
        ['1', 'x'],
        ['2', 'bad'],
      ];
      const { cells, answer } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, rows)], { load: WHOLE }),
      );
      expect(cells).toEqual(['t insert quarantined 1', 't insert unchanged 1']);
      expect(answer.extras).toEqual([{ table: 't', deleted: 1, kept: 0 }]);
      expect((await fixture.query('SELECT id FROM t ORDER BY id')).flat()).toEqual(['1', '2']);
    });

    test('extra parents and children go together', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE parent (id bigint NOT NULL PRIMARY KEY, x text)');
      await fixture.sql(
        'CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, parent_id bigint, FOREIGN KEY (parent_id) REFERENCES parent (id))',
      );
      await fixture.sql(`INSERT INTO parent VALUES (1, 'a'), (2, 'b')`);
      await fixture.sql('INSERT INTO child VALUES (1, 1), (2, 2)');
      const child = mirror('child', [
        { name: 'id', type: integer },
        { name: 'parent_id', type: integer },
      ]);
      const parent = { ...table(), table: 'parent', ref: { name: 'parent' } };
      const { target, lane } = await openLane(fixture, [parent, child]);
      const sections = [
        section('parent', 'insert', COLUMNS, [['1', 'a']]),
        section('child', 'insert', ['id', 'parent_id'], [['1', '1']]),
      ];
      const { answer } = await applied(target, lane.next(sections, { load: WHOLE }));
      expect(answer.extras.toSorted((a, b) => (a.table < b.table ? -1 : 1))).toEqual([
        { table: 'child', deleted: 1, kept: 0 },
        { table: 'parent', deleted: 1, kept: 0 },
      ]);
      expect(await fixture.query('SELECT id FROM parent')).toEqual([['1']]);
    });

    test('a load begun again forgets the notes of the first', async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fill(fixture, 1, 5);
      const { target, lane } = await openLane(fixture, [table()]);
      await applied(target, lane.next([section('t', 'insert', COLUMNS, numbers(1, 2))], { load: { begins: true } }));
      await applied(target, lane.nextOpening());
      const { answer } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, numbers(3, 4))], { load: { ends: true } }),
      );
      expect(answer.extras).toEqual([]);
      const again = await applied(target, lane.next([section('t', 'insert', COLUMNS, numbers(1, 4))], { load: WHOLE }));
      expect(again.answer.extras).toEqual([{ table: 't', deleted: 1, kept: 0 }]);
    });

    test('deleteGuard stops an emptied source, and a person may let it through', { timeout: 120_000 }, async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      await fill(fixture, 1, 1200);
      const { target, lane } = await openLane(fixture, [table()]);
      const work = lane.next([section('t', 'insert', COLUMNS, numbers(1, 10))], { load: WHOLE });
      expect(await target.apply(work)).toEqual({ kind: 'guard', table: 't', rows: 1190, of: 1200 });
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['1200']]);
      expect(await target.points(lane.id)).toHaveLength(1);
      expect(await leftovers(fixture)).toEqual(['t']);
      const { answer } = await applied(target, { ...work, load: { ...work.load, allowedDeletes: 1190 } });
      expect(answer.extras).toEqual([{ table: 't', deleted: 1190, kept: 0 }]);
    });

    test('deleteGuard lets a small share of a large table go', { timeout: 120_000 }, async () => {
      await using fixture = await make();
      await fixture.sql(DDL);
      for (let i = 0; i < 25; i++) await fill(fixture, i * 1000 + 1, (i + 1) * 1000);
      const { target, lane } = await openLane(fixture, [table()]);
      const { answer } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, numbers(1, 23_800))], { load: WHOLE }),
      );
      expect(answer.extras).toEqual([{ table: 't', deleted: 1200, kept: 0 }]);
    });

    test('a journal loads without removing anything', async () => {
      await using fixture = await make();
      const journal = table({ landing: 'journal' });
      await fixture.dataSource.createTable(journal);
      const { target, lane } = await openLane(fixture, [journal]);
      await applied(target, lane.next([section('t', 'insert', COLUMNS, numbers(1, 3))]));
      const { answer } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, numbers(1, 1))], { load: WHOLE }),
      );
      expect(answer.extras).toEqual([]);
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['4']]);
    });
  });
}
