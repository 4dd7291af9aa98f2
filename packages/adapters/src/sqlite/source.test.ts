/** What is SQLite's own about reading: storage classes, broken text, rollback journals. */
import { expect, test, vi } from 'vitest';
import { collect, scan, snapshotTable } from '../contract-suite/fixture.ts';
import { makeDepartment } from './department.testing.ts';

test('a value of another storage class than its type is refused and counted, never altered', async () => {
  await using department = await makeDepartment();
  await department.sql(
    `CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, i integer, s int2, f double, d decimal(6,2), b boolean, x text, y blob, day date, at timestamp, u uuid)`,
  );
  await department.sql(`INSERT INTO t (id) VALUES (0)`);
  const wrong = [
    ['i', `'twelve'`],
    ['i', '1.5'],
    ['i', `x'00'`],
    ['f', `'much'`],
    ['d', `'cheap'`],
    ['b', `'true'`],
    ['b', '2'],
    ['x', `x'6869'`],
    ['y', `'text'`],
    ['day', '19700101'],
    ['at', '1700000000'],
  ];
  const invalid = [
    ['s', '40000'],
    ['d', '1.005'],
    ['d', '12345.5'],
    ['d', '0.1 + 0.2'],
    ['day', `'2023-02-29'`],
    ['day', `'31.12.2023'`],
    ['at', `'2024-01-31 25:00:00'`],
    ['at', `'2024-01-31 08:00:00Z'`],
    ['u', `'nobody'`],
  ];
  for (const [i, [column, value]] of [...wrong, ...invalid].entries()) {
    await department.sql(`INSERT INTO t (id, ${column}) VALUES (${i + 1}, ${value})`);
  }
  const table = await snapshotTable(department.dataSource, 't', [
    'id',
    'i',
    's',
    'f',
    'd',
    'b',
    'x',
    'y',
    'day',
    'at',
    'u',
  ]);
  const { rows, refused } = await scan(department.dataSource, table);
  expect(rows.map(([id]) => id)).toEqual(['0']);
  const counted = (code: string) =>
    Object.fromEntries(refused.filter((each) => each.code === code).map(({ column, count }) => [column, count]));
  const tally = (list: string[][]) => {
    const counts: Record<string, number> = {};
    for (const [column = ''] of list) counts[column] = (counts[column] ?? 0) + 1;
    return counts;
  };
  expect(counted('STORAGE_CLASS')).toEqual(tally(wrong));
  expect(counted('VALUE_INVALID')).toEqual(tally(invalid));
});

test('another spelling of the same value becomes the canonical one', async () => {
  await using department = await makeDepartment();
  await department.sql(
    'CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, at timestamp, seen timestamptz, clock time, d decimal(8,2), u uuid)',
  );
  await department.sql(
    `INSERT INTO t VALUES (1, '2024-01-31T08:00:00.500', '2024-01-31T08:00Z', '08:00', 12, '0F8FAD5B-D9CB-469F-A165-70867728950E'),
       (2, '2024-01-31 08:00', '2024-01-31 08:00:00+00:00', '08:00:00.000', 0.5, NULL)`,
  );
  const { rows } = await scan(
    department.dataSource,
    await snapshotTable(department.dataSource, 't', ['id', 'at', 'seen', 'clock', 'd', 'u']),
  );
  expect(rows).toEqual([
    [
      '1',
      '2024-01-31 08:00:00.5',
      '2024-01-31 08:00:00+00',
      '08:00:00',
      '12.00',
      '0f8fad5b-d9cb-469f-a165-70867728950e',
    ],
    ['2', '2024-01-31 08:00:00', '2024-01-31 08:00:00+00', '08:00:00', '0.50', null],
  ]);
});

test('text with NUL and bytes that are no UTF-8 are refused, a real U+FFFD is not', async () => {
  await using department = await makeDepartment();
  await department.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text)');
  await department.sql(
    `INSERT INTO t VALUES (1, CAST(x'c3' AS text)), (2, '\ufffd'), (3, CAST(x'610062' AS text)), (4, CAST(x'e4bda0e5' AS text))`,
  );
  const { rows, refused } = await scan(
    department.dataSource,
    await snapshotTable(department.dataSource, 't', ['id', 'x']),
  );
  expect(rows).toEqual([['2', '\ufffd']]);
  expect(refused).toEqual([
    { code: 'TEXT_NOT_UTF8', column: 'x', count: 2 },
    { code: 'TEXT_HAS_NUL', column: 'x', count: 1 },
  ]);
});

