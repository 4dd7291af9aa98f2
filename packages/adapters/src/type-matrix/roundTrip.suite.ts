/** Random rows go from each database to each other one and back, and have the same text everywhere. fast-check prints the seed of a failure. */
import { type ColumnType, fit, floatText, joinRow, pairText, typeText } from '@qiao/exchange';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Target } from '../adapter.ts';
import { applied, integer, Lane, mirror, scan, section, snapshotTable } from '../contract-suite/fixture.ts';
import { SYSTEMS } from './systems.testing.ts';
import type { Department, MatrixWorld } from './world.testing.ts';

type Row = readonly (string | null)[];

interface Field {
  readonly type: ColumnType;
  readonly texts: fc.Arbitrary<string>;
}

const RUNS = 6;
const ROWS = 40;

/** Any character but U+0000, which no row carries. */
const characters = (most: number) =>
  fc.string({ unit: 'binary', maxLength: most }).map((text) => text.replaceAll('\0', '\u0001'));
const digits = (most: number) => fc.bigInt({ min: -(10n ** BigInt(most)) + 1n, max: 10n ** BigInt(most) - 1n });
const signed = (bits: bigint) => fc.bigInt({ min: -(1n << (bits - 1n)), max: (1n << (bits - 1n)) - 1n }).map(String);
const instant = (from: string, to: string) =>
  fc
    .tuple(fc.date({ min: new Date(from), max: new Date(to), noInvalidDate: true }), fc.integer({ min: 0, max: 999 }))
    .map(([at, micros]) => `${at.toISOString().slice(0, 23).replace('T', ' ')}${String(micros).padStart(3, '0')}`)
    .map((text) => text.replace(/\.?0+$/, ''));
const someDay = () => instant('0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999Z');
const isKept = (value: number) => !Object.is(value, -0);

/** What all three have a home for. */
const FIELDS: Readonly<Record<string, Field>> = {
  small: { type: { type: 'integer', bits: 16 }, texts: signed(16n) },
  large: { type: integer, texts: signed(64n) },
  price: { type: { type: 'decimal', precision: 20, scale: 4 }, texts: digits(20).map((value) => scaled(value, 4)) },
  ratio: {
    type: { type: 'float', bits: 64 },
    texts: fc
      .double({ noNaN: true, noDefaultInfinity: true })
      .filter(isKept)
      .map((value) => floatText(value, 64)),
  },
  single: {
    type: { type: 'float', bits: 32 },
    texts: fc
      .float({ noNaN: true, noDefaultInfinity: true })
      .filter(isKept)
      .map((value) => floatText(value, 32)),
  },
  alive: { type: { type: 'boolean' }, texts: fc.constantFrom('t', 'f') },
  note: { type: { type: 'text' }, texts: characters(40) },
  photo: {
    type: { type: 'bytes' },
    texts: fc.uint8Array({ maxLength: 40 }).map((bytes) => `\\x${Buffer.from(bytes).toString('hex')}`),
  },
  born: { type: { type: 'date' }, texts: someDay().map((text) => text.slice(0, 10)) },
  opens: { type: { type: 'time', digits: 6 }, texts: someDay().map((text) => text.slice(11)) },
  changed: { type: { type: 'timestamp', digits: 6 }, texts: someDay() },
  seen: {
    type: { type: 'timestamptz', digits: 6 },
    texts: instant('1970-01-01T00:00:01Z', '2038-01-19T03:14:07.999Z').map((text) => `${text}+00`),
  },
  ref: { type: { type: 'uuid' }, texts: fc.uuid({ version: [1, 3, 4, 5, 6, 7] }) },
  extra: { type: { type: 'json' }, texts: fc.json({ maxDepth: 3 }) },
};

/** Numbers beyond 2^53 and texts of any characters, in one key. */
const KEY: readonly { readonly name: string; readonly type: ColumnType }[] = [
  { name: 'id', type: integer },
  { name: 'code', type: { type: 'text', maxLength: 20 } },
];
const COLUMNS = [...KEY, ...Object.entries(FIELDS).map(([name, { type }]) => ({ name, type }))];
const NAMES = COLUMNS.map(({ name }) => name);

const rowsOf: fc.Arbitrary<Row[]> = fc.uniqueArray(
  fc.tuple(signed(64n), characters(20), ...Object.values(FIELDS).map(({ texts }) => fc.option(texts, { freq: 8 }))),
  { minLength: 1, maxLength: ROWS, selector: (row) => joinRow(row.slice(0, KEY.length)) },
);

