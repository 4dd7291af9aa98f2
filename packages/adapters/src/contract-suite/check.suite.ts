/** Promise D4. */

import type { Problem } from '@qiao/exchange';
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

function warned(problems: readonly Problem[]): string[] {
  return problems
    .filter(({ warning }) => warning)
    .map(({ code, path }) => `${code} ${path}`)
    .toSorted();
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
      const { unsupportedType } = fixture.dialect;
      await fixture.sql('CREATE TABLE keyless (x text)');
      await fixture.sql('CREATE TABLE nullable (x text UNIQUE)');
      await fixture.sql('CREATE TABLE keyed (id bigint NOT NULL PRIMARY KEY, x text NOT NULL)');
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
      expect(await fixture.dataSource.checkTarget([table], new Map([['t', shape]]))).toEqual([]);
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
