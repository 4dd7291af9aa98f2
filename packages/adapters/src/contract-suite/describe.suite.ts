/** Promises D1–D3, D5 and createTable. */
import type { ColumnType } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import { type Fixture, mirror, type Waivers } from './fixture.ts';

export function describeContract(make: () => Promise<Fixture>, waivers: Waivers): void {
  const padded = waivers.padding === undefined ? ({ padded: true } as const) : {};
  describe('describing', () => {
    test('a reachable database says its version', async () => {
      await using fixture = await make();
      expect(await fixture.dataSource.probe()).toMatchObject({ reachable: true, version: expect.any(String) });
    });

    test('a missing table is undefined', async () => {
      await using fixture = await make();
      expect(await fixture.dataSource.describe({ name: 'nowhere' })).toBeUndefined();
    });

    test('tables names tables and views and hides what Qiao keeps', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE person (id bigint NOT NULL PRIMARY KEY)');
      await fixture.sql('CREATE VIEW everybody AS SELECT id FROM person');
      if (waivers.target === undefined) await (await fixture.dataSource.openTarget()).prepare();
      else await fixture.sql('CREATE TABLE qiao_mark (id bigint NOT NULL PRIMARY KEY)');
      const names = (await fixture.dataSource.tables()).map(({ name }) => name).toSorted();
      expect(names).toEqual(['everybody', 'person']);
    });

    test('columns, keys and references are described as they are', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE city (code varchar(6) NOT NULL PRIMARY KEY, title text)');
      const { bigint = { type: 'integer', bits: 64 }, date = { type: 'date' }, keyTextType = 'text' } = fixture.dialect;
      await fixture.sql(
        `CREATE TABLE person (area varchar(6) NOT NULL, no bigint NOT NULL, card char(18) NOT NULL UNIQUE,
           nickname ${keyTextType} UNIQUE, born date DEFAULT '1970-01-01' NOT NULL, PRIMARY KEY (area, no), FOREIGN KEY (area) REFERENCES city (code))`,
      );
      const person = await fixture.dataSource.describe({ name: 'person' });
      expect(person).toMatchObject({
        kind: 'table',
        primaryKey: ['area', 'no'],
        foreignKeys: [{ columns: ['area'], toTable: { name: 'city' }, toColumns: ['code'] }],
      });
      expect(
        person?.columns.map(({ name, nullable, hasDefault, generated }) => ({ name, nullable, hasDefault, generated })),
      ).toEqual([
        { name: 'area', nullable: false, hasDefault: false, generated: false },
        { name: 'no', nullable: false, hasDefault: false, generated: false },
        { name: 'card', nullable: false, hasDefault: false, generated: false },
        { name: 'nickname', nullable: true, hasDefault: false, generated: false },
        { name: 'born', nullable: false, hasDefault: true, generated: false },
      ]);
      expect(person?.columns.map(({ type }) => type)).toEqual([
        { type: 'text', maxLength: 6 },
        bigint,
        { type: 'text', maxLength: 18, ...padded },
        expect.objectContaining({ type: 'text' }),
        date,
      ]);
      // The nullable nickname is unique but proves nothing.
      expect(person?.uniqueKeys.map((key) => key.join()).toSorted()).toEqual(['area,no', 'card']);
    });

    if (waivers.partialIndexes === undefined && waivers.target === undefined) {
      test('a unique index over part of a table is no key', async () => {
        await using fixture = await make();
        await fixture.sql('CREATE TABLE person (id bigint NOT NULL, gone boolean NOT NULL)');
        await fixture.sql('CREATE UNIQUE INDEX living ON person (id) WHERE NOT gone');
        const person = await fixture.dataSource.describe({ name: 'person' });
        expect(person).toMatchObject({ primaryKey: [], uniqueKeys: [] });
      });
    }

    test('isEmpty looks each time it is asked', async () => {
      await using fixture = await make();
      await fixture.sql('CREATE TABLE person (id bigint NOT NULL PRIMARY KEY)');
      const person = await fixture.dataSource.describe({ name: 'person' });
      expect(await person?.isEmpty()).toBe(true);
      await fixture.sql('INSERT INTO person VALUES (1)');
      expect(await person?.isEmpty()).toBe(false);
    });

    test('close may be called twice', async () => {
      await using fixture = await make();
      if (waivers.target === undefined) await fixture.dataSource.openTarget();
      await fixture.dataSource.close();
      await fixture.dataSource.close();
    });

    if (waivers.target !== undefined) {
      test('a source that is only read is no target, and says so', async () => {
        await using fixture = await make();
        const { dataSource } = fixture;
        await expect(dataSource.openTarget()).rejects.toMatchObject({ code: 'TARGET_UNSUPPORTED' });
        const [problem] = await dataSource.checkTarget([mirror('t', [])], new Map());
        expect(problem).toMatchObject({ code: 'TARGET_UNSUPPORTED', path: 't' });
      });
      return;
    }

    test('a table made for some types is described with the same types', async () => {
      await using fixture = await make();
      const types: Record<string, ColumnType> = {
        id: { type: 'integer', bits: 64 },
        small: { type: 'integer', bits: 16 },
        middle: { type: 'integer', bits: 32 },
        price: { type: 'decimal', precision: 20, scale: 4 },
        ...(waivers.unlimitedDecimal === undefined ? { amount: { type: 'decimal' } } : {}),
        ratio: { type: 'float', bits: 64 },
        single: { type: 'float', bits: 32 },
        alive: { type: 'boolean' },
        title: { type: 'text' },
        code: { type: 'text', maxLength: 18 },
        fixed: { type: 'text', maxLength: 6, ...padded },
        photo: { type: 'bytes' },
        born: { type: 'date' },
        opens: { type: 'time', digits: 3 },
        changed: { type: 'timestamp', digits: 6 },
        seen: { type: 'timestamptz', digits: 3 },
        ...(fixture.dialect.uuidType === undefined ? { ref: { type: 'uuid' } as const } : {}),
        ...(fixture.dialect.hasNoJson === true ? {} : { extra: { type: 'json' } as const }),
      };
      const columns = Object.entries(types).map(([name, type]) => ({ name, type }));
      await fixture.dataSource.createTable(mirror('交换表', columns));
      await fixture.dataSource.createTable(mirror('交换表', columns));
      const made = await fixture.dataSource.describe({ name: '交换表' });
      expect(Object.fromEntries(made?.columns.map(({ name, type }) => [name, type]) ?? [])).toEqual(types);
      expect(made).toMatchObject({ primaryKey: ['id'] });
    });
  });
}
