/** Promise R9: which row stays when a change meets another row of its key. */
import type { ConflictPolicy } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import type { TargetTable } from '../adapter.ts';
import { applied, cellsOf, type Fixture, integer, mirror, openLane, section, text } from './fixture.ts';

const COLUMNS = ['id', 'x', 'seen_at'];
const NEWEST: ConflictPolicy = { newestWins: 'seen_at' };

function ddl({ timestampType = 'timestamp' }: Fixture['dialect']): string {
  return `CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text, seen_at ${timestampType} NULL, own text)`;
}

function table(conflict: ConflictPolicy, changes: Partial<TargetTable> = {}): TargetTable {
  const columns = [
    { name: 'id', type: integer },
    { name: 'x', type: text },
    { name: 'seen_at', type: { type: 'timestamp', digits: 6 } as const },
  ];
  return mirror('t', columns, { ownership: 'none', conflict, ...changes });
}

/** A second of one minute. */
function at(second: string): string {
  return `2026-01-01 00:00:${second}`;
}

const ROWS = 'SELECT id, x, own FROM t ORDER BY id';

export function conflictContract(make: () => Promise<Fixture>): void {
  describe('conflicts', () => {
    test('targetWins adds rows, and neither changes nor removes any', async () => {
      await using fixture = await make();
      await fixture.sql(ddl(fixture.dialect));
      await fixture.sql(`INSERT INTO t VALUES (1, 'here', '${at('01')}', 'mine'), (2, 'same', NULL, 'mine')`);
      const { target, lane } = await openLane(fixture, [table('targetWins')]);
      const whole = await applied(
        target,
        lane.next([
          section('t', 'insert', COLUMNS, [
            ['1', 'sent', at('09')],
            ['2', 'same', null],
            ['3', 'new', null],
          ]),
          section('t', 'update', COLUMNS, [
            ['1', 'sent', at('09')],
            ['2', 'same', null],
            ['4', 'new', null],
          ]),
        ]),
      );
      expect(whole.cells).toEqual([
        't insert inserted 1',
        't insert keptTarget 1',
        't insert unchanged 1',
        't update insertedInsteadOfUpdate 1',
        't update keptTarget 1',
        't update unchanged 1',
      ]);
      const parts = [
        ['1', 'sent'],
        ['2', 'same'],
        ['9', 'sent'],
      ];
      const partial = await applied(
        target,
        lane.next([
          section('t', 'update', ['id', 'x'], parts, { wholeRows: false }),
          section('t', 'delete', COLUMNS, [['1'], ['8']]),
        ]),
      );
      expect(partial.cells).toEqual([
        't delete deletedNothing 1',
        't delete keptTarget 1',
        't update held 1',
        't update keptTarget 1',
        't update unchanged 1',
      ]);
      expect(partial.quarantined).toMatchObject([{ index: 2, code: 'MISSING_BASE' }]);
      expect(await fixture.query(ROWS)).toEqual([
        ['1', 'here', 'mine'],
        ['2', 'same', 'mine'],
        ['3', 'new', null],
        ['4', 'new', null],
      ]);
    });

    test('newestWins writes over older rows only; no time is older than any, and identical rows are no conflict', async () => {
      await using fixture = await make();
      await fixture.sql(ddl(fixture.dialect));
      await fixture.sql(
        `INSERT INTO t VALUES (1, 'here', '${at('05')}', 'mine'), (2, 'here', '${at('05')}', 'mine'), (3, 'here', NULL, 'mine'),
           (4, 'here', '${at('05')}', 'mine'), (5, 'same', '${at('05')}', 'mine'), (6, 'here', '${at('05.000002')}', 'mine')`,
      );
      const { target, lane } = await openLane(fixture, [table(NEWEST)]);
      const rows = [
        ['1', 'sent', at('06')],
        ['2', 'sent', at('04')],
        ['3', 'sent', at('00')],
        ['4', 'sent', null],
        ['5', 'same', at('05')],
        ['6', 'sent', at('05.000001')],
      ];
      const { cells } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, [...rows, ['7', 'new', null]])]),
      );
      expect(cells).toEqual([
        't insert inserted 1',
        't insert keptTarget 3',
        't insert unchanged 1',
        't insert updatedInsteadOfInsert 2',
      ]);
      const again = await applied(target, lane.next([section('t', 'update', COLUMNS, rows)]));
      expect(again.cells).toEqual(['t update keptTarget 3', 't update unchanged 3']);
      expect(await fixture.query(ROWS)).toEqual([
        ['1', 'sent', 'mine'],
        ['2', 'here', 'mine'],
        ['3', 'sent', 'mine'],
        ['4', 'here', 'mine'],
        ['5', 'same', 'mine'],
        ['6', 'here', 'mine'],
        ['7', 'new', null],
      ]);
    });

    test('a delete goes through whatever the time of its row, and an update of a row that is gone does not bring it back', async () => {
      await using fixture = await make();
      await fixture.sql(ddl(fixture.dialect));
      await fixture.sql(`INSERT INTO t VALUES (1, 'here', '${at('59')}', NULL), (2, 'here', '${at('05')}', NULL)`);
      const { target, lane } = await openLane(fixture, [table(NEWEST)]);
      const { cells } = await applied(
        target,
        lane.next([
          section('t', 'delete', COLUMNS, [['1'], ['9']]),
          section('t', 'update', COLUMNS, [
            ['1', 'sent', at('59')],
            ['2', 'sent', at('06')],
          ]),
          section('t', 'insert', COLUMNS, [['3', 'new', null]]),
        ]),
      );
      expect(cells).toEqual([
        't delete deleted 1',
        't delete deletedNothing 1',
        't insert inserted 1',
        't update keptTarget 1',
        't update updated 1',
      ]);
      expect(await fixture.query(ROWS)).toEqual([
        ['2', 'sent', null],
        ['3', 'new', null],
      ]);
    });

    test('rows of one time end the same at both ends, whichever came first and in whatever order their columns go', async () => {
      const ties = [
        ['a', 'b'],
        ['Z', 'a'],
        ['中', '𠀀'],
        [null, ''],
        ['', 'x'],
        ['ab', 'abc'],
      ] as const;
      const ended: unknown[] = [];
      for (const [first, second] of [
        [0, 1],
        [1, 0],
      ] as const) {
        await using fixture = await make();
        await fixture.sql(ddl(fixture.dialect));
        const { target, lane } = await openLane(fixture, [table(NEWEST)]);
        const columns = first === 0 ? COLUMNS : ['id', 'seen_at', 'x'];
        for (const side of [first, second]) {
          const rows = ties.map((pair, id) => {
            const row = [String(id), pair[side], at('05')] as const;
            return first === 0 ? row : ([row[0], row[2], row[1]] as const);
          });
          await applied(target, lane.next([section('t', 'insert', columns, rows)]));
        }
        ended.push(await fixture.query('SELECT id, x FROM t ORDER BY id'));
      }
      expect(ended[0]).toEqual(ended[1]);
      expect(ended[0]).toEqual(ties.map((pair, id) => [String(id), pair[1]]));
    });

    test('numbers tell the newer row by their value, texts by code point', async () => {
      await using fixture = await make();
      const { textType = 'text' } = fixture.dialect;
      await fixture.sql(`CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, n decimal(12, 2), day ${textType})`);
      await fixture.sql(`INSERT INTO t VALUES (1, 9, 'b'), (2, 10, 'B')`);
      const by = (column: string) =>
        mirror(
          't',
          [
            { name: 'id', type: integer },
            { name: 'n', type: { type: 'decimal', precision: 12, scale: 2 } },
            { name: 'day', type: text },
          ],
          { ownership: 'none', conflict: { newestWins: column } },
        );
      const columns = ['id', 'n', 'day'];
      const numbers = await openLane(fixture, [by('n')]);
      const rows = [
        ['1', '10.00', 'b'],
        ['2', '9.00', 'z'],
      ];
      const first = await applied(numbers.target, numbers.lane.next([section('t', 'update', columns, rows)]));
      expect(first.cells).toEqual(['t update keptTarget 1', 't update updated 1']);
      const byDay = [
        ['1', '1.00', 'B'],
        ['2', '1.00', 'a'],
      ];
      const work = numbers.lane.next([section('t', 'update', columns, byDay)], { tables: new Map([['t', by('day')]]) });
      const second = await applied(numbers.target, work);
      expect(second.cells).toEqual(['t update keptTarget 1', 't update updated 1']);
      expect(await fixture.query('SELECT id, day FROM t ORDER BY id')).toEqual([
        ['1', 'b'],
        ['2', 'a'],
      ]);
    });

    test('an update without every column waits for the whole row, unless its row is gone', async () => {
      await using fixture = await make();
      await fixture.sql(ddl(fixture.dialect));
      await fixture.sql(`INSERT INTO t VALUES (2, 'here', '${at('05')}', NULL)`);
      const { target, lane } = await openLane(fixture, [table(NEWEST)]);
      const work = lane.next([
        section(
          't',
          'update',
          ['id', 'x'],
          [
            ['1', 'sent'],
            ['2', 'sent'],
          ],
          { wholeRows: false },
        ),
      ]);
      const { cells, quarantined } = await applied(target, work);
      expect(cells).toEqual(['t update held 1', 't update keptTarget 1']);
      expect(quarantined).toMatchObject([{ index: 1, outcome: 'held', code: 'MISSING_BASE' }]);
    });

    test('a row marked as deleted is none: an insert takes its place, and an update leaves it', async () => {
      await using fixture = await make();
      await fixture.sql(ddl(fixture.dialect));
      await fixture.sql(
        `INSERT INTO t VALUES (1, 'gone', '${at('59')}', '1'), (2, 'gone', '${at('05')}', '1'), (3, 'here', '${at('05')}', '0')`,
      );
      const { target, lane } = await openLane(fixture, [table(NEWEST, { onDelete: 'mark', markColumn: 'own' })]);
      const { cells } = await applied(
        target,
        lane.next([
          section('t', 'insert', COLUMNS, [['1', 'sent', at('01')]]),
          section('t', 'update', COLUMNS, [
            ['2', 'sent', at('06')],
            ['3', 'sent', at('06')],
          ]),
        ]),
      );
      expect(cells).toEqual(['t insert inserted 1', 't update keptTarget 1', 't update updated 1']);
      expect(await fixture.query(ROWS)).toEqual([
        ['1', 'sent', '0'],
        ['2', 'gone', '1'],
        ['3', 'sent', '0'],
      ]);
    });

    test('a row tried again obeys the policy, and is counted by what became of it', async () => {
      await using fixture = await make();
      await fixture.sql(ddl(fixture.dialect).replace('x text', `x text CHECK (x <> 'bad')`));
      const { target, lane } = await openLane(fixture, [table(NEWEST)]);
      const rows = [
        ['1', 'bad', at('05')],
        ['2', 'bad', at('05')],
      ];
      const work = lane.next([section('t', 'insert', COLUMNS, rows)]);
      expect((await applied(target, work)).cells).toEqual(['t insert quarantined 2']);
      await fixture.sql(`INSERT INTO t VALUES (1, 'here', '${at('06')}', NULL)`);
      const mended = rows.map(([id, , time]) => [id as string, 'good', time as string]);
      const result = await target.amend({
        ...work,
        sections: [section('t', 'insert', COLUMNS, mended)],
        placeOf: (part, index) => ({ section: part, index }),
        givenUp: [],
        revisionAbove: 0,
        beforeCommit: () => undefined,
      });
      if (result.kind !== 'amended') throw new Error(`expected amended, found ${result.kind}`);
      expect(cellsOf(result.answer)).toEqual(['t insert inserted 1', 't insert keptTarget 1']);
      expect(await fixture.query(ROWS)).toEqual([
        ['1', 'here', null],
        ['2', 'good', null],
      ]);
    });

    test('the preflight names a column that does not travel, and one that has no order', async () => {
      await using fixture = await make();
      const { bytesType } = fixture.dialect;
      await fixture.sql(`CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x ${bytesType}, own text)`);
      const columns = [
        { name: 'id', type: integer },
        { name: 'x', type: { type: 'bytes' } as const },
      ];
      const codes = async (newestWins: string) => {
        const wanted = mirror('t', columns, { ownership: 'none', conflict: { newestWins } });
        const found = await fixture.dataSource.checkTarget([wanted], new Map());
        return found.flatMap(({ code, path }) => (code.startsWith('CONFLICT') ? [`${code} ${path}`] : []));
      };
      expect(await codes('own')).toEqual(['CONFLICT_COLUMN_MISSING t.own']);
      expect(await codes('x')).toEqual(['CONFLICT_COLUMN_TYPE t.x']);
      expect(await codes('id')).toEqual([]);
    });
  });
}
