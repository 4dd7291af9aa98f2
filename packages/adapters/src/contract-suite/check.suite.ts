/** Promise D4. */

import type { ColumnType, Problem } from '@qiao/exchange';
import { parseFilter } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import type { SourceShape, TargetTable } from '../adapter.ts';
import { type Fixture, integer, mirror, text, type Waivers } from './fixture.ts';

function found(problems: readonly Problem[]): string[] {
  return problems
    .filter(({ warning }) => !warning)
    .map(({ code, path }) => `${code} ${path}`)
    .toSorted();
}

/** Without the word on a server that no test runs on. */
function aboutTables(problems: readonly Problem[]): Problem[] {
  return problems.filter(({ code }) => code !== 'SERVER_UNVERIFIED');
}

function warned(problems: readonly Problem[]): string[] {
  return aboutTables(problems)
    .filter(({ warning }) => warning)
    .map(({ code, path }) => `${code} ${path}`)
    .toSorted();
}

function number(name: string) {
  return { name, type: integer };
}

export function checkContract(make: () => Promise<Fixture>, waivers: Waivers): void {
  describe('checking', () => {
    test('a sound source has no problem', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, code varchar(18) NOT NULL UNIQUE, x text)');
      const { dataSource } = fixture;
      expect(found(await dataSource.checkSource([{ table: 't', ref: { name: 't' } }]))).toEqual([]);
      expect(
        found(
          await dataSource.checkSource([{ table: 't', ref: { name: 't' }, key: ['code'], columns: ['code', 'x'] }]),
        ),
      ).toEqual([]);
    });

    test('every problem of a source comes at once', async () => {
      await using fixture = await make();
      const { unsupportedType, keyTextType = 'text' } = fixture.dialect;
      await fixture.sql('CREATE TABLE keyless (x text)');
      await fixture.sql(`CREATE TABLE nullable (x ${keyTextType} UNIQUE)`);
      await fixture.sql(`CREATE TABLE keyed (id bigint NOT NULL PRIMARY KEY, x ${keyTextType} NOT NULL)`);
      if (unsupportedType) await fixture.sql(`CREATE TABLE odd (id bigint NOT NULL PRIMARY KEY, o ${unsupportedType})`);
      const problems = await fixture.dataSource.checkSource([
        { table: '没有', ref: { name: 'nowhere' } },
        { table: 'keyless', ref: { name: 'keyless' } },
        { table: 'nullable', ref: { name: 'nullable' }, key: ['x'] },
        { table: 'keyed', ref: { name: 'keyed' }, key: ['x'], columns: ['id', 'x', 'y'] },
        { table: 'other', ref: { name: 'keyed' }, key: ['z'] },
        ...(unsupportedType ? [{ table: 'odd', ref: { name: 'odd' } }] : []),
      ]);
      const expected = [
        'COLUMN_MISSING keyed.y',
        'COLUMN_MISSING other.z',
        'KEYLESS_TABLE keyless',
        'KEY_NOT_UNIQUE keyed',
        'KEY_NULLABLE nullable.x',
        'TABLE_MISSING 没有',
        ...(unsupportedType ? ['TYPE_UNSUPPORTED odd.o'] : []),
      ];
      expect([...new Set(found(problems))]).toEqual(expected.toSorted());
      for (const { message, hint } of problems) {
        expect(message).not.toBe('');
        expect(hint).not.toBe('');
      }
    });

    if (waivers.target !== undefined) return;

    test('a sound target has no problem, and checking makes no mark', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x varchar(20))');
      const shape: SourceShape = {
        columns: [
          { name: 'id', type: { type: 'integer', bits: 32 }, nullable: false },
          { name: 'x', type: { type: 'text', maxLength: 20 }, nullable: true },
        ],
      };
      const table = mirror('t', shape.columns);
      const problems = await fixture.dataSource.checkTarget([table], new Map([['t', shape]]));
      expect(aboutTables(problems)).toEqual([]);
      const target = await fixture.dataSource.openTarget();
      expect((await target.prepare()).created).toBe(true);
    });

    test('every problem of a target comes at once', async () => {
      await using fixture = await make();
      await fixture.sql(
        'CREATE TABLE narrow (id bigint NOT NULL PRIMARY KEY, x varchar(5), n int NOT NULL, extra text NOT NULL)',
      );
      await fixture.sql('CREATE TABLE loose (id bigint, x text)');
      await fixture.sql('CREATE TABLE twice (id bigint NOT NULL, x text NOT NULL)');
      const columns = [
        { name: 'id', type: integer },
        { name: 'x', type: text },
      ];
      const nullable = columns.map((column) => ({ ...column, nullable: column.name !== 'id' }));
      const shapes = new Map<string, SourceShape>([
        ['narrow', { columns: [...nullable, { name: 'n', type: { type: 'integer', bits: 32 }, nullable: true }] }],
        ['loose', { columns: nullable }],
        ['twice', { columns: nullable.map((column) => ({ ...column, nullable: false })) }],
      ]);
      const where = parseFilter("area = '3702'").filter;
      if (!where) throw new Error('the filter does not parse');
      const tables: TargetTable[] = [
        mirror('narrow', [
          ...columns,
          { name: 'n', type: { type: 'integer', bits: 32 } },
          { name: 'absent', type: text },
        ]),
        mirror('loose', columns),
        mirror('twice', columns),
        mirror('没有', columns),
        mirror('marked', columns, { ref: { name: 'twice' }, onDelete: 'mark', markColumn: 'gone', key: ['id'] }),
        mirror('owned', columns, { ref: { name: 'narrow' }, ownership: where }),
        mirror('journal', columns, { ref: { name: 'loose' }, landing: 'journal' }),
      ];
      const problems = await fixture.dataSource.checkTarget(tables, shapes);
      const codes = found(problems);
      for (const expected of [
        'TYPE_REFUSED narrow.x',
        'COLUMN_MISSING narrow.absent',
        'COLUMN_REQUIRED narrow.extra',
        'KEY_NULLABLE loose.id',
        'KEY_NOT_UNIQUE twice',
        'TABLE_MISSING 没有',
        'MARK_COLUMN_MISSING marked.gone',
        'COLUMN_MISSING owned.area',
        'JOURNAL_COLUMN_MISSING journal.qiao_operation',
        'JOURNAL_COLUMN_MISSING journal.qiao_processed',
      ]) {
        expect(codes).toContain(expected);
      }
      expect(warned(problems)).toContain('NULLABLE_TO_REQUIRED narrow.n');
      for (const { message, hint } of problems) {
        expect(message).not.toBe('');
        expect(hint).not.toBe('');
      }
    });

    test('a column that the target lacks, or that is too narrow for what is sent, comes with the statement that mends it', async () => {
      await using fixture = await make();
      const wide: ColumnType = { type: 'text', maxLength: 40 };
      await fixture.sql('CREATE TABLE short (id bigint NOT NULL PRIMARY KEY, x varchar(3))');
      const columns = [
        { name: 'id', type: integer },
        { name: 'x', type: wide },
        { name: '新', type: wide },
      ];
      const sent = new Map([
        ['short', { columns: columns.map((column) => ({ ...column, nullable: column.name !== 'id' })) }],
      ]);
      const problems = () => fixture.dataSource.checkTarget([mirror('short', columns)], sent);
      expect(found(await problems())).toEqual(['COLUMN_MISSING short.新', 'TYPE_REFUSED short.x']);
      for (const { hint } of await problems()) {
        const at = hint.indexOf('ALTER TABLE');
        if (at >= 0) await fixture.sql(hint.slice(at, hint.indexOf(';', at)));
      }
      // A database that alters no column is to be made anew.
      const isAltered = fixture.dataSource.adapter !== 'sqlite';
      expect(found(await problems())).toEqual(isAltered ? [] : ['TYPE_REFUSED short.x']);
    });

    test('a target that is not there comes with the statement that makes it', async () => {
      await using fixture = await make();
      const columns = [
        { name: 'id', type: integer },
        { name: '名', type: text },
      ];
      const [problem] = await fixture.dataSource.checkTarget([mirror('没有', columns)], new Map());
      const ddl = problem?.hint.slice(problem.hint.indexOf('CREATE TABLE')) ?? '';
      await fixture.sql(ddl);
      expect(found(await fixture.dataSource.checkTarget([mirror('没有', columns)], new Map()))).toEqual([]);
      expect((await fixture.dataSource.describe({ name: '没有' }))?.primaryKey).toEqual(['id']);
    });

    test('a target says which parents a bridge does not bring', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE city (id bigint NOT NULL PRIMARY KEY)');
      await fixture.sql(
        'CREATE TABLE staff (id bigint NOT NULL PRIMARY KEY, city bigint, chief bigint, FOREIGN KEY (city) REFERENCES city (id), FOREIGN KEY (chief) REFERENCES staff (id))',
      );
      const staff = mirror('staff', ['id', 'city', 'chief'].map(number));
      const problems = await fixture.dataSource.checkTarget([staff], new Map());
      expect([found(problems), warned(problems)]).toEqual([[], ['FOREIGN_KEY_OUTSIDE staff.city']]);
      const both = await fixture.dataSource.checkTarget([staff, mirror('city', ['id'].map(number))], new Map());
      expect(both).toEqual([]);
    });

    if (waivers.keyCircles === undefined) {
      test('a target says in which circle of keys no row can be the first, and how to release it', async () => {
        await using fixture = await make();
        await fixture.sql('CREATE TABLE store (id bigint NOT NULL PRIMARY KEY, chief bigint NOT NULL, deputy bigint)');
        await fixture.sql(
          'CREATE TABLE staff (id bigint NOT NULL PRIMARY KEY, store bigint NOT NULL, FOREIGN KEY (store) REFERENCES store (id))',
        );
        const tables = [
          mirror('staff', ['id', 'store'].map(number)),
          mirror('store', ['id', 'chief', 'deputy'].map(number)),
        ];
        const check = () => fixture.dataSource.checkTarget(tables, new Map());
        expect(await check()).toEqual([]);
        // Rows without a deputy can be the first.
        await fixture.sql('ALTER TABLE store ADD FOREIGN KEY (deputy) REFERENCES staff (id)');
        const loose = await check();
        expect([found(loose), warned(loose)]).toEqual([
          [],
          ['FOREIGN_KEY_CYCLE staff.store', 'FOREIGN_KEY_CYCLE store.deputy'],
        ]);
        await fixture.sql('ALTER TABLE store ADD FOREIGN KEY (chief) REFERENCES staff (id)');
        const tight = await check();
        expect(found(tight)).toEqual(['FOREIGN_KEY_CYCLE staff.store', 'FOREIGN_KEY_CYCLE store.chief']);
        for (const { hint } of tight) await fixture.sql(hint.slice(0, hint.indexOf(';')));
        expect(await check()).toEqual([]);
      });
    }

    test('a target names the constraints that rows may break, beside its key', async () => {
      await using fixture = await make();
      await fixture.sql(
        `CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, area varchar(6), code varchar(20) UNIQUE, sex varchar(1), CONSTRAINT known_sex CHECK (sex <> 'CHECK ('))`,
      );
      await fixture.sql('CREATE UNIQUE INDEX one_per_area ON t (area, sex)');
      // Implied by the key.
      await fixture.sql('CREATE UNIQUE INDEX wider ON t (area, id)');
      const table = mirror('t', [number('id')]);
      const [problem, ...rest] = await fixture.dataSource.checkTarget([table], new Map());
      expect([problem?.code, problem?.path, problem?.warning, rest]).toEqual(['TARGET_CONSTRAINTS', 't', true, []]);
      for (const part of [/UNIQUE .*\(code\)/, /UNIQUE one_per_area \(area, sex\)/, /CHECK known_sex/]) {
        expect(problem?.message).toMatch(part);
      }
      expect(problem?.message).not.toMatch(/wider|\(id\)|CHECK.*CHECK/);
      // A journal takes a key more than once.
      const { journalColumns } = table;
      const journal = await fixture.dataSource.checkTarget(
        [{ ...table, landing: 'journal', journalColumns }],
        new Map(),
      );
      expect(journal.find(({ code }) => code === 'TARGET_CONSTRAINTS')?.message).toMatch(/\(area, id\)/);
    });

    test('a filter of ownership that the columns cannot answer, and a column that fills itself, are told', async () => {
      await using fixture = await make();
      await fixture.sql(
        'CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n + 1) STORED)',
      );
      const ownership = parseFilter("n like 'a%'").filter;
      if (!ownership) throw new Error('the filter does not parse');
      const table = mirror('t', ['id', 'n', 'g'].map(number), { ownership });
      expect(found(await fixture.dataSource.checkTarget([table], new Map()))).toEqual([
        'COLUMN_GENERATED t.g',
        'OWNERSHIP_INVALID t',
      ]);
    });

    test('a source names the columns whose values may be too large to travel', async () => {
      await using fixture = await make();
      const { bytesType } = fixture.dialect;
      await fixture.sql(`CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, scan ${bytesType}, x varchar(20))`);
      const check = (columns: string[]) =>
        fixture.dataSource.checkSource([{ table: 't', ref: { name: 't' }, columns }]);
      expect(warned(await check(['id', 'scan', 'x']))).toEqual(['COLUMN_LARGE t.scan']);
      expect(warned(await check(['id', 'x']))).toEqual([]);
    });

    test('a key that loses something is refused: two of the source could meet in one row', async () => {
      await using fixture = await make();
      const { timestampType = 'timestamp' } = fixture.dialect;
      await fixture.sql('CREATE TABLE rounded (id double precision NOT NULL PRIMARY KEY, x double precision)');
      await fixture.sql(`CREATE TABLE unzoned (id ${timestampType} NOT NULL PRIMARY KEY)`);
      const columns = (type: ColumnType) => [{ name: 'id', type, nullable: false }];
      const decimal: ColumnType = { type: 'decimal', precision: 20, scale: 4 };
      const shapes = new Map<string, SourceShape>([
        ['rounded', { columns: [...columns(decimal), { name: 'x', type: decimal, nullable: true }] }],
        ['unzoned', { columns: columns({ type: 'timestamptz', digits: 6 }) }],
      ]);
      const tables = [...shapes].map(([name, shape]) => mirror(name, shape.columns));
      const problems = await fixture.dataSource.checkTarget(tables, shapes);
      expect(found(problems)).toEqual(['TYPE_REFUSED rounded.id']);
      // An instant in UTC without its zone is still one of its own.
      expect(warned(problems).filter((each) => each.startsWith('TYPE_LOSSY'))).toEqual([
        'TYPE_LOSSY rounded.x',
        'TYPE_LOSSY unzoned.id',
      ]);
    });

    if (waivers.rights === undefined) {
      test('missing rights are told, and the mark comes as DDL for the DBA', async () => {
        await using fixture = await make();
        expect(fixture.restricted).toBeDefined();
        await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x text)');
        const restricted = await fixture.restricted?.();
        const problems =
          (await restricted?.checkTarget(
            [
              mirror('t', [
                { name: 'id', type: integer },
                { name: 'x', type: text },
              ]),
            ],
            new Map(),
          )) ?? [];
        expect(found(problems)).toContain('RIGHTS_MISSING t');
        expect(problems.find(({ code }) => code === 'MARK_REFUSED')?.hint).toMatch(/CREATE TABLE[\s\S]*qiao_mark/);
        const target = await restricted?.openTarget();
        await expect(target?.prepare()).rejects.toMatchObject({
          code: 'MARK_REFUSED',
          hint: expect.stringMatching(/CREATE TABLE[\s\S]*qiao_mark/),
        });
        await restricted?.close();
      });
    }
  });
}
