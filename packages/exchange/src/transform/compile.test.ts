import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { BridgeTable } from '../bridge.ts';
import { type ColumnType, typeText } from '../columnType.ts';
import { ProblemsError } from '../errors.ts';
import { columnsToRead, compileTransform, type TypedColumn } from './compile.ts';
import type { Transform } from './transform.ts';

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

describe('a step', () => {
  const hasher = (scope: string, value: string) => Buffer.from(`${scope}/${value}`).toString('hex').padEnd(64, '0');
  const run = (transform: Transform[], row: (string | null)[] = ROW, checks: BridgeTable['checks'] = []) => {
    const compiled = compileTransform(table({ transform, checks }), COLUMNS, [], hasher);
    return { compiled, out: compiled.apply(row) };
  };
  /** What became of the columns behind the five that were read, or of one of those. */
  const column = (transform: Transform[], name: string, row: (string | null)[] = ROW) => {
    const { compiled, out } = run(transform, row);
    const at = compiled.layout.columns.indexOf(name);
    return {
      value: out.kind === 'row' ? out.fields[at] : out,
      type: compiled.types[at] && typeText(compiled.types[at]),
      nullable: compiled.nullable[at],
    };
  };
  const refused = (code: string, at: string) => ({ kind: 'refused', code, column: at });

  test('constant adds the same value to every row', () => {
    const constant = { column: 'source_code', value: '卫健委' };
    expect(column([{ constant }], 'source_code')).toEqual({ value: '卫健委', type: 'text(3)', nullable: false });
    const typed = { column: 'version', value: '7', type: { type: 'integer', bits: 32 } as const };
    expect(column([{ constant: typed }], 'version')).toEqual({ value: '7', type: 'integer(32)', nullable: false });
  });

  test('concatenate joins what is there', () => {
    const transform = [{ concatenate: { columns: ['sex', 'mother_id_no'], into: 'both', separator: '-' } }];
    expect(column(transform, 'both')).toEqual({ value: '男-370202199001011234', type: 'text(20)', nullable: true });
    expect(column(transform, 'both', ['B1', null, null, null, 'x']).value).toBe('x');
    expect(column(transform, 'both', ['B1', null, null, null, null]).value).toBeNull();
  });

  test('split divides between separators or at places, and refuses what has other parts', () => {
    const at = [{ split: { column: 'mother_id_no', by: { at: [6, 14] }, into: ['division', 'birth', 'rest'] } }];
    expect(column(at, 'birth')).toEqual({ value: '19900101', type: 'text(18)', nullable: true });
    expect(run(at, ['B1', null, null, null, '37020219900101']).out).toEqual(refused('SPLIT_MISMATCH', 'mother_id_no'));
    expect(column(at, 'rest', ['B1', null, null, null, null]).value).toBeNull();
    const by = [{ split: { column: 'baby_name', by: { separator: '·' }, into: ['given', 'family'] } }];
    expect(column(by, 'family', ['B1', '买买提·江', null, null, null]).value).toBe('江');
    expect(run(by, ['B1', '买买提', null, null, null]).out).toEqual(refused('SPLIT_MISMATCH', 'baby_name'));
  });

  test('cast and dateFormat change the type and refuse what has no equal', () => {
    const cast = [{ cast: { column: 'sex', to: { type: 'integer', bits: 16 } as const } }];
    expect(column(cast, 'sex', ['B1', null, '1', null, null])).toEqual({
      value: '1',
      type: 'integer(16)',
      nullable: true,
    });
    expect(run(cast).out).toEqual(refused('CAST_INEXACT', 'sex'));
    const format = [{ dateFormat: { column: 'birth_date', to: 'yyyyMMdd' } }];
    expect(column(format, 'birth_date')).toEqual({ value: '20240131', type: 'text(8)', nullable: true });
    expect(run(format, ['B1', null, null, 'infinity', null]).out).toEqual(refused('DATE_INVALID', 'birth_date'));
  });

  test('hash puts the node’s hash of scope and value in its place, as many digits as are kept', () => {
    const hash = [{ hash: { column: 'mother_id_no', scope: 'births', digits: 32 } }];
    const value = hasher('births', '370202199001011234').slice(0, 32);
    expect(column(hash, 'mother_id_no')).toEqual({ value, type: 'text(32)', nullable: true });
    expect(column(hash, 'mother_id_no', ['B1', null, null, null, null]).value).toBeNull();
    expect(problemsOf(() => compileTransform(table({ transform: hash }), COLUMNS)).map(({ code }) => code)).toEqual([
      'TRANSFORM_MISFIT',
    ]);
  });

  test('generalise keeps the larger unit', () => {
    const month = [{ generalise: { column: 'birth_date', to: 'month' as const } }];
    expect(column(month, 'birth_date')).toEqual({ value: '2024-01', type: 'text(7)', nullable: true });
    const city = [{ generalise: { column: 'baby_name', to: 'city' as const } }];
    expect(run(city).out).toEqual(refused('ADDRESS_UNCLEAR', 'baby_name'));
  });

  test('normalise and default leave text of one spelling and no blanks', () => {
    const normalise = [{ normalise: { column: 'mother_id_no', to: ['trimmed' as const, 'idNumber' as const] } }];
    const row = ['B1', null, null, null, ' 110105491231002'];
    expect(column(normalise, 'mother_id_no', row)).toEqual({
      value: '11010519491231002X',
      type: 'text(18)',
      nullable: true,
    });
    const byDefault = [{ default: { column: 'sex', value: '9' } }];
    const blanks = [null, '', ' ', '男'].map(
      (value) => column(byDefault, 'sex', ['B1', null, value, null, null]).value,
    );
    expect(blanks).toEqual(['9', '9', '9', '男']);
    expect(column(byDefault, 'sex').nullable).toBe(false);
    const long = table({ transform: [{ default: { column: 'sex', value: 'unknown' } }] });
    expect(problemsOf(() => compileTransform(long, COLUMNS))[0]?.code).toBe('TRANSFORM_MISFIT');
  });

  test('drop leaves a column behind, also one that others were made of', () => {
    const transform: Transform[] = [
      { split: { column: 'mother_id_no', by: { at: [6] }, into: ['division', 'other'] } },
      { drop: ['mother_id_no', 'other'] },
    ];
    const { compiled, out } = run(transform);
    expect(compiled.layout.columns).toEqual(['certificate_no', 'baby_name', 'sex', 'birth_date', 'division']);
    expect(out).toEqual({ kind: 'row', fields: ['B1', '王小明', '男', '2024-01-31', '370202'] });
    expect(compiled.types).toHaveLength(5);
    expect(compiled.isIdentity).toBe(false);
    // A refusal still says which column it was.
    const renamed: Transform[] = [
      { rename: { mother_id_no: 'id' } },
      { cast: { column: 'id', to: { type: 'date' } } },
      { drop: ['id'] },
    ];
    expect(run(renamed).out).toEqual(refused('CAST_INEXACT', 'id'));
  });

  test('on a key column is refused where two rows could become one', () => {
    const key = 'certificate_no';
    const mixing: Transform[] = [
      { mask: { column: key, keepFirst: 1, keepLast: 1, with: '*' } },
      { generalise: { column: key, to: 'city' } },
      { normalise: { column: key, to: ['trimmed'] } },
      { default: { column: key, value: 'x' } },
      { hash: { column: key, scope: 's', digits: 16 } },
      { cast: { column: key, to: { type: 'decimal', precision: 10, scale: 2 } } },
      { dictionary: { column: key, map: { a: '1', b: '1' }, otherwise: 'refuse' } },
      { dictionary: { column: key, map: { a: '1' }, otherwise: 'keep' } },
    ];
    const codes = mixing.map((step) => problemsOf(() => run([step])).map(({ code }) => code));
    expect(codes).toEqual(mixing.map(() => ['KEY_CHANGED']));
    expect(problemsOf(() => run([{ drop: [key] }])).map(({ code }) => code)).toEqual(['KEY_NOT_CARRIED']);
  });

  test('on a key column may rename, translate one to one, cast, format dates and hash; the key of a refused row is known', () => {
    const key = 'certificate_no';
    const transform: Transform[] = [
      { rename: { [key]: 'no' } },
      { dateFormat: { column: 'no', from: 'yyyyMMdd', to: 'date' } },
      { hash: { column: 'no', scope: 's', digits: 64 } },
    ];
    const { compiled, out } = run(
      transform,
      ['20240131', ' ', null, null, null],
      [{ column: 'baby_name', required: true }],
    );
    expect(out).toEqual(refused('REQUIRED_MISSING', 'baby_name'));
    expect(compiled.keyOf(['20240131', ' ', null, null, null])).toEqual([hasher('s', '2024-01-31')]);
    expect(compiled.keyOf(['20240132', ' ', null, null, null])).toBeUndefined();
    expect(compiled.layout.columns[0]).toBe('no');
  });

  test('that makes a column needs a new name, and one that was dropped is free again', () => {
    const made = (column: string): Transform => ({ constant: { column, value: 'x' } });
    expect(problemsOf(() => run([made('sex')]))[0]).toMatchObject({
      code: 'COLUMN_TWICE',
      path: 'birth_certificate.transform[0].constant.column',
    });
    expect(run([{ drop: ['sex'] }, made('sex')]).out).toMatchObject({
      fields: ['B1', '王小明', '2024-01-31', ROW[4], 'x'],
    });
  });
});