export function roundTripSuite(world: () => MatrixWorld): void {
  test.each([32, 64] as const)('any float of %i bits has the text that PostgreSQL prints', async (bits) => {
    const department = world().of({ adapter: 'postgres' });
    await fc.assert(
      fc.asyncProperty(fc.array(anyFloat(bits), { minLength: 1_000, maxLength: 2_000 }), async (values) => {
        const given = values.map((value) =>
          Number.isFinite(value) && value !== 0 ? value.toExponential(17) : Object.is(value, -0) ? '-0' : String(value),
        );
        const printed = await department.query(`SELECT x FROM unnest('{${given.join(',')}}'::float${bits / 8}[]) x`);
        expect(values.map((value) => floatText(value, bits))).toEqual(printed.flat());
      }),
      { numRuns: 5, endOnFailure: true },
    );
  });

  const pairs = SYSTEMS.flatMap((from) => SYSTEMS.filter((to) => to !== from).map((to) => ({ from, to })));
  test.each(pairs)(
    'random rows go from $from.title to $to.title and back, and stay what they are',
    async ({ from, to }) => {
      const name = `${from.adapter}_${to.adapter}`;
      const here = await Table.make(world().of(from), `here_${name}`);
      const there = await Table.make(world().of(to), `there_${name}`);
      const back = await Table.make(world().of(from), `back_${name}`);
      await fc.assert(
        fc.asyncProperty(rowsOf, async (rows) => {
          const sent = sorted(rows);
          expect(sorted(await here.landed(rows))).toEqual(sent);
          expect(sorted(await there.landed(await here.read()))).toEqual(sent);
          expect(sorted(await back.landed(await there.read()))).toEqual(sent);
        }),
        { numRuns: RUNS },
      );
      for (const table of [here, there, back]) await table.close();
    },
  );
}

/** Floats of every size, and those around powers of two, where the nearest, the shortest and the even text part. */
const anyFloat = (bits: 32 | 64) => {
  const [least, most] = bits === 32 ? [-149, 127] : [-1074, 1023];
  const near = fc
    .tuple(fc.integer({ min: least, max: most }), fc.integer({ min: 0, max: 2 ** 24 }), fc.boolean())
    .map(([power, steps, isNegative]) => (isNegative ? -1 : 1) * 2 ** power * (1 + steps / 2 ** 24));
  const any = bits === 32 ? fc.float() : fc.double();
  return fc.oneof(any, near).map((value) => (bits === 32 ? Math.fround(value) : value));
};

/** A table that Qiao made for these columns. */
class Table {
  readonly #department: Department;
  readonly #name: string;
  readonly #target: Target;
  readonly #lane: Lane;

  private constructor(department: Department, name: string, target: Target, lane: Lane) {
    this.#department = department;
    this.#name = name;
    this.#target = target;
    this.#lane = lane;
  }

  static async make(department: Department, name: string): Promise<Table> {
    const table = mirror(name, COLUMNS, { key: KEY.map((column) => column.name) });
    await department.dataSource.createTable(table);
    const target = await department.dataSource.openTarget();
    await target.prepare();
    const lane = new Lane([table], Buffer.from(name).toString('hex').slice(0, 32).padEnd(32, '0'));
    await applied(target, lane.opening());
    return new Table(department, name, target, lane);
  }

  /** Replaces the rows, by landing, and reads them. */
  async landed(rows: readonly Row[]): Promise<Row[]> {
    await this.#department.sql(`DELETE FROM ${this.#name}`);
    const { cells } = await applied(
      this.#target,
      this.#lane.next([section(this.#name, 'insert', NAMES, rows, { keyColumns: KEY.length })]),
    );
    if (cells.join() !== `${this.#name} insert inserted ${rows.length}`) throw new Error(`landed: ${cells.join()}`);
    return await this.read();
  }

  /** The rows as a source reads them, all and by their keys, in the text of the columns as they were sent. */
  async read(): Promise<Row[]> {
    const table = await snapshotTable(this.#department.dataSource, this.#name, NAMES, KEY.length);
    const pairs = COLUMNS.map(({ type }, at) => {
      const stored = table.columns[at]?.type ?? type;
      if (fit(type, stored).kind !== 'exact') throw new Error(`${typeText(type)} is kept as ${typeText(stored)}`);
      return pairText(type, stored);
    });
    const { rows, refused } = await scan(this.#department.dataSource, table);
    const keys = rows.map((row) => `${joinRow(row.slice(0, KEY.length))}\n`).join('');
    const named = await scan(this.#department.dataSource, { ...table, keys: Buffer.from(keys) });
    if (sorted(named.rows).join('\n') !== sorted(rows).join('\n')) throw new Error('other rows are found by the keys');
    if (refused.length > 0) throw new Error(`stays behind: ${JSON.stringify(refused)}`);
    return rows.map((row) =>
      row.map((text, at) => {
        const pair = pairs[at];
        return text !== null && pair?.kind === 'back' ? pair.back(text) : text;
      }),
    );
  }

  close(): Promise<void> {
    return this.#target.close();
  }
}

function scaled(value: bigint, scale: number): string {
  const text = String(value < 0n ? -value : value).padStart(scale + 1, '0');
  return `${value < 0n ? '-' : ''}${text.slice(0, -scale)}.${text.slice(-scale)}`;
}

function sorted(rows: readonly Row[]): string[] {
  return rows.map((row) => joinRow(row)).toSorted();
}
