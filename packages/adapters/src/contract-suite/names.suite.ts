/** Promise N1: in source, target, check, keys, cursor, triggers and log. */
import { describe, expect, test } from 'vitest';
import type { LogReading, SnapshotTable } from '../adapter.ts';
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
  '100%_',
  '`tick`',
  ' blank and\ttab',
  'MixedCase',
  '𠮷',
  '😀👨‍👩‍👧',
  'e\u0301 שלום',
  // 63 bytes: the longest that PostgreSQL keeps.
  '名'.repeat(21),
  'n'.repeat(63),
  // 64 characters: the longest that MySQL keeps.
  'n'.repeat(64),
  '名'.repeat(64),
];

export function namesContract(make: () => Promise<Fixture>): void {
  describe('names', () => {
    test('tables and columns may be called anything, wherever they are named', async () => {
      await using fixture = await make();
      const { dataSource, dialect } = fixture;
      await fixture.sql('CREATE TABLE witness (id bigint NOT NULL PRIMARY KEY)');
      const named = NAMES.filter((name) => dialect.canName?.(name) !== false).map(namedTable);
      for (const { table, columns } of named) {
        await dataSource.createTable(table);
        await fixture.sql(`INSERT INTO ${quoted(table.table)} (${columns.map(quoted).join(', ')}) VALUES (9, 'old')`);
      }
      const { target, lane } = await openLane(
        fixture,
        named.map(({ table }) => table),
      );
      const sections = named.flatMap(({ table: { table: name }, columns }) => [
        section(name, 'insert', columns, [
          ['1', name],
          ['2', 'b'],
        ]),
        section(name, 'update', columns, [['2', name]]),
        section(name, 'delete', columns, [['1']]),
      ]);
      const { cells, answer } = await applied(target, lane.next(sections, { load: { begins: true, ends: true } }));
      const outcomes = ['delete deleted 1', 'insert inserted 2', 'update updated 1'];
      expect(cells).toEqual(named.flatMap(({ table }) => outcomes.map((each) => `${table.table} ${each}`)).toSorted());
      expect(answer.extras.map(({ table, deleted }) => `${table} ${deleted}`).toSorted()).toEqual(
        named.map(({ table }) => `${table.table} 1`).toSorted(),
      );

      const tables: SnapshotTable[] = [];
      for (const { table, columns } of named) {
        const read = await snapshotTable(dataSource, table.table, columns);
        const { rows } = await scan(dataSource, read);
        expect(rows.toSorted(byKey), table.table).toEqual([
          // Marked as deleted, and there.
          ['1', table.table],
          ['2', table.table],
          ['9', 'old'],
        ]);
        await expectFollowed(fixture, read);
        tables.push(read);
      }
      expect((await dataSource.tables()).map(({ name }) => name)).toContain('witness');

      const asked = tables.map(({ ref, columns }) => ({ table: ref.name, ref, cursor: columns[0]?.name }));
      expect((await dataSource.checkSource(asked)).filter(({ warning }) => !warning)).toEqual([]);
      const shapes = new Map(
        named.map(({ table }) => [
          table.table,
          { columns: table.columns.map((each, at) => ({ ...each, nullable: at > 0 })) },
        ]),
      );
      const landing = await dataSource.checkTarget(
        named.map(({ table }) => table),
        shapes,
      );
      expect(landing.filter(({ warning }) => !warning)).toEqual([]);
      await expectLogged(fixture, tables);
    }, 60_000);
  });
}

/** A table of this name whose columns have it too, as far as they may be as long. */
function namedTable(name: string) {
  const isLongest = name.length > 20;
  const [key, value, gone] = isLongest ? [name, 'v', 'g'] : [`${name}k`, `${name}v`, `${name}g`];
  const columns = [
    { name: key, type: integer },
    { name: value, type: text },
  ];
  return { table: mirror(name, columns, { onDelete: 'mark', markColumn: gone }), columns: [key, value] };
}

/** By its keys, from a value of the cursor on, and by triggers. */
async function expectFollowed(fixture: Fixture, table: SnapshotTable): Promise<void> {
  const { dataSource } = fixture;
  const { name } = table.ref;
  const key = table.columns[0]?.name ?? '';
  const byKeys = await scan(dataSource, { ...table, keys: Buffer.from('2\n9\n') });
  expect(byKeys.rows.map(([id]) => String(id)).toSorted(), name).toEqual(['2', '9']);
  const since = await scan(dataSource, { ...table, cursor: { column: key, type: integer, since: '3' } });
  expect(since.rows, name).toEqual([['9', 'old']]);

  const { triggers } = dataSource;
  if (triggers === undefined) return;
  const plan = await triggers.plan({ table: name, ref: { name }, owner: 'health' });
  await triggers.run(plan.install);
  await fixture.sql(`INSERT INTO ${quoted(name)} (${quoted(key)}) VALUES (10)`);
  expect((await triggers.state(plan)).kind, name).toBe('ready');
  const { rows } = await scan(dataSource, plan.entries);
  expect(rows.map(([, operation, id]) => `${operation} ${id}`).toSorted(), name).toEqual(['I 10', 'S null']);
  await triggers.forget(
    plan,
    rows.map(([id]) => id as string),
  );
  await triggers.run(plan.remove);
}

async function expectLogged(fixture: Fixture, tables: readonly SnapshotTable[]): Promise<void> {
  const { log } = fixture.dataSource;
  if (log === undefined) return;
  const prepared = await log.prepare({ name: 'qiao_suite', tables });
  const reading = await prepared.read(prepared.newest, new AbortController().signal);
  for (const { ref, columns } of tables) {
    await fixture.sql(`INSERT INTO ${quoted(ref.name)} (${quoted(columns[0]?.name ?? '')}) VALUES (11)`);
  }
  expect(await changed(reading, tables.length)).toEqual(tables.map((_, at) => `${at} 11\t\\N\n`));
  await reading[Symbol.asyncDispose]();
  await log.remove('qiao_suite');
}

/** The next so many changes, each with the number of its table. */
async function changed(reading: LogReading, count: number): Promise<string[]> {
  const found: string[] = [];
  for await (const pieces of reading) {
    found.push(
      ...pieces.flatMap(({ changes }) => changes.map(({ table, line }) => `${table} ${line.toString('utf8')}`)),
    );
    if (found.length >= count) break;
  }
  return found;
}

function byKey(a: readonly (string | null)[], b: readonly (string | null)[]): number {
  return Number(a[0]) - Number(b[0]);
}
