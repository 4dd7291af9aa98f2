import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { BridgeTable, Transform } from './bridge.ts';
import type { ColumnType } from './columnType.ts';
import { ProblemsError } from './errors.ts';
import { columnsToRead, compileTransform, type TypedColumn } from './transform.ts';

const text: ColumnType = { type: 'text' };
const COLUMNS: TypedColumn[] = [
  { name: 'certificate_no', type: { type: 'text', maxLength: 20 } },
  { name: 'baby_name', type: text },
  { name: 'sex', type: { type: 'text', maxLength: 1 } },
  { name: 'birth_date', type: { type: 'date' } },
  { name: 'mother_id_no', type: { type: 'text', maxLength: 18 } },
];
const ROW = ['B1', '王小明', '男', '2024-01-31', '370202199001011234'];

const table = (parts: Partial<BridgeTable> = {}): BridgeTable => ({
  name: 'birth_certificate',
  key: ['certificate_no'],
  transform: [],
  checks: [],
  ...parts,
});

const problemsOf = (action: () => unknown): { code: string; path: string; hint: string }[] => {
  try {
    action();
  } catch (error) {
    if (error instanceof ProblemsError) return error.problems.map(({ code, path, hint }) => ({ code, path, hint }));
    throw error;
  }
  return [];
};

