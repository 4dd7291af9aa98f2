import SqliteDatabase from 'better-sqlite3';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ColumnType } from './columnType.ts';
import { checkFilter, compileFilter, evaluateFilter } from './evaluateFilter.ts';
import { type Filter, filterColumns, filterText, parseFilter } from './filter.ts';
import { filterSql } from './filterSql.ts';
import { areDisjoint } from './ownership.ts';

const TYPES: Record<string, ColumnType> = {
  amount: { type: 'integer', bits: 64 },
  code: { type: 'text' },
  '姓 "名"': { type: 'text' },
};
const COLUMNS = Object.keys(TYPES);
const isText = (column: string): boolean => TYPES[column]?.type === 'text';

const SMALL_TEXTS = ['', 'a', 'A', 'ab', 'b', 'a ', '%', '_', '\\', '桥', '𠮷', '\uffe6', "it's", '10', '9'];
const NUMBERS = ['-2', '-1', '0', '1', '2', '2.0', '1.5', '-0.50', '9007199254740993', '9007199254740992'];
const INTEGERS = NUMBERS.filter((text) => !text.includes('.'));

const literalOf = (column: string) =>
  isText(column)
    ? fc.constantFrom(...SMALL_TEXTS).map((text) => ({ text, isNumber: false }))
    : fc.constantFrom(...NUMBERS).map((text) => ({ text, isNumber: true }));
const pattern = fc
  .array(fc.constantFrom('%', '_', 'a', 'A', 'b', '桥', '𠮷', '\\%', '\\_', '\\\\', ' '), { maxLength: 4 })
  .map((parts) => parts.join(''));

const predicate: fc.Arbitrary<Filter> = fc.constantFrom(...COLUMNS).chain((column) => {
  const literal = literalOf(column);
  const negated = fc.boolean();
  const operator = fc.constantFrom('=', '<>', '<', '<=', '>', '>=') as fc.Arbitrary<'='>;
  return fc.oneof(
    fc.record({ kind: fc.constant('compare' as const), column: fc.constant(column), operator, literal }),
    fc.record({ kind: fc.constant('isNull' as const), column: fc.constant(column), negated }),
    fc.record({
      kind: fc.constant('between' as const),
      column: fc.constant(column),
      low: literal,
      high: literal,
      negated,
    }),
    fc.record({
      kind: fc.constant('in' as const),
      column: fc.constant(column),
      literals: fc.array(literal, { minLength: 1, maxLength: 3 }),
      negated,
    }),
    ...(isText(column)
      ? [fc.record({ kind: fc.constant('like' as const), column: fc.constant(column), pattern, negated })]
      : []),
  );
});

const filter: fc.Arbitrary<Filter> = fc.letrec<{ filter: Filter }>((tie) => ({
  filter: fc.oneof(
    { maxDepth: 3, depthIdentifier: 'filter' },
    predicate,
    fc.record({
      kind: fc.constantFrom('and' as const, 'or' as const),
      filters: fc.array(tie('filter'), { minLength: 2, maxLength: 3 }),
    }),
    fc.record({ kind: fc.constant('not' as const), filter: tie('filter') }),
  ),
})).filter;

type Row = Record<string, string | null>;
const row: fc.Arbitrary<Row> = fc.record(
  Object.fromEntries(
    COLUMNS.map((column) => [
      column,
      fc.option(fc.constantFrom(...(isText(column) ? SMALL_TEXTS : INTEGERS)), { nil: null }),
    ]),
  ),
) as fc.Arbitrary<Row>;

const evaluate = (parsed: Filter, values: Row): boolean =>
  evaluateFilter(
    parsed,
    (column) => values[column] ?? null,
    (column) => TYPES[column] as ColumnType,
  );

