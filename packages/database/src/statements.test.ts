import Sqlite from 'better-sqlite3';
import { expect, test } from 'vitest';
import { keepingStatements } from './statements.ts';

test('a statement is planned once, and one that was not used for long is let go', () => {
  using sqlite = opened();
  const database = keepingStatements(sqlite.database);
  const first = database.prepare('SELECT ? AS a');
  for (let index = 0; index < 299; index++) database.prepare(`SELECT ${index}`);
  expect(database.prepare('SELECT ? AS a')).toBe(first);
  for (let index = 299; index < 599; index++) database.prepare(`SELECT ${index}`);
  const again = database.prepare('SELECT ? AS a');
  expect(again).not.toBe(first);
  expect(again.all([1])).toEqual([{ a: 1 }]);
});

test('a kept statement sees the columns that a table has now', () => {
  using sqlite = opened();
  sqlite.database.exec('CREATE TABLE t (a); INSERT INTO t VALUES (1)');
  const database = keepingStatements(sqlite.database);
  expect(database.prepare('SELECT * FROM t').all([])).toEqual([{ a: 1 }]);
  sqlite.database.exec('ALTER TABLE t ADD b DEFAULT 2');
  expect(database.prepare('SELECT * FROM t').all([])).toEqual([{ a: 1, b: 2 }]);
});

function opened() {
  const database = new Sqlite(':memory:');
  return { database, [Symbol.dispose]: () => database.close() };
}
