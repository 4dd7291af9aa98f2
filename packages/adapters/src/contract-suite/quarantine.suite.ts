/** Promises R3–R5. */
import { describe, expect, test } from 'vitest';
import { applied, type Fixture, integer, mirror, openLane, section, text } from './fixture.ts';

const COLUMNS = ['id', 'x'];
const TABLE = mirror('t', [
  { name: 'id', type: integer },
  { name: 'x', type: text },
]);
const PARENT = mirror('parent', [
  { name: 'id', type: integer },
  { name: 'x', type: text },
]);
const CHILD = mirror('child', [
  { name: 'id', type: integer },
  { name: 'parent_id', type: integer },
]);
const CHILD_COLUMNS = ['id', 'parent_id'];

async function family(fixture: Fixture): Promise<void> {
  await fixture.sql('CREATE TABLE parent (id bigint NOT NULL PRIMARY KEY, x text)');
  await fixture.sql(
    'CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, parent_id bigint, FOREIGN KEY (parent_id) REFERENCES parent (id))',
  );
}

export function quarantineContract(make: () => Promise<Fixture>): void {
  describe('rows that are refused', () => {
    test('bad rows are isolated whole, good ones around them are applied', async () => {
      await using fixture = await make();
      await fixture.sql(
        `CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x varchar(20) NOT NULL UNIQUE, CHECK (x <> 'bad'))`,
      );
      const { target, lane } = await openLane(fixture, [TABLE]);
      const rows = Array.from({ length: 1000 }, (_, i): (string | null)[] => [String(i), `x${i}`]);
      rows[0] = ['0', 'bad'];
      rows[499] = ['499', null];
      rows[500] = ['500', 'x501'];
      rows[998] = ['998', '太长'.repeat(20)];
      rows[999] = ['999', 'bad'];
      const seen: unknown[] = [];
      const { cells, quarantined } = await applied(
        target,
        lane.next([section('t', 'insert', COLUMNS, rows)], { beforeCommit: (isolated) => void seen.push(...isolated) }),
      );
      expect(cells).toEqual(['t insert inserted 995', 't insert quarantined 5']);
      expect(seen).toEqual(quarantined);
      const found = new Map(quarantined.map((row) => [row.index, row]));
      expect(found.get(0)).toMatchObject({
        table: 't',
        kind: 'insert',
        section: 0,
        code: 'CHECK',
        outcome: 'quarantined',
      });
      expect(found.get(499)?.code).toBe('NOT_NULL');
      expect(found.get(998)?.code).toBe('VALUE_INVALID');
      expect(found.get(999)?.code).toBe('CHECK');
      // Which of the two that share x501 stays is the database's order; one of them does.
      expect(quarantined.filter(({ code }) => code === 'UNIQUE')).toHaveLength(1);
      expect(Buffer.from(found.get(999)?.line ?? []).toString()).toBe('999\tbad\n');
      expect(Buffer.from(found.get(499)?.line ?? []).toString()).toBe('499\t\\N\n');
      for (const { reason } of quarantined) expect(reason).not.toMatch(/太长|x501/);
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['995']]);
    });

    test('beforeCommit is called inside the transaction, and only when rows were isolated', async () => {
      await using fixture = await make();
      await fixture.sql(`CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text CHECK (x <> 'bad'))`);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const seen: unknown[] = [];
      const beforeCommit = async () => {
        seen.push(await fixture.query('SELECT count(*) FROM t'));
      };
      await applied(target, lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])], { beforeCommit }));
      expect(seen).toEqual([]);
      await applied(
        target,
        lane.next(
          [
            section('t', 'insert', COLUMNS, [
              ['2', 'a'],
              ['3', 'bad'],
            ]),
          ],
          { beforeCommit },
        ),
      );
      expect(seen).toEqual([[['1']]]);
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['2']]);
    });

    test('a value that is no value of its type is isolated', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE n (id bigint NOT NULL PRIMARY KEY, i int, d decimal(6,2), day date)');
      const names = ['id', 'i', 'd', 'day'];
      const { target, lane } = await openLane(fixture, [
        mirror(
          'n',
          names.map((name) => ({ name, type: text })),
        ),
      ]);
      const { cells, quarantined } = await applied(
        target,
        lane.next([
          section('n', 'insert', names, [
            ['1', '12', '1.50', '2024-02-29'],
            ['2', 'twelve', '1.50', '2024-02-29'],
            ['3', '3000000000', '1.50', '2024-02-29'],
            ['4', '12', '12345.00', '2024-02-29'],
            ['5', '12', '1.50', '2023-02-29'],
            ['six', '12', '1.50', '2024-02-29'],
          ]),
        ]),
      );
      expect(cells).toEqual(['n insert inserted 1', 'n insert quarantined 5']);
      expect(quarantined.toSorted((a, b) => a.index - b.index).map(({ index, code }) => [index, code])).toEqual(
        [1, 2, 3, 4, 5].map((index) => [index, 'VALUE_INVALID']),
      );
      expect(await fixture.query('SELECT id FROM n')).toEqual([['1']]);
    });

    test('more than a thousand bad rows are not the rows fault: nothing is committed', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text NOT NULL)');
      const { target, lane } = await openLane(fixture, [TABLE]);
      const rows = Array.from({ length: 1001 }, (_, i) => [String(i), null]);
      const work = lane.next([section('t', 'insert', COLUMNS, [['5000', 'good'], ...rows])]);
      await expect(target.apply(work)).rejects.toMatchObject({ code: 'QUARANTINE_LIMIT', fate: 'permanent' });
      expect(await fixture.query('SELECT count(*) FROM t')).toEqual([['0']]);
      expect(await target.points(lane.id)).toHaveLength(1);
    });

    test('a missing table or column is no row fault: nothing is quarantined', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
      const { target, lane } = await openLane(fixture, [TABLE, mirror('nowhere', TABLE.columns)]);
      const one = lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])]);
      await expect(target.apply(one)).rejects.toMatchObject({ code: 'TARGET_SCHEMA', fate: 'permanent' });
      const other = { ...one, sections: [section('nowhere', 'insert', COLUMNS, [['1', 'a']])] };
      await expect(target.apply(other)).rejects.toMatchObject({ code: 'TARGET_SCHEMA', fate: 'permanent' });
      expect(await target.points(lane.id)).toHaveLength(1);
    });

    test('children sent before their parents land', async () => {
      await using fixture = await make();
      await family(fixture);
      const { target, lane } = await openLane(fixture, [PARENT, CHILD]);
      const { cells } = await applied(
        target,
        lane.next([
          section('child', 'insert', CHILD_COLUMNS, [
            ['1', '10'],
            ['2', '20'],
            ['3', null],
          ]),
          section('parent', 'insert', COLUMNS, [
            ['10', 'a'],
            ['20', 'b'],
          ]),
        ]),
      );
      expect(cells).toEqual(['child insert inserted 3', 'parent insert inserted 2']);
    });

    test('parents deleted before their children go', async () => {
      await using fixture = await make();
      await family(fixture);
      await fixture.sql(`INSERT INTO parent VALUES (10, 'a'), (20, 'b')`);
      await fixture.sql('INSERT INTO child VALUES (1, 10), (2, 20)');
      const { target, lane } = await openLane(fixture, [PARENT, CHILD]);
      const { cells } = await applied(
        target,
        lane.next([
          section('parent', 'delete', COLUMNS, [['10'], ['20']]),
          section('child', 'delete', CHILD_COLUMNS, [['1'], ['2']]),
        ]),
      );
      expect(cells).toEqual(['child delete deleted 2', 'parent delete deleted 2']);
    });

    test('an orphan is isolated alone and its later change is not overtaken', async () => {
      await using fixture = await make();
      await family(fixture);
      const { target, lane } = await openLane(fixture, [PARENT, CHILD]);
      const { cells, quarantined } = await applied(
        target,
        lane.next([
          section('child', 'insert', CHILD_COLUMNS, [
            ['1', '10'],
            ['2', '99'],
            ['3', '10'],
          ]),
          section('child', 'update', CHILD_COLUMNS, [['1', null]]),
          section('parent', 'insert', COLUMNS, [['10', 'a']]),
        ]),
      );
      expect(cells).toEqual([
        'child insert inserted 2',
        'child insert quarantined 1',
        'child update updated 1',
        'parent insert inserted 1',
      ]);
      expect(quarantined).toMatchObject([{ table: 'child', section: 0, index: 1, code: 'FOREIGN_KEY' }]);
      expect(await fixture.query('SELECT id, parent_id FROM child ORDER BY id')).toEqual([
        ['1', null],
        ['3', '10'],
      ]);
    });

    test('a tree sent leaves first lands', async () => {
      await using fixture = await make();
      await fixture.sql(
        'CREATE TABLE office (id bigint NOT NULL PRIMARY KEY, above bigint, FOREIGN KEY (above) REFERENCES office (id))',
      );
      const office = mirror('office', [
        { name: 'id', type: integer },
        { name: 'above', type: integer },
      ]);
      const { target, lane } = await openLane(fixture, [office]);
      const rows = Array.from({ length: 500 }, (_, i) => [String(500 - i), i === 499 ? null : String(499 - i)]);
      const { cells } = await applied(target, lane.next([section('office', 'insert', ['id', 'above'], rows)]));
      expect(cells).toEqual(['office insert inserted 500']);
    });

    test('a unique value handed on inside one delivery lands', async () => {
      await using fixture = await make();
      const { keyTextType = 'text' } = fixture.dialect;
      await fixture.sql(`CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x ${keyTextType} UNIQUE)`);
      await fixture.sql(`INSERT INTO t VALUES (1, 'plate'), (2, 'other')`);
      const { target, lane } = await openLane(fixture, [TABLE]);
      const { cells } = await applied(
        target,
        lane.next([
          section('t', 'update', COLUMNS, [['2', 'plate']]),
          section('t', 'update', COLUMNS, [['1', 'none']]),
        ]),
      );
      expect(cells).toEqual(['t update updated 2']);
    });
  });
}