describe('the filter language', () => {
  test('a written filter is read back the same', () => {
    fc.assert(
      fc.property(filter, (each) => {
        expect(parseFilter(filterText(each))).toEqual({ filter: each });
      }),
    );
  });

  test('any text is either a filter or a problem, never an exception', () => {
    const piece = fc.constantFrom(
      'a',
      "'x'",
      '1',
      '-',
      '=',
      '<',
      '(',
      ')',
      ',',
      'NOT',
      'and',
      'IN',
      'is',
      'NULL',
      ' ',
      '"',
      "'",
      'like',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(piece).map((parts) => parts.join(' ')),
        ),
        (text) => {
          const { filter: parsed, problem } = parseFilter(text);
          expect((parsed === undefined) !== (problem === undefined)).toBe(true);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('rows pass as SQLite lets them pass', () => {
    const database = new SqliteDatabase(':memory:');
    try {
      database.pragma('case_sensitive_like = ON');
      const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
      database.exec(
        `CREATE TABLE t (${COLUMNS.map((name) => `${quoted(name)} ${isText(name) ? 'TEXT' : 'INTEGER'}`).join(', ')}) STRICT`,
      );
      const insert = database.prepare(`INSERT INTO t VALUES (${COLUMNS.map(() => '?').join(', ')})`);
      fc.assert(
        fc.property(filter, row, (each, values) => {
          database.exec('DELETE FROM t');
          insert.run(COLUMNS.map((name) => values[name] ?? null));
          const parameters: string[] = [];
          const bound = (text: string): string => {
            parameters.push(text);
            return '?';
          };
          const sql = filterSql(each, {
            column: quoted,
            literal: (column, text) => (isText(column) ? bound(text) : `CAST(${bound(text)} AS NUMERIC)`),
            like: (column, pattern) => `${quoted(column)} LIKE ${bound(pattern)} ESCAPE '\\'`,
          });
          const { passes } = database.prepare(`SELECT count(*) AS passes FROM t WHERE ${sql}`).get(parameters) as {
            passes: number;
          };
          expect(evaluate(each, values), `${filterText(each)} over ${JSON.stringify(values)}`).toBe(passes === 1);
        }),
        { numRuns: 3000 },
      );
    } finally {
      database.close();
    }
  });

  test('disjoint filters never own the same row', () => {
    const rows = cartesian();
    let proofs = 0;
    fc.assert(
      fc.property(filter, filter, fc.boolean(), (a, b, knowsTypes) => {
        if (!areDisjoint(a, b, knowsTypes ? (column) => TYPES[column] : undefined)) return;
        proofs++;
        const [ownsA, ownsB] = [a, b].map((each) => compileFilter(each, (column) => TYPES[column]));
        for (const values of rows) {
          const valueOf = (column: string): string | null => values[column] ?? null;
          if (ownsA?.(valueOf) && ownsB?.(valueOf)) {
            throw new Error(`${filterText(a)} | ${filterText(b)} both own ${JSON.stringify(values)}`);
          }
        }
      }),
      { numRuns: 5000 },
    );
    expect(proofs).toBeGreaterThan(20);
  });

  test('what divides a table by a code is proven disjoint', () => {
    const where = (text: string) => ({ where: text });
    expect(areDisjoint(where("city_code = '3702'"), where("city_code = '3701'"))).toBe(true);
    expect(areDisjoint(where("city_code IN ('3702', '3703')"), where("city_code = '3701' AND sex = '1'"))).toBe(true);
    expect(areDisjoint(where("city_code LIKE '3702%'"), where("city_code LIKE '3701%'"))).toBe(true);
    expect(areDisjoint(where("city_code = '3702'"), where("city_code <> '3702'"))).toBe(true);
    expect(areDisjoint(where("age < '18'"), where("age >= '18'"))).toBe(true);
    expect(areDisjoint(where('age < 18'), where('age > 60'), () => ({ type: 'integer', bits: 32 }))).toBe(true);
    expect(
      areDisjoint(where("day BETWEEN '2024-01-01' AND '2024-12-31'"), where("day >= '2025-01-01'"), () => ({
        type: 'date',
      })),
    ).toBe(true);
    expect(areDisjoint(where("a = '男' OR a IS NULL"), where("NOT (a <> '女')"))).toBe(true);
    expect(areDisjoint('none', 'whole')).toBe(true);
  });

  test('what some database could take for the same row is never proven disjoint', () => {
    const pairs: [string, string][] = [
      ["a = '1'", "a = '01'"],
      ["a = '1.0'", 'a = 1'],
      ["a = 'x'", "a = 'X '"],
      ["a = 'é'", "a = 'e'"],
      ["a = 't'", "a = '1'"],
      ["a = '2024-01-01'", "a = '20240101'"],
      ["a = '2024-01-01'", "a = '2024-01-01 00:00:00'"],
      ["a = '2024-01-01 00:00:00+00'", "a = '2024-01-01 08:00:00+08'"],
      ["a = '\\x41'", "a = 'A'"],
      ["a < '5'", "a > '10'"],
      ["a = 'x'", "b = 'y'"],
      ["a = 'x'", "a LIKE 'y%'"],
      ["a LIKE 'a%'", "a LIKE 'A%'"],
      ["a LIKE 'a%'", "a LIKE 'ab%'"],
    ];
    for (const [a, b] of pairs) expect(areDisjoint({ where: a }, { where: b }), `${a} | ${b}`).toBe(false);
    expect(areDisjoint('whole', { where: "a = 'x'" })).toBe(false);
    expect(areDisjoint('whole', 'whole')).toBe(false);
    expect(areDisjoint({ where: 'not a filter' }, { where: "a = 'x'" })).toBe(false);
  });

  test('a problem says where, what was found and what was expected', () => {
    expect(parseFilter("city = '3702").problem).toMatch(/quote at character 8 that never closes/);
    expect(parseFilter('city == 3').problem).toBe("Found = at character 7; expected a 'text' or a number.");
    expect(parseFilter('city = other').problem).toMatch(/expected a 'text' in single quotes or a number/);
    expect(parseFilter('city = NULL').problem).toMatch(/IS NULL/);
    expect(parseFilter('（city = 1）').problem).toMatch(/half-width \(/);
    expect(parseFilter('upper(city) = 1').problem).toMatch(/Found \( at character 6; expected = <>/);
    expect(parseFilter("a = 'x'; DROP TABLE t").problem).toMatch(/Found ; at character 8/);
    expect(parseFilter("a LIKE 'x\\'").problem).toMatch(/lone backslash/);
    expect(parseFilter(`${'('.repeat(60)}a = 1`).problem).toMatch(/at most 50/);
    expect(parseFilter('').problem).toMatch(/Found the end at character 1/);
  });

  test('columns are named once, in order', () => {
    const { filter: parsed } = parseFilter('b = 1 AND ("a b" IS NULL OR NOT b > 2) AND 城市 IN (1)');
    expect(filterColumns(parsed as Filter)).toEqual(['b', 'a b', '城市']);
  });

  test('numbers compare exactly and instants by time', () => {
    const passes = (text: string, type: ColumnType, value: string | null): boolean =>
      evaluateFilter(
        parseFilter(text).filter as Filter,
        () => value,
        () => type,
      );
    expect(passes('a > 9007199254740992', { type: 'integer', bits: 64 }, '9007199254740993')).toBe(true);
    expect(passes('a = 0.3', { type: 'decimal' }, '0.300')).toBe(true);
    expect(passes('a > 0.1', { type: 'decimal' }, '0.1000000000000000000000001')).toBe(true);
    expect(passes('a > 1', { type: 'decimal' }, 'NaN')).toBe(true);
    expect(passes("a > '9999-12-31'", { type: 'date' }, '10000-01-01')).toBe(true);
    expect(passes("a < '0001-01-01'", { type: 'date' }, '0044-03-15 BC')).toBe(true);
    expect(passes("a >= '2024-01-01'", { type: 'timestamp', digits: 6 }, '2024-01-01 00:00:00')).toBe(true);
    expect(passes("a = '2024-01-01'", { type: 'timestamptz', digits: 6 }, '2024-01-01 00:00:00+00')).toBe(true);
    expect(passes("a = 'x'", { type: 'text', maxLength: 3, padded: true }, 'x  ')).toBe(true);
    expect(passes("a <> 'x'", { type: 'text' }, null)).toBe(false);
  });

  test('a filter that does not fit the columns is refused with its reason', () => {
    const problem = (text: string, type?: ColumnType): string | undefined =>
      checkFilter(parseFilter(text).filter as Filter, () => type);
    expect(problem('a = 1')).toMatch(/column a in a filter; the table has none/);
    expect(problem("a = 'x'", { type: 'integer', bits: 32 })).toMatch(/expected a number/);
    expect(problem("a = '2024-1-1'", { type: 'date' })).toMatch(/expected a date/);
    expect(problem('a = 0.1', { type: 'float', bits: 64 })).toMatch(/equality/);
    expect(problem("a LIKE '1%'", { type: 'integer', bits: 32 })).toMatch(/LIKE/);
    expect(problem('a > 0.1', { type: 'float', bits: 64 })).toBeUndefined();
  });

  test('a pattern of many wildcards stays quick', () => {
    const parsed = parseFilter(`a LIKE '${'%a'.repeat(40)}%b'`).filter as Filter;
    const before = process.threadCpuUsage();
    expect(
      evaluateFilter(
        parsed,
        () => 'a'.repeat(5000),
        () => ({ type: 'text' }),
      ),
    ).toBe(false);
    expect(process.threadCpuUsage(before).user).toBeLessThan(1_000_000);
  });
});

function cartesian(): Row[] {
  let rows: Row[] = [{}];
  for (const column of COLUMNS) {
    const values = [null, ...(isText(column) ? SMALL_TEXTS : INTEGERS)];
    rows = rows.flatMap((each) => values.map((value) => ({ ...each, [column]: value })));
  }
  return rows;
}
