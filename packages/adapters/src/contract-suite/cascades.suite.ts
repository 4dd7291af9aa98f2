/** Foreign keys by which the database itself deletes or changes rows of other tables: promises D4 and R10. */
import { type Filter, parseFilter } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import type { TargetTable } from '../adapter.ts';
import { applied, type Fixture, integer, mirror, openLane, section, text } from './fixture.ts';

const PARENT = mirror('parent', [
  { name: 'id', type: integer },
  { name: 'code', type: text },
]);
const CHILD = mirror('child', [
  { name: 'id', type: integer },
  { name: 'parent_id', type: integer },
]);

async function family(fixture: Fixture, rules: string): Promise<void> {
  await fixture.sql('CREATE TABLE parent (id bigint NOT NULL PRIMARY KEY, code varchar(20) UNIQUE)');
  await fixture.sql(
    `CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, parent_id bigint DEFAULT 0, FOREIGN KEY (parent_id) REFERENCES parent (id) ${rules})`,
  );
}

async function cascades(fixture: Fixture, ...tables: TargetTable[]): Promise<string[]> {
  const problems = await fixture.dataSource.checkTarget(tables, new Map());
  return problems
    .filter(({ code }) => code === 'FOREIGN_KEY_CASCADES')
    .map(({ path, warning }) => `${path}${warning === true ? ' warning' : ''}`);
}

const ownedRows = (): Filter => parseFilter('id < 100').filter as Filter;

export function cascadesContract(make: () => Promise<Fixture>): void {
  describe('foreign keys that act by themselves', () => {
    for (const rule of ['CASCADE', 'SET NULL']) {
      test(`a table outside the bridge that loses rows by ON DELETE ${rule} is refused, with the table, the key and the way out`, async () => {
        await using fixture = await make();
        await family(fixture, `ON DELETE ${rule}`);
        const problems = await fixture.dataSource.checkTarget([PARENT], new Map());
        const refused = problems.filter(({ warning }) => warning !== true);
        expect(refused).toMatchObject([{ code: 'FOREIGN_KEY_CASCADES', path: 'parent.child' }]);
        expect(refused[0]?.message).toMatch(/\bchild\b/);
        expect(refused[0]?.message).toContain(`ON DELETE ${rule}`);
        expect(refused[0]?.hint).toMatch(/RESTRICT.*onDelete: mark/);
        expect(await cascades(fixture, { ...PARENT, landing: 'journal' })).toEqual([]);
        expect(await cascades(fixture, { ...PARENT, onDelete: 'mark', markColumn: 'code' })).toEqual([]);
      });
    }

    test('keys that refuse are no problem: a row that is referred to waits in quarantine', async () => {
      await using fixture = await make();
      await family(fixture, '');
      expect(await cascades(fixture, PARENT)).toEqual([]);
      await fixture.sql(`INSERT INTO parent VALUES (1, 'a')`);
      await fixture.sql('INSERT INTO child VALUES (5, 1)');
      const { target, lane } = await openLane(fixture, [PARENT]);
      const { cells } = await applied(target, lane.next([section('parent', 'delete', ['id'], [['1']])]));
      expect(cells).toEqual(['parent delete quarantined 1']);
    });

    test('ON UPDATE CASCADE is refused where the bridge changes what is referred to, and only there', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE parent (id bigint NOT NULL PRIMARY KEY, code varchar(20) UNIQUE)');
      await fixture.sql(
        'CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, code varchar(20), FOREIGN KEY (code) REFERENCES parent (code) ON UPDATE CASCADE)',
      );
      expect(await cascades(fixture, PARENT)).toEqual(['parent.child']);
      expect(await cascades(fixture, { ...PARENT, columns: [{ name: 'id', type: integer }] })).toEqual([]);
    });

    test('between tables of the bridge it is a warning, and refused where the other keeps rows of its own', async () => {
      await using fixture = await make();
      await family(fixture, 'ON DELETE CASCADE');
      expect(await cascades(fixture, PARENT, CHILD)).toEqual(['parent.child warning']);
      expect(await cascades(fixture, PARENT, { ...CHILD, ownership: 'none' })).toEqual(['parent.child warning']);
      expect(await cascades(fixture, PARENT, { ...CHILD, ownership: ownedRows() })).toEqual(['parent.child']);
      expect(await cascades(fixture, PARENT, { ...CHILD, onDelete: 'mark', markColumn: 'gone' })).toEqual([
        'parent.child',
      ]);
      await fixture.sql(`INSERT INTO parent VALUES (1, 'a')`);
      await fixture.sql('INSERT INTO child VALUES (5, 1)');
      const { target, lane } = await openLane(fixture, [PARENT, CHILD]);
      const { cells } = await applied(
        target,
        lane.next([section('parent', 'delete', ['id'], [['1']]), section('child', 'delete', ['id'], [['5']])]),
      );
      expect(cells).toEqual(['child delete deletedNothing 1', 'parent delete deleted 1']);
    });

    test('a table that refers to itself is judged like any other of the bridge', async () => {
      await using fixture = await make();
      await fixture.sql(
        'CREATE TABLE office (id bigint NOT NULL PRIMARY KEY, above bigint, FOREIGN KEY (above) REFERENCES office (id) ON DELETE CASCADE)',
      );
      const office = mirror('office', [
        { name: 'id', type: integer },
        { name: 'above', type: integer },
      ]);
      expect(await cascades(fixture, office)).toEqual(['office.office warning']);
      expect(await cascades(fixture, { ...office, ownership: ownedRows() })).toEqual(['office.office']);
    });

    test('such a key that came after the check stops the lane before a row is lost', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE parent (id bigint NOT NULL PRIMARY KEY, code varchar(20) UNIQUE)');
      await fixture.sql(`INSERT INTO parent VALUES (1, 'a')`);
      const first = await openLane(fixture, [PARENT]);
      await first.target.close();
      await fixture.sql(
        'CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, parent_id bigint, FOREIGN KEY (parent_id) REFERENCES parent (id) ON DELETE CASCADE)',
      );
      await fixture.sql('INSERT INTO child VALUES (5, 1)');
      const target = await fixture.dataSource.openTarget();
      const work = first.lane.next([section('parent', 'delete', ['id'], [['1']])]);
      await expect(target.apply(work)).rejects.toMatchObject({
        code: 'TARGET_SCHEMA',
        fate: 'permanent',
        message: expect.stringContaining('child'),
      });
      expect(await fixture.query('SELECT id FROM child')).toEqual([['5']]);
      expect(await fixture.query('SELECT id FROM parent')).toEqual([['1']]);
    });
  });
}