test('rows with unreadable keys do not stop the scan of the others', async () => {
  await using department = await makeDepartment();
  await department.sql('CREATE TABLE t (id text NOT NULL PRIMARY KEY, x integer)');
  await department.sql(
    `INSERT INTO t SELECT 'k' || value, value FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 3000) SELECT value FROM n)`,
  );
  await department.sql(`INSERT INTO t SELECT CAST('b' || x AS blob), x FROM t WHERE x <= 500`);
  const { rows, refused } = await scan(
    department.dataSource,
    await snapshotTable(department.dataSource, 't', ['id', 'x']),
  );
  expect(new Set(rows.map(([id]) => id)).size).toBe(3000);
  expect(rows.length).toBe(3000);
  expect(refused.reduce((sum, { count }) => sum + count, 0)).toBe(500);
});

test('keys of every type are scanned to their end', async () => {
  await using department = await makeDepartment();
  const numbers = '(WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 2500) SELECT v FROM n)';
  for (const [type, value] of [
    ['double', 'v / 8.0'],
    ['decimal(10,2)', 'v / 4.0'],
    ['blob', `CAST('b' || v AS blob)`],
    ['bigint', '9007199254740000 + v'],
    ['timestamp', `'2024-01-01 00:00:00.' || (100000 + v)`],
    ['varchar(20) COLLATE NOCASE', `'键' || v`],
  ]) {
    await department.sql('DROP TABLE IF EXISTS t');
    await department.sql(
      `CREATE TABLE t (flag boolean NOT NULL, k ${type} NOT NULL, PRIMARY KEY (flag, k)) WITHOUT ROWID`,
    );
    await department.sql(`INSERT INTO t SELECT v % 2, ${value} FROM ${numbers}`);
    const { rows, refused } = await scan(
      department.dataSource,
      await snapshotTable(department.dataSource, 't', ['flag', 'k'], 2),
    );
    expect(refused).toEqual([]);
    expect(new Set(rows.map(([flag, k]) => `${flag} ${k}`)).size).toBe(2500);
    expect(rows.length).toBe(2500);
  }
});

test('without WAL a slow reader does not stop the department, and the snapshot says what it then is', async () => {
  await using department = await makeDepartment('delete');
  await department.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x integer)');
  await department.sql(
    `INSERT INTO t WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 20000) SELECT v, 1 FROM n`,
  );
  const table = await snapshotTable(department.dataSource, 't', ['id', 'x']);
  await using snapshot = await department.dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
  const reading = snapshot.rows(table)[Symbol.asyncIterator]();
  const first = await reading.next();
  expect(snapshot.consistency).toBe('snapshot');
  // The department's program tries until our hold is over; nobody asks the reader for more meanwhile.
  const startedAt = performance.now();
  await department.sql('PRAGMA busy_timeout = 0');
  await vi.waitFor(() => department.sql('UPDATE t SET x = 2 WHERE id > 10000'), { timeout: 3_000, interval: 20 });
  expect(performance.now() - startedAt).toBeLessThan(3_000);
  const rest = await collect({ [Symbol.asyncIterator]: () => reading }, 2);
  const firstRows = first.done ? 0 : (first.value.rowCount ?? 0);
  expect(firstRows + rest.rows.length).toBe(20_000);
  expect(rest.rows.at(-1)).toEqual(['20000', '2']);
  expect(snapshot.consistency).toBe('chunks');
});

test('without WAL the check says that reading stops writers', async () => {
  for (const [mode, said] of [
    ['delete', ['READS_STOP_WRITERS']],
    ['wal', []],
  ] as const) {
    await using department = await makeDepartment(mode);
    await department.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
    const problems = await department.dataSource.checkSource([{ table: 't', ref: { name: 't' } }]);
    expect(problems.map(({ code }) => code)).toEqual(said);
  }
});

test('without WAL and without writers the whole is one snapshot', async () => {
  await using department = await makeDepartment('delete');
  await department.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)');
  await department.sql('INSERT INTO t VALUES (1), (2)');
  const table = await snapshotTable(department.dataSource, 't', ['id']);
  await using snapshot = await department.dataSource.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
  expect((await collect(snapshot.rows(table), 1)).rows).toEqual([['1'], ['2']]);
  expect(snapshot.consistency).toBe('snapshot');
});

test('a missing file is an answer to probe and an error with a hint elsewhere', async () => {
  const { openSqlite } = await import('./dataSource.ts');
  const away = openSqlite({ name: 'away', adapter: 'sqlite', file: '/nowhere/at/all.db' });
  expect(await away.probe()).toMatchObject({ reachable: false, code: 'FILE_MISSING' });
  await expect(away.tables()).rejects.toMatchObject({
    code: 'FILE_MISSING',
    hint: expect.stringContaining('agent.yaml'),
  });
});
