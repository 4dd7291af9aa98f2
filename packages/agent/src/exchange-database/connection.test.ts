import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { connect, type Sqlite } from './connection.ts';

const QUERY = 'SELECT * FROM row WHERE lane = ? AND place = @place ORDER BY number LIMIT ?';

test('a statement is planned once, whatever is bound to it', () => {
  using planned = new Plans();
  const bare = filled(new Database(':memory:')).prepare(QUERY.replace('@place', '?'));
  // What the connection is for: should this no longer be so, it can go.
  expect(planned.during(() => [1, 2, 3].map((number) => bare.all('a', number, 5)))).toBe(3);
  const steady = filled(connect(':memory:')).prepare(QUERY.replace('@place', '?'));
  expect(planned.during(() => [1, 2, 3].map((number) => steady.all('a', number, 5)))).toBe(1);
});

test('values and limits mean what they meant', () => {
  const sqlite = filled(connect(':memory:'));
  const bytes = Buffer.from([0, 255]);
  sqlite.prepare('UPDATE row SET lane = @lane, place = ? WHERE number = ?').run(7, 2, { lane: bytes });
  const rows = sqlite.prepare<unknown[], object>(
    'SELECT * FROM row WHERE lane IS ? OR lane = @lane ORDER BY number LIMIT ? OFFSET ?',
  );
  expect(rows.all('a', 2, 0, { lane: bytes })).toEqual([
    { number: 1, lane: 'a', place: 1 },
    { number: 2, lane: bytes, place: 7 },
  ]);
  expect(rows.all('a', 5, 2, { lane: bytes })).toEqual([{ number: 3, lane: 'a', place: 3 }]);
  expect(sqlite.prepare("SELECT 'a = ?' AS text").get()).toEqual({ text: 'a = ?' });
});

test('a row that a statement gives back of what it wrote is not believed before the commit', () => {
  const sqlite = connect(':memory:');
  sqlite.exec(`CREATE TABLE parent (id INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED) STRICT`);
  sqlite.pragma('foreign_keys = ON');
  // As on a full disk it is the commit that fails.
  const add = sqlite.prepare('INSERT INTO child (parent) VALUES (?) RETURNING id').pluck();
  expect(() => add.get(7)).toThrow('FOREIGN KEY');
  sqlite.exec('INSERT INTO parent VALUES (7)');
  expect([add.get(7), add.get(7)]).toEqual([1, 2]);
});

function filled(sqlite: Sqlite): Sqlite {
  sqlite.exec('CREATE TABLE row (number INTEGER PRIMARY KEY, lane ANY, place ANY) STRICT');
  const add = sqlite.prepare("INSERT INTO row VALUES (?, 'a', ?)");
  for (const number of [1, 2, 3]) add.run(number, number);
  return sqlite;
}

/** better-sqlite3 makes a function that builds the rows of a statement each time SQLite has planned it. */
class Plans implements Disposable {
  readonly #before = globalThis.Function;
  #made = 0;

  constructor() {
    const count = () => {
      this.#made += 1;
    };
    globalThis.Function = new Proxy(this.#before, {
      apply(target, self, args) {
        count();
        return Reflect.apply(target, self, args);
      },
    });
  }

  during(work: () => unknown): number {
    const before = this.#made;
    work();
    return this.#made - before;
  }

  [Symbol.dispose](): void {
    globalThis.Function = this.#before;
  }
}
