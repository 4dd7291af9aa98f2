/**
 * Every type of the three databases, and every pair: values at the borders of each type are written by the source's own client, read by the adapter
 * in every way it has, landed by the target's adapter, and read again by the target's own client.
 */
import { pairText } from '@qiao/exchange';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { applied, integer, Lane, mirror, scan, section, snapshotTable } from '../contract-suite/fixture.ts';
import { judgePair } from '../pairs.ts';
import type { MatrixColumn } from './column.testing.ts';
import { MEETS } from './limits.testing.ts';
import { roundTripSuite } from './roundTrip.suite.ts';
import { sizesSuite } from './sizes.suite.ts';
import { FIRST_ID, fill, fillRefused, landed, pairedColumn, SYSTEMS, type System, tableOf } from './systems.testing.ts';
import { type Department, type MatrixWorld, openWorld } from './world.testing.ts';

/** Columns of one table at the target: less than a page of InnoDB. */
const MOST_COLUMNS = 60;

let world: MatrixWorld;
beforeAll(async () => {
  world = await openWorld();
  for (const system of SYSTEMS) await world.of(system).sql(tableOf(system, 'checked'));
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

/** Rows of a table of every type, as the adapter read them: `id`, then the columns. */
const read = new Map<System, (string | null)[][]>();

describe.each(SYSTEMS)('$title', (system) => {
  test('every type is what the list says, and every value the same bytes by snapshot, named keys, triggers and log', async () => {
    const fixture = world.of(system);
    await fixture.sql(tableOf(system, 'source'));
    const table = await snapshotTable(fixture.dataSource, 'source', ['id', ...system.columns.map((_, i) => `c${i}`)]);
    expect(table.columns.slice(1).map(({ type }, i) => [system.columns[i]?.sql, type])).toEqual(
      system.columns.map(({ sql, type }) => [sql, type]),
    );
    await using log = await world.followed(system, table);
    const entries = await world.tracked(system, 'source');
    const count = await fill(system, fixture, 'source');

    const { rows, bytes, refused } = await scan(fixture.dataSource, table);
    expect(refused).toEqual([]);
    expect(named(system, rows.toSorted(byId))).toEqual(named(system, expectedRows(system, count)));
    read.set(system, rows.toSorted(byId));

    const keys = Buffer.from(rows.map(([id]) => `${id}\n`).join(''));
    expect(lines((await scan(fixture.dataSource, { ...table, keys })).bytes)).toEqual(lines(bytes));
    const noted = (await entries()).map((id) => `${id}\n`).join('');
    expect(lines((await scan(fixture.dataSource, { ...table, keys: Buffer.from(noted) })).bytes)).toEqual(lines(bytes));
    if (log !== undefined) expect(lines(await log.lines(count))).toEqual(lines(bytes));
  });

  test('what cannot be carried stays behind under its code, and takes no other row with it', async () => {
    const fixture = world.of(system);
    await fixture.sql(tableOf(system, 'refusing'));
    const expected = await fillRefused(system, fixture, 'refusing');
    await fixture.sql('INSERT INTO refusing (id) VALUES (1)');
    const table = await snapshotTable(fixture.dataSource, 'refusing', ['id', ...system.columns.map((_, i) => `c${i}`)]);
    const { rows, refused } = await scan(fixture.dataSource, table);
    expect(
      refused.flatMap(({ column, code, count }) => Array<string>(count).fill(`${column} ${code}`)).toSorted(),
    ).toEqual(expected);
    expect(rows.map(([id]) => id)).toEqual(['1']);
  });

  test('the check names columns whose type means nothing elsewhere', async () => {
    const fixture = world.of(system);
    const columns = system.unsupported.map((sql, index) => `c${index} ${sql}`);
    await fixture.sql(`CREATE TABLE odd (id bigint NOT NULL PRIMARY KEY, ${columns.join(', ')})`);
    const problems = await fixture.dataSource.checkSource([{ table: 'odd', ref: { name: 'odd' } }]);
    expect(problems.filter(({ code }) => code === 'TYPE_UNSUPPORTED').map(({ path }) => path)).toEqual(
      columns.map((_, index) => `odd.c${index}`),
    );
  });

  test.each(SYSTEMS)(
    'the check into $title names every column that loses something or cannot take the values',
    async (target) => {
      const { dataSource } = world.of(target);
      const named = target.columns.map((column, i) => ({ name: `c${i}`, column }));
      const shapes = system.columns.map(({ type }, i) => ({
        label: `t${i}`,
        columns: named.map(({ name }) => ({ name, type, nullable: true })),
      }));
      const problems = await dataSource.checkTarget(
        shapes.map(({ label, columns }) => mirror(label, columns, { ref: { name: 'checked' }, key: ['id'] })),
        new Map(shapes.map(({ label, columns }) => [label, { columns }])),
      );
      const found = problems.filter(({ code }) => code === 'TYPE_REFUSED' || code === 'TYPE_LOSSY');
      const expected = shapes.flatMap(({ label }, place) =>
        named.flatMap(({ name, column }) => {
          const { fit } = judgePair(system.columns[place]?.type ?? integer, target.adapter, pairedColumn(column));
          return fit.kind === 'exact' ? [] : [`TYPE_${fit.kind.toUpperCase()} ${label}.${name}`];
        }),
      );
      expect(found.map(({ code, path }) => `${code} ${path}`).toSorted()).toEqual(expected.toSorted());
      for (const { code, message, hint, warning } of found) {
        expect([warning === true, message === '', hint === '']).toEqual([code === 'TYPE_LOSSY', false, false]);
      }
    },
  );

  test.each(SYSTEMS)('into $title every pair is exact, lossy as declared, or refused', async (target) => {
    const rows = read.get(system) ?? [];
    const into = world.of(target);
    const pairs = pairsOf(system, target);
    const tables = Map.groupBy(pairs, (_) => Math.floor(pairs.indexOf(_) / MOST_COLUMNS));
    const landings = [...tables].map(([number, of]) => new Landing(`from_${system.adapter}_${number}`, of, rows));
    for (const landing of landings) await into.sql(landing.ddl);
    const mirrors = landings.map(({ name, pairs: of }) =>
      mirror(name, [
        { name: 'id', type: integer },
        ...of.map(({ source }, i) => ({ name: `p${i}`, type: source.type })),
      ]),
    );
    const end = await into.dataSource.openTarget();
    await end.prepare();
    const lane = new Lane(mirrors, system.adapter.padEnd(32, '0'));
    await applied(end, lane.opening());
    const sections = landings.map((each) =>
      section(
        each.name,
        'insert',
        ['id', ...each.pairs.map((_, i) => `p${i}`)],
        [...each.whole, ...each.broken.map(({ row }) => row)],
      ),
    );
    const { quarantined } = await applied(end, lane.next(sections, { mostIsolated: 10_000 }));
    await end.close();

    const isolated = quarantined.map(
      ({ section: at, index, reason }) => landings[at]?.nameOf(index) ?? `row ${index}: ${reason}`,
    );
    expect(isolated.toSorted()).toEqual(landings.flatMap(({ broken }) => broken.map(({ name }) => name)).toSorted());
    for (const landing of landings) await expectLanded(into, target, landing);
  });
});

roundTripSuite(() => world);
sizesSuite(() => world);

interface Pair {
  readonly place: number;
  readonly source: MatrixColumn;
  readonly target: MatrixColumn;
  readonly isExact: boolean;
}

function pairsOf(system: System, target: System): Pair[] {
  return system.columns.flatMap((source, place) =>
    // What a narrow character set lacks is another matter than types.
    target.columns
      .filter(({ sql }) => !sql.includes('CHARACTER SET'))
      .flatMap((column): Pair[] => {
        const { fit } = judgePair(source.type, target.adapter, pairedColumn(column));
        return fit.kind === 'refused' ? [] : [{ place, source, target: column, isExact: fit.kind === 'exact' }];
      }),
  );
}

/** One table of the target: a column per pair, whole rows, and rows with one value that the column does not hold. */
class Landing {
  readonly name: string;
  readonly pairs: readonly Pair[];
  readonly whole: readonly (string | null)[][];
  readonly broken: readonly { readonly name: string; readonly row: readonly (string | null)[] }[];

  constructor(name: string, pairs: readonly Pair[], rows: readonly (readonly (string | null)[])[]) {
    this.name = name;
    this.pairs = pairs;
    const broken: { name: string; row: (string | null)[] }[] = [];
    this.whole = rows.map((row) => [
      row[0] ?? null,
      ...pairs.map((pair, at) => {
        const text = row[pair.place + 1] ?? null;
        if (text === null || !isBroken(pair, text)) return text;
        const alone = pairs.map((_, other) => (other === at ? text : null));
        broken.push({ name: `${arrow(pair)}: ${text}`, row: [String(broken.length), ...alone] });
        return null;
      }),
    ]);
    this.broken = broken;
  }

  get ddl(): string {
    return `CREATE TABLE ${this.name} (id bigint NOT NULL PRIMARY KEY, ${this.pairs.map(({ target }, i) => `p${i} ${target.sql}`).join(', ')})`;
  }

  /** Of the rows with one value; undefined for a whole one. */
  nameOf(index: number): string | undefined {
    return this.broken[index - this.whole.length]?.name;
  }
}

function isBroken({ source, target }: Pair, text: string): boolean {
  const adapter = SYSTEMS.find(({ columns }) => columns.includes(target))?.adapter ?? 'postgres';
  const { isolates } = judgePair(source.type, adapter, pairedColumn(target));
  return isolates.some((limit) => MEETS[limit](text, target));
}

/** A document that the database writes anew. */
function isTakenApart({ sql, type }: MatrixColumn): boolean {
  return type.type === 'native' && /^jsonb?$/.test(sql);
}

/** By the target's own client, and by the adapter as verify reads it. */
async function expectLanded(into: Department, target: System, { name, pairs, whole }: Landing): Promise<void> {
  const shown = pairs.map(({ target: column }, i) => target.shown(column, `p${i}`));
  const printed = await into.query(`SELECT id, ${shown.join(', ')} FROM ${name} ORDER BY id`);
  const table = await snapshotTable(into.dataSource, name, ['id', ...pairs.map((_, i) => `p${i}`)]);
  const back = (await scan(into.dataSource, table)).rows.toSorted(byId);
  expect(printed.map(([id]) => id)).toEqual(whole.map(([id]) => id));
  const wrong: string[] = [];
  for (const [k, row] of whole.entries()) {
    for (const [i, pair] of pairs.entries()) {
      const text = row[i + 1] ?? null;
      const stored = printed[k]?.[i + 1] ?? null;
      const found = stored === null ? null : target.canonical(pair.target, stored);
      const isRewritten = isTakenApart(pair.target) && !isTakenApart(pair.source);
      const expected = text === null || isRewritten ? found : landed(pair.source.type, pair.target, text);
      if ((text === null) !== (found === null) || found !== expected)
        wrong.push(`${arrow(pair)}: ${text} is stored as ${found}, expected ${expected}`);
      if (!pair.isExact || text === null) continue;
      const compared = pairText(pair.source.type, pair.target.type);
      const again = back[k]?.[i + 1] ?? null;
      const seen = again !== null && compared.kind === 'back' ? compared.back(again) : again;
      if (seen !== text) wrong.push(`${arrow(pair)}: ${text} is read back as ${seen}`);
    }
  }
  expect(wrong).toEqual([]);
}

function arrow({ source, target }: Pair): string {
  return `${source.sql} → ${target.sql}`;
}

function expectedRows(system: System, count: number): (string | null)[][] {
  return Array.from({ length: count }, (_, row) => [
    String(FIRST_ID + BigInt(row)),
    ...system.columns.map(({ values }) => values[row]?.[1] ?? null),
  ]);
}

/** Rows as lines that name their columns, so that a difference can be read. */
function named(system: System, rows: readonly (readonly (string | null)[])[]): string[] {
  return rows.flatMap(([id, ...fields]) => fields.map((text, i) => `${id} ${system.columns[i]?.sql}: ${text}`));
}

function lines(bytes: Uint8Array): string[] {
  return Buffer.from(bytes).toString('utf8').split('\n').toSorted();
}

function byId(a: readonly (string | null)[], b: readonly (string | null)[]): number {
  return Number(BigInt(a[0] ?? 0) - BigInt(b[0] ?? 0));
}
