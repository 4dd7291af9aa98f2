/** What is SQLite's own about applying: circles of references, conflict clauses, triggers, locks, affinities. */
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { applied, integer, mirror, openLane, section, text } from '../contract-suite/fixture.ts';
import { makeDepartment } from './department.testing.ts';

const TABLE = mirror('t', [
  { name: 'id', type: integer },
  { name: 'x', type: text },
]);
const COLUMNS = ['id', 'x'];

test('rows that refer to each other in a circle land, an orphan beside them does not', async () => {
  await using department = await makeDepartment();
  await department.sql('CREATE TABLE a (id bigint NOT NULL PRIMARY KEY, other bigint NOT NULL REFERENCES a (id))');
  const table = mirror('a', [
    { name: 'id', type: integer },
    { name: 'other', type: integer },
  ]);
  const { target, lane } = await openLane(department, [table]);
  const rows = [
    ['1', '2'],
    ['2', '3'],
    ['3', '1'],
    ['4', '99'],
    ['5', '4'],
  ];
  const { cells, quarantined } = await applied(target, lane.next([section('a', 'insert', ['id', 'other'], rows)]));
  expect(cells).toEqual(['a insert inserted 3', 'a insert quarantined 2']);
  expect(quarantined.map(({ index, code }) => [index, code])).toEqual([
    [3, 'FOREIGN_KEY'],
    [4, 'FOREIGN_KEY'],
  ]);
});

test("a table's own ON CONFLICT REPLACE removes no other row for us", async () => {
  await using department = await makeDepartment();
  await department.sql(
    'CREATE TABLE t (id bigint NOT NULL PRIMARY KEY ON CONFLICT REPLACE, x text UNIQUE ON CONFLICT REPLACE, own text)',
  );
  await department.sql(`INSERT INTO t VALUES (1, 'a', 'mine'), (2, 'b', 'mine')`);
  const { target, lane } = await openLane(department, [TABLE]);
  const { cells } = await applied(
    target,
    lane.next([
      section('t', 'insert', COLUMNS, [
        ['1', 'z'],
        ['3', 'b'],
      ]),
    ]),
  );
  expect(cells).toEqual(['t insert quarantined 1', 't insert updatedInsteadOfInsert 1']);
  expect(await department.query('SELECT id, x, own FROM t ORDER BY id')).toEqual([
    ['1', 'z', 'mine'],
    ['2', 'b', 'mine'],
  ]);
});

test('a trigger that refuses or passes over a row isolates it; one that ends the transaction stops the lane', async () => {
  await using department = await makeDepartment();
  await department.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text)');
  await department.sql(
    `CREATE TRIGGER refuse BEFORE INSERT ON t WHEN new.x = 'secret' BEGIN SELECT raise(ABORT, 'secret is not allowed'); END`,
  );
  await department.sql(`CREATE TRIGGER ignore BEFORE INSERT ON t WHEN new.x = 'quiet' BEGIN SELECT raise(IGNORE); END`);
  await department.sql(
    `CREATE TRIGGER stop BEFORE INSERT ON t WHEN new.x = 'stop' BEGIN SELECT raise(ROLLBACK, 'stop'); END`,
  );
  const { target, lane } = await openLane(department, [TABLE]);
  const rows = [
    ['1', 'a'],
    ['2', 'secret'],
    ['3', 'quiet'],
  ];
  const { cells, quarantined } = await applied(target, lane.next([section('t', 'insert', COLUMNS, rows)]));
  expect(cells).toEqual(['t insert inserted 1', 't insert quarantined 2']);
  expect(quarantined.map(({ code }) => code)).toEqual(['TRIGGER_REFUSED', 'TRIGGER_REFUSED']);
  expect(quarantined.map(({ reason }) => reason).join()).not.toContain('secret');
  const stopping = lane.next([
    section('t', 'insert', COLUMNS, [
      ['4', 'a'],
      ['5', 'stop'],
    ]),
  ]);
  await expect(target.apply(stopping)).rejects.toMatchObject({ code: 'TARGET_SCHEMA' });
  expect(await department.query('SELECT count(*) FROM t')).toEqual([['1']]);
});

test('a key that is unique only without regard to case is no key to apply by', async () => {
  await using department = await makeDepartment();
  await department.sql('CREATE TABLE t (id text NOT NULL PRIMARY KEY COLLATE NOCASE, x text)');
  const table = mirror('t', [
    { name: 'id', type: text },
    { name: 'x', type: text },
  ]);
  const problems = await department.dataSource.checkTarget([table], new Map());
  expect(problems.map(({ code }) => code)).toEqual(['KEY_COLLATION_COARSE']);
  const { target, lane } = await openLane(department, [table]);
  await expect(target.apply(lane.next([section('t', 'insert', COLUMNS, [['a', 'x']])]))).rejects.toMatchObject({
    code: 'TARGET_SCHEMA',
  });
});

test('a column compared without regard to case is still updated when the case changes', async () => {
  await using department = await makeDepartment();
  await department.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text COLLATE NOCASE)');
  await department.sql(`INSERT INTO t VALUES (1, 'a')`);
  const { target, lane } = await openLane(department, [TABLE]);
  const { cells } = await applied(target, lane.next([section('t', 'update', COLUMNS, [['1', 'A']])]));
  expect(cells).toEqual(['t update updated 1']);
});

test('values that a column would store as something else are refused', async () => {
  await using department = await makeDepartment();
  await department.sql(
    'CREATE TABLE n (id bigint NOT NULL PRIMARY KEY, d numeric, f double, j json, e decimal_text(30,10), t json_text)',
  );
  const names = ['id', 'd', 'f', 'j', 'e', 't'];
  const { target, lane } = await openLane(department, [
    mirror(
      'n',
      names.map((name) => ({ name, type: text })),
    ),
  ]);
  const rows = [
    ['1', '123456789012345678', '0.1', '{"a": 12.50}', '12345678901234567890.1234567890', '12.50'],
    ['2', '12345678901234.567', null, null, null, null],
    ['3', null, 'NaN', null, null, null],
    ['4', null, '-0', null, null, null],
    ['5', null, null, '12.50', null, null],
    ['6', '0.1', 'Infinity', '"12.50"', '-0.5', 'null'],
  ];
  const { cells, quarantined } = await applied(target, lane.next([section('n', 'insert', names, rows)]));
  expect(cells).toEqual(['n insert inserted 2', 'n insert quarantined 4']);
  expect(quarantined.map(({ index }) => index)).toEqual([1, 2, 3, 4]);
  const again = await applied(target, lane.next([section('n', 'insert', names, [rows[0] ?? [], rows[5] ?? []])]));
  expect(again.cells).toEqual(['n insert unchanged 2']);
  expect(await department.query('SELECT e, t FROM n WHERE id = 1')).toEqual([
    ['12345678901234567890.1234567890', '12.50'],
  ]);
});

test('a locked file is waited for without stopping the event loop', async () => {
  await using department = await makeDepartment();
  await department.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text)');
  const { target, lane } = await openLane(department, [TABLE]);
  const other = new Database(department.file);
  other.exec('BEGIN IMMEDIATE');
  const applying = target.apply(lane.next([section('t', 'insert', COLUMNS, [['1', 'a']])]));
  await new Promise((resolve) => setTimeout(resolve, 100));
  other.exec('COMMIT');
  other.close();
  expect(await applying).toMatchObject({ kind: 'applied' });
});
