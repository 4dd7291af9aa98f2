/** The statements that read a table at servers that nobody here can run: what is quoted, what is bound, and in which order. */
import { MAX_ROW_BYTES } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import type { SnapshotTable } from '../adapter.ts';
import { mssqlDatabase } from '../mssql/dataSource.ts';
import { type CatalogType, nativeType, travelOf } from '../mssql/types.ts';
import type { ReadColumn, ReadTable } from './reader.ts';
import { lineOf } from './snapshot.ts';
import { readingOf } from './statement.ts';

const database = mssqlDatabase({
  name: 'his',
  adapter: 'mssql',
  host: 'db',
  port: 1433,
  database: 'his',
  user: 'qiao',
  password: '',
});

function column(name: string, catalog: Partial<CatalogType> & Pick<CatalogType, 'name'>, nullable = false): ReadColumn {
  const whole = { maxLength: 0, precision: 0, scale: 0, collation: 'Chinese_PRC_CI_AS', ...catalog };
  const travel = travelOf(whole);
  if (travel === undefined) throw new Error(`${name} cannot travel`);
  const shared = { name, nullable, generated: false, hasDefault: false };
  return { ...shared, type: travel.type, nativeType: nativeType(whole), travel };
}

const table: ReadTable = {
  schema: 'dbo',
  name: '人 [x]',
  kind: 'table',
  columns: [
    column('area', { name: 'varchar', maxLength: 6 }),
    column('no', { name: 'bigint' }),
    column('at', { name: 'datetime2', scale: 7 }, true),
    column('photo', { name: 'varbinary', maxLength: -1 }, true),
    column('x', { name: 'nvarchar', maxLength: 40 }, true),
  ],
  primaryKey: ['area', 'no'],
  uniqueKeys: [['area', 'no']],
  uniqueIndexes: [['area', 'no']],
  indexed: new Set(['area']),
  foreignKeys: [],
};

function reading(names: readonly string[], more: Partial<SnapshotTable> = {}) {
  const columns = names.map((name) => ({ name, type: { type: 'text' as const } }));
  return readingOf(database, table, { ref: { name: table.name }, columns, keyColumns: 2, ...more });
}

describe('reading a table', () => {
  test('whole: each value by the text that the server writes, names quoted, nothing bound', () => {
    expect(reading(['area', 'no', 'at']).whole()).toEqual({
      sql: 'SELECT NULL, CONVERT(nvarchar(4000), [area]), CONVERT(varchar(40), [no]), CONVERT(varchar(40), [at], 121) FROM [dbo].[人 [x]]] q',
      values: [],
    });
  });

  test('a value that is longer than a row stays at the server, and its row is counted', () => {
    const asked = reading(['area', 'no', 'photo']);
    const isTooLong = `DATALENGTH([photo]) > ${MAX_ROW_BYTES}`;
    expect(asked.whole().sql).toContain(`SELECT CASE WHEN ${isTooLong} THEN 1 END,`);
    expect(asked.whole().sql).toContain(`CASE WHEN ${isTooLong} THEN NULL ELSE [photo] END`);
    expect(asked.refusals).toEqual([{ code: 'ROW_TOO_LARGE', column: '' }]);
    // Nobody can say how many such rows fit into memory.
    expect(asked.batchRows).toBe(1);
    expect(reading(['area', 'no']).batchRows).toBe(1000);
  });

  test('from a cursor’s value on: bound, and as a value of the column’s own type', () => {
    const cursor = { column: 'at', type: { type: 'timestamp', digits: 7 } as const, since: '2024-01-31 08:00:00' };
    const { sql, values } = reading(['area', 'no'], { cursor }).whole();
    expect(sql).toMatch(/ WHERE \(\[at\] >= CONVERT\(datetime2\(7\), @p1, 121\)\)$/);
    expect(values).toEqual(['2024-01-31 08:00:00']);
    const whole = reading(['area', 'no'], { cursor: { ...cursor, since: undefined } }).whole();
    expect(whole.sql).toMatch(/ WHERE \(\[at\] IS NOT NULL\)$/);
  });

  test('by keys: every value is bound, and no more than a statement may have', () => {
    const keys = Array.from({ length: 1_500 }, (_, n) => ["o'clock", String(n)]);
    const { statement, taken } = reading(['area', 'no']).ofKeys(keys);
    expect(taken).toBe(1_000);
    expect(statement.values.length).toBe(2_000);
    expect(statement.sql).toContain(
      '([area] = CONVERT(varchar(8000), @p1) COLLATE Chinese_PRC_CI_AS AND [no] = CONVERT(bigint, @p2)) OR ([area] = ',
    );
    expect(statement.sql).not.toContain('clock');
  });

  test('in steps: behind the last key, in its order', () => {
    const asked = reading(['area', 'no']);
    expect(asked.after(undefined, 50).sql).toMatch(
      / ORDER BY q\.\[area\], q\.\[no\] OFFSET 0 ROWS FETCH NEXT 50 ROWS ONLY$/,
    );
    const { sql, values } = asked.after(['a', '9'], 50);
    expect(sql.replaceAll(/CONVERT\(\w+(?:\(\d+\))?, (@p\d+)\)(?: COLLATE \w+)?/g, '$1')).toContain(
      'WHERE ([area] >= @p1 AND (([area] > @p2) OR ([area] = @p3 AND [no] > @p4))) ORDER BY',
    );
    expect(values).toEqual(['a', 'a', 'a', '9']);
  });

  test('a column that the table no longer has fails by its name', () => {
    expect(() => reading(['area', 'gone'])).toThrow(
      expect.objectContaining({ code: 'SOURCE_SCHEMA', message: expect.stringContaining('gone') }),
    );
  });
});

describe('a row', () => {
  test('becomes a line, or is counted under the first column that cannot be carried', () => {
    const asked = reading(['area', 'no', 'x']);
    expect(lineOf([null, 'a\tb', '7', null], asked)).toEqual([null, Buffer.from('a\tb'), Buffer.from('7'), null]);
    expect(lineOf([null, 'a', 'seven', '\ud800'], asked)).toEqual({ code: 'VALUE_INVALID', column: 'no' });
    expect(lineOf([null, 'a', '7', '\ud800'], asked)).toMatchObject({ code: 'TEXT_NOT_UTF8', column: 'x' });
    expect(lineOf([1, 'a', '7', null], asked)).toEqual([Buffer.from('1')]);
  });
});
