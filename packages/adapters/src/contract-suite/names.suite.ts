/** Promise N1. */
import { describe, expect, test } from 'vitest';
import {
  applied,
  type Fixture,
  integer,
  mirror,
  openLane,
  quoted,
  scan,
  section,
  snapshotTable,
  text,
} from './fixture.ts';

const NAMES = [
  '出生医学证明信息表',
  'select',
  'order by',
  'say "no"',
  "o'clock",
  'x"; DROP TABLE witness; --',
  "'); DROP TABLE witness; --",
  'back\\slash',
  'a.b',
  '$1',
  '?',
  ':name',
  '%s',
  'MixedCase',
  '𠮷',
  // 63 bytes: the longest that PostgreSQL keeps.
  '名'.repeat(21),
  'n'.repeat(63),
];

export function namesContract(make: () => Promise<Fixture>): void {
  describe('names', () => {
    test.each(NAMES)('a table and its columns may be called %j', async (name) => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE witness (id bigint NOT NULL PRIMARY KEY)');
      const key = name === '名'.repeat(21) || name.length === 63 ? name : `${name}k`;
      const value = key === name ? 'v' : `${name}v`;
      const gone = key === name ? 'g' : `${name}g`;
      const columns = [
        { name: key, type: integer },
        { name: value, type: text },
      ];
      const table = mirror(name, columns, { onDelete: 'mark', markColumn: gone });
      await fixture.dataSource.createTable(table);
      const { target, lane } = await openLane(fixture, [table]);
      const names = [key, value];
      await fixture.sql(`INSERT INTO ${quoted(name)} (${quoted(key)}, ${quoted(value)}) VALUES (9, 'old')`);
      const { cells, answer } = await applied(
        target,
        lane.next(
          [
            section(name, 'insert', names, [
              ['1', name],
              ['2', 'b'],
            ]),
            section(name, 'update', names, [['2', name]]),
            section(name, 'delete', names, [['1']]),
          ],
          { load: { begins: true, ends: true } },
        ),
      );
      expect(cells).toEqual([`${name} delete deleted 1`, `${name} insert inserted 2`, `${name} update updated 1`]);
      expect(answer.extras).toEqual([{ table: name, deleted: 1, kept: 0 }]);
      const { rows } = await scan(fixture.dataSource, await snapshotTable(fixture.dataSource, name, names));
      expect(rows.toSorted((a, b) => Number(a[0]) - Number(b[0]))).toEqual([
        ['1', name],
        ['2', name],
        ['9', 'old'],
      ]);
      expect((await fixture.dataSource.tables()).map((each) => each.name)).toContain('witness');
      const problems = await fixture.dataSource.checkSource([{ table: name, ref: { name } }]);
      expect(problems.filter(({ warning }) => !warning)).toEqual([]);
    });
  });
}