describe('a transform', () => {
  test('renames, translates and masks in the order of the bridge', () => {
    const compiled = compileTransform(
      table({
        transform: [
          { rename: { sex: 'sex_code' } },
          { dictionary: { column: 'sex_code', map: { 男: '1', 女: '2' }, otherwise: 'refuse' } },
          { mask: { column: 'mother_id_no', keepFirst: 6, keepLast: 4, with: '*' } },
        ],
      }),
      COLUMNS,
    );
    expect(compiled.layout).toEqual({
      table: 'birth_certificate',
      columns: ['certificate_no', 'baby_name', 'sex_code', 'birth_date', 'mother_id_no'],
      keyColumns: 1,
      wholeRows: true,
    });
    expect(compiled.apply(ROW)).toEqual({
      kind: 'row',
      fields: ['B1', '王小明', '1', '2024-01-31', '370202********1234'],
    });
    expect(compiled.types[2]).toEqual({ type: 'text', maxLength: 1 });
    expect(compiled.types[4]).toEqual({ type: 'text', maxLength: 18 });
    expect(compiled.isIdentity).toBe(false);
  });

  test('carries the key first and only the columns of the bridge, and reads what the filter needs besides', () => {
    const chosen = table({
      key: ['mother_id_no', 'certificate_no'],
      columns: ['sex', 'certificate_no', 'mother_id_no'],
      where: "birth_date >= '2020-01-01'",
    });
    const names = COLUMNS.map(({ name }) => name);
    const read = columnsToRead(chosen, names, []);
    expect(read).toEqual(['mother_id_no', 'certificate_no', 'sex', 'birth_date']);
    const typed = read.map((name) => COLUMNS.find((column) => column.name === name) as TypedColumn);
    const compiled = compileTransform(chosen, typed);
    expect(compiled.layout.columns).toEqual(['mother_id_no', 'certificate_no', 'sex']);
    expect(compiled.layout.keyColumns).toBe(2);
    expect(compiled.apply(['37', 'B1', '男', '2024-01-31'])).toEqual({ kind: 'row', fields: ['37', 'B1', '男'] });
    expect(compiled.apply(['37', 'B1', '男', '2019-12-31'])).toEqual({ kind: 'filtered' });
    expect(compiled.apply(['37', 'B1', '男', null])).toEqual({ kind: 'filtered' });
  });

  test('that only renames is an identity when the columns were read in order', () => {
    const renamed = table({ transform: [{ rename: { sex: 'sex_code' } }] });
    expect(compileTransform(renamed, COLUMNS).isIdentity).toBe(true);
    expect(compileTransform(renamed, COLUMNS).layout.columns[2]).toBe('sex_code');
    expect(compileTransform(renamed, COLUMNS.toReversed()).isIdentity).toBe(false);
    expect(compileTransform(table({ columns: ['certificate_no', 'sex'] }), COLUMNS).isIdentity).toBe(false);
    const checked = table({ checks: [{ column: 'sex', required: true }] });
    expect(compileTransform(checked, COLUMNS).isIdentity).toBe(false);
  });

  test('that says it is an identity gives every row back as it came', () => {
    const parts = fc.record(
      {
        columns: fc
          .subarray(COLUMNS.map(({ name }) => name))
          .map((names) => [...new Set(['certificate_no', ...names])]),
        where: fc.constantFrom("birth_date >= '2020-01-01'", "sex = '男'"),
        transform: fc.array(
          fc.constantFrom<Transform>(
            { rename: { sex: 'sex_code' } },
            { rename: { baby_name: 'name' } },
            { mask: { column: 'mother_id_no', keepFirst: 1, keepLast: 1, with: '*' } },
          ),
          { maxLength: 1 },
        ),
      },
      { requiredKeys: ['transform'] },
    );
    fc.assert(
      fc.property(
        parts,
        fc.array(fc.option(fc.string(), { nil: null }), { minLength: 5, maxLength: 5 }),
        (each, fields) => {
          const problems = problemsOf(() => compileTransform(table(each), COLUMNS));
          if (problems.length > 0) return;
          const compiled = compileTransform(table(each), COLUMNS);
          const untouched = JSON.stringify(compiled.apply(fields)) === JSON.stringify({ kind: 'row', fields });
          expect(untouched || !compiled.isIdentity).toBe(true);
        },
      ),
    );
  });

  test('swaps two names at once', () => {
    const swapped = table({ transform: [{ rename: { sex: 'baby_name', baby_name: 'sex' } }] });
    expect(compileTransform(swapped, COLUMNS).layout.columns.slice(1, 3)).toEqual(['sex', 'baby_name']);
  });

  test('treats a value that no dictionary knows as the bridge says', () => {
    const outcomes = (['refuse', 'keep', 'null'] as const).map((otherwise) => {
      const dictionary = { column: 'sex', map: { 男: '1' }, otherwise };
      return compileTransform(table({ transform: [{ dictionary }] }), COLUMNS).apply(['B1', 'x', '未知', null, null]);
    });
    expect(outcomes).toEqual([
      { kind: 'refused', code: 'DICTIONARY_UNKNOWN_VALUE', column: 'sex' },
      { kind: 'row', fields: ['B1', 'x', '未知', null, null] },
      { kind: 'row', fields: ['B1', 'x', null, null, null] },
    ]);
  });

  test('covers short values whole and counts characters, not units', () => {
    const mask = (value: string, keepFirst: number, keepLast: number): string | null => {
      const transform: Transform[] = [{ mask: { column: 'baby_name', keepFirst, keepLast, with: '＊' } }];
      const row = compileTransform(table({ transform }), COLUMNS).apply(['B1', value, null, null, null]);
      return row.kind === 'row' ? (row.fields[1] as string | null) : row.kind;
    };
    expect(mask('王', 1, 0)).toBe('＊');
    expect(mask('王小明', 1, 0)).toBe('王＊＊');
    expect(mask('王小明', 1, 1)).toBe('王＊明');
    expect(mask('𠮷野家', 1, 1)).toBe('𠮷＊家');
    expect(mask('12345', 3, 2)).toBe('＊＊＊＊＊');
    expect(mask('', 1, 1)).toBe('');
  });

  test('refuses a row without a required value and names the column of the destination', () => {
    const compiled = compileTransform(
      table({ transform: [{ rename: { sex: 'sex_code' } }], checks: [{ column: 'sex_code', required: true }] }),
      COLUMNS,
    );
    const refused = { kind: 'refused', code: 'REQUIRED_MISSING', column: 'sex_code' };
    expect(compiled.apply(['B1', 'x', null, null, null])).toEqual(refused);
    expect(compiled.apply(['B1', 'x', ' ', null, null])).toEqual(refused);
    expect(compiled.apply(['B1', 'x', '男', null, null]).kind).toBe('row');
  });

  test('names every problem at once', () => {
    const wrong = table({
      columns: ['certificate_no', 'sexx', 'mother_id_no'],
      where: "birthdate > '2020-01-01'",
      transform: [
        { mask: { column: 'certificate_no', keepFirst: 1, keepLast: 1, with: '*' } },
        { rename: { mother_id_no: 'certificate_no' } },
      ],
      checks: [{ column: 'mother_id', required: true }],
    });
    expect(problemsOf(() => compileTransform(wrong, COLUMNS))).toEqual([
      { code: 'COLUMN_UNKNOWN', path: 'birth_certificate.columns[1]', hint: 'Did you mean sex?' },
      { code: 'KEY_CHANGED', path: 'birth_certificate.transform[0].mask.column', hint: 'Leave the key as it is.' },
      { code: 'COLUMN_TWICE', path: 'birth_certificate.transform[1].rename', hint: 'Give one of them another name.' },
      { code: 'COLUMN_UNKNOWN', path: 'birth_certificate.checks[0].column', hint: 'Known here: certificate_no, sexx.' },
      { code: 'FILTER_INVALID', path: 'birth_certificate.where', hint: 'Did you mean birth_date?' },
    ]);
  });

  test('needs a key, and takes the primary key where the bridge names none', () => {
    const { key: _, ...keyless } = table();
    expect(problemsOf(() => compileTransform(keyless, COLUMNS))[0]?.code).toBe('KEY_MISSING');
    expect(compileTransform(keyless, COLUMNS, ['sex']).layout.columns[0]).toBe('sex');
    const dictionary = (map: Record<string, string>): BridgeTable => ({
      ...keyless,
      transform: [{ dictionary: { column: 'sex', map, otherwise: 'refuse' } }],
    });
    expect(problemsOf(() => compileTransform(dictionary({ 男: '1', 女: '1' }), COLUMNS, ['sex']))[0]?.code).toBe(
      'KEY_CHANGED',
    );
    expect(problemsOf(() => compileTransform(dictionary({ 男: '1', 女: '2' }), COLUMNS, ['sex']))).toEqual([]);
  });
});