describe('a check', () => {
  const outcome = (check: BridgeTable['checks'][number], value: string | null) => {
    const position = COLUMNS.findIndex(({ name }) => name === check.column);
    const row = ROW.map((field, index) => (index === position ? value : field));
    const result = compileTransform(table({ checks: [check] }), COLUMNS).apply(row);
    return result.kind === 'refused' ? result.code : result.kind;
  };

  test('refuses by its own code, and lets null pass', () => {
    const found = [
      outcome({ column: 'sex', dictionary: ['男', '女'] }, '未'),
      outcome({ column: 'sex', dictionary: ['男', '女'] }, '女'),
      outcome({ column: 'sex', dictionary: ['男', '女'] }, null),
      outcome({ column: 'baby_name', pattern: '\\p{Han}{2,4}' }, 'Tom'),
      outcome({ column: 'birth_date', range: { least: '2020-01-01' } }, '2019-12-31'),
      outcome({ column: 'birth_date', range: { least: '2020-01-01', most: '2024-12-31' } }, '2024-12-31'),
      outcome({ column: 'birth_date', range: { most: '2024-12-31' } }, 'infinity'),
      outcome({ column: 'mother_id_no', idNumber: true }, '11010519491231002X'),
      outcome({ column: 'mother_id_no', idNumber: { divisions: ['110106'] } }, '11010519491231002X'),
      outcome({ column: 'mother_id_no', creditCode: true }, '91350100M000100Y44'),
      outcome({ column: 'mother_id_no', divisionCode: { divisions: ['370202'] } }, '370203'),
      outcome({ column: 'mother_id_no', divisionCode: true }, null),
    ];
    expect(found).toEqual([
      'DICTIONARY_UNKNOWN_VALUE',
      'row',
      'row',
      'PATTERN_MISMATCH',
      'RANGE_OUTSIDE',
      'row',
      'RANGE_OUTSIDE',
      'row',
      'ID_NUMBER_DIVISION',
      'CREDIT_CODE_CHECK_CHARACTER',
      'DIVISION_CODE_UNKNOWN',
      'row',
    ]);
  });

  test('of a range compares exactly, digits past the 53rd bit and all', () => {
    const decimal: TypedColumn[] = [
      { name: 'certificate_no', type: { type: 'text' } },
      { name: 'fee', type: { type: 'decimal', precision: 30, scale: 2 } },
    ];
    const checks = [{ column: 'fee', range: { least: '-0.01', most: '9007199254740993.10' } }];
    const compiled = compileTransform(table({ checks }), decimal);
    const kinds = ['9007199254740993.10', '9007199254740993.11', '-0.01', '-0.02', 'NaN'].map(
      (fee) => compiled.apply(['B1', fee]).kind,
    );
    expect(kinds).toEqual(['row', 'refused', 'row', 'refused', 'refused']);
  });

  test('that does not go with its column is a problem of the bridge', () => {
    const checks: BridgeTable['checks'] = [
      { column: 'sex', range: { least: '1' } },
      { column: 'birth_date', pattern: '\\d+' },
      { column: 'birth_date', range: { least: '20200101' } },
    ];
    const problems = problemsOf(() => compileTransform(table({ checks }), COLUMNS));
    expect(problems.map(({ code, path }) => `${code} ${path}`)).toEqual(
      [0, 1, 2].map((index) => `CHECK_MISFIT birth_certificate.checks[${index}]`),
    );
  });

  test('at a step looks at what the column holds there, before it is covered', () => {
    const transform: Transform[] = [
      { check: { column: 'mother_id_no', idNumber: true } },
      { mask: { column: 'mother_id_no', keepFirst: 0, keepLast: 0, with: '*' } },
    ];
    const compiled = compileTransform(table({ transform }), COLUMNS);
    const outcomeOf = (id: string) => compiled.apply(['B1', null, null, null, id]);
    expect(outcomeOf('11010519491231002X')).toMatchObject({ fields: ['B1', null, null, null, '*'.repeat(18)] });
    const wrong = { kind: 'refused', code: 'ID_NUMBER_FORM', column: 'mother_id_no' };
    expect(outcomeOf('x')).toEqual(wrong);
    expect(compiled.keyOf(['B1', null, null, null, 'x'])).toEqual(['B1']);
    const misfit = table({ transform: [{ check: { column: 'birth_date', creditCode: true } }] });
    expect(problemsOf(() => compileTransform(misfit, COLUMNS))[0]?.code).toBe('TRANSFORM_MISFIT');
  });

  test('that only looks lets the line pass as it was', () => {
    const checked = compileTransform(table({ checks: [{ column: 'sex', dictionary: ['男'] }] }), COLUMNS);
    expect([checked.keepsLines, checked.isIdentity]).toEqual([true, false]);
    const required = compileTransform(table({ checks: [{ column: 'sex', required: true }] }), COLUMNS);
    expect(required.nullable).toEqual([true, true, false, true, true]);
  });
});
