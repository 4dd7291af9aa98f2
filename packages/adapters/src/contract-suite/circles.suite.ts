/** Rows that hold the unique values of each other: promise R3. */
import { parseFilter } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import { applied, type Fixture, integer, mirror, openLane, section, text } from './fixture.ts';

const COLUMNS = ['id', 'x'];
const TABLE = mirror('t', [
  { name: 'id', type: integer },
  { name: 'x', type: text },
]);
const ROWS = 'SELECT id, x FROM t ORDER BY id';

async function lettered(fixture: Fixture, more = ''): Promise<void> {
  await fixture.sql(`CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x varchar(20) NOT NULL UNIQUE${more})`);
  await fixture.sql(`INSERT INTO t (id, x) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (9, 'z')`);
}

export function circlesContract(make: () => Promise<Fixture>): void {
  describe('rows that hold the unique values of each other', () => {
    test('two rows that exchange theirs land', async () => {
      await using fixture = await make();
      await lettered(fixture);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const swap = section('t', 'update', COLUMNS, [
        ['1', 'b'],
        ['2', 'a'],
        ['3', 'new'],
      ]);
      const { cells, quarantined } = await applied(target, lane.next([swap]));
      expect([cells, quarantined]).toEqual([['t update updated 3'], []]);
      expect((await fixture.query(ROWS)).slice(0, 3)).toEqual([
        ['1', 'b'],
        ['2', 'a'],
        ['3', 'new'],
      ]);
      // Also where they come as rows of a load, and where sections of a delivery share them.
      const back = [section('t', 'insert', COLUMNS, [['1', 'a']]), section('t', 'update', COLUMNS, [['2', 'b']])];
      const again = await applied(target, lane.next(back));
      expect(again.cells).toEqual(['t insert updatedInsteadOfInsert 1', 't update updated 1']);
    });

    test('a circle of three lands among a thousand others', async () => {
      await using fixture = await make();
      await lettered(fixture);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const rows = Array.from({ length: 1000 }, (_, i) => [String(100 + i), `x${i}`]);
      rows.splice(300, 0, ['1', 'b']);
      rows.splice(600, 0, ['2', 'c']);
      rows.splice(900, 0, ['3', 'a']);
      const { cells } = await applied(target, lane.next([section('t', 'insert', COLUMNS, rows)]));
      expect(cells).toEqual(['t insert inserted 1000', 't insert updatedInsteadOfInsert 3']);
      expect((await fixture.query(ROWS)).slice(0, 3).map(([, x]) => x)).toEqual(['b', 'c', 'a']);
    });

    test('one that conflicts with a row outside is isolated, and so is who waits for it; the others land', async () => {
      await using fixture = await make();
      await lettered(fixture);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const rows = [
        ['1', 'b'],
        ['2', 'a'],
        // Held by a row that nobody sends, and by one that stays.
        ['3', 'z'],
        ['4', 'c'],
        ['5', 'z'],
      ];
      const { cells, quarantined } = await applied(target, lane.next([section('t', 'update', COLUMNS, rows)]));
      expect(cells).toEqual(['t update quarantined 3', 't update updated 2']);
      expect(quarantined.map(({ index, code }) => `${index} ${code}`)).toEqual(['2 UNIQUE', '3 UNIQUE', '4 UNIQUE']);
      expect((await fixture.query(ROWS)).map(([, x]) => x)).toEqual(['b', 'a', 'c', 'd', 'z']);
    });

    test('also among rows that are not all of the table', async () => {
      await using fixture = await make();
      await lettered(fixture, ', city varchar(9)');
      await fixture.sql(`UPDATE t SET city = '3702' WHERE id < 3`);
      const columns = [...TABLE.columns, { name: 'city', type: text }];
      const ownership = parseFilter("city = '3702'").filter;
      if (ownership === undefined) throw new Error('the filter does not parse');
      const { target, lane } = await openLane(fixture, [mirror('t', columns, { ownership })]);
      const swap = section(
        't',
        'update',
        ['id', 'x', 'city'],
        [
          ['1', 'b', '3702'],
          ['2', 'a', '3702'],
          // Another's.
          ['3', 'd', '3702'],
        ],
      );
      const { cells } = await applied(target, lane.next([swap]));
      expect(cells).toEqual(['t update keptTarget 1', 't update updated 2']);
      expect((await fixture.query(ROWS)).map(([, x]) => x)).toEqual(['b', 'a', 'c', 'd', 'z']);
    });

    test('where a value may be null for a moment, rows that come in part, are referred to, or have more columns land too', async () => {
      await using fixture = await make();
      await fixture.sql(
        'CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x varchar(20) UNIQUE, y varchar(9), note varchar(9))',
      );
      await fixture.sql(
        `INSERT INTO t (id, x, y, note) VALUES (1, 'a', 'p', 'kept'), (2, 'b', 'q', 'kept'), (3, 'c', 'r', 'kept')`,
      );
      await fixture.sql(
        'CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, t_id bigint, FOREIGN KEY (t_id) REFERENCES t (id))',
      );
      await fixture.sql('INSERT INTO child VALUES (7, 1)');
      const { target, lane } = await openLane(fixture, [mirror('t', [...TABLE.columns, { name: 'y', type: text }])]);
      const whole = section('t', 'update', ['id', 'x', 'y'], [['1', 'b', 'p2']]);
      const part = section(
        't',
        'update',
        COLUMNS,
        [
          ['2', 'c'],
          ['3', 'a'],
        ],
        { wholeRows: false },
      );
      const { cells } = await applied(target, lane.next([whole, part]));
      expect(cells).toEqual(['t update updated 3']);
      expect(await fixture.query('SELECT id, x, y, note FROM t ORDER BY id')).toEqual([
        ['1', 'b', 'p2', 'kept'],
        ['2', 'c', 'q', 'kept'],
        ['3', 'a', 'r', 'kept'],
      ]);
      // One whose value a row outside holds waits as it was, and so does who waits for it.
      await fixture.sql(`INSERT INTO t (id, x) VALUES (4, 'z')`);
      const more = section(
        't',
        'update',
        COLUMNS,
        [
          ['1', 'c'],
          ['2', 'b'],
          ['3', 'z'],
        ],
        { wholeRows: false },
      );
      const again = await applied(target, lane.next([more]));
      expect(again.cells).toEqual(['t update quarantined 1', 't update updated 2']);
      expect((await fixture.query(ROWS)).map(([, x]) => x)).toEqual(['c', 'b', 'a', 'z']);
    });

    test('what the bridge does not send is not lost for it: the rows wait', async () => {
      await using fixture = await make();
      await lettered(fixture, ', note varchar(9)');
      await fixture.sql(`UPDATE t SET note = 'kept'`);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const swap = section('t', 'update', COLUMNS, [
        ['1', 'b'],
        ['2', 'a'],
      ]);
      const { cells } = await applied(target, lane.next([swap]));
      expect(cells).toEqual(['t update quarantined 2']);
      expect(await fixture.query(`SELECT count(*) FROM t WHERE note = 'kept'`)).toEqual([['5']]);
    });

    for (const rule of ['', 'ON DELETE CASCADE']) {
      test(`rows that others refer to stay where they are${rule === '' ? '' : `, also by ${rule}`}`, async () => {
        await using fixture = await make();
        await lettered(fixture);
        await fixture.sql(
          `CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, t_id bigint, FOREIGN KEY (t_id) REFERENCES t (id) ${rule})`,
        );
        await fixture.sql('INSERT INTO child VALUES (7, 1)');
        const child = mirror('child', [
          { name: 'id', type: integer },
          { name: 't_id', type: integer },
        ]);
        const { target, lane } = await openLane(fixture, [TABLE, child]);
        const swap = section('t', 'update', COLUMNS, [
          ['1', 'b'],
          ['2', 'a'],
        ]);
        const { cells } = await applied(target, lane.next([swap]));
        expect(cells).toEqual(['t update quarantined 2']);
        expect(await fixture.query('SELECT id, t_id FROM child')).toEqual([['7', '1']]);
      });
    }
  });
}
