// The road, end to end, for every pair of database kinds: a first load into an empty and into a filled table, then mixed
// changes. Tables are compared by queries that share no code with the product, and the counts with a model kept by the story.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '@qiao/adapters/testing';
import {
  type BusinessDatabase,
  Platform,
  postgresDatabase,
  seededRandom,
  sqliteDatabase,
  storySeed,
} from '@qiao/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { applyBridges, bridgeYaml, byOutcome, untilAtRest, untilSame } from './world.ts';

type Adapter = BusinessDatabase['adapter'];

const ROWS = 3_000;

const CREATE: Readonly<Record<Adapter, (table: string) => string>> = {
  postgres: (table) =>
    `CREATE TABLE ${table} (id bigint PRIMARY KEY, name varchar(64) NOT NULL, born date NOT NULL, note text, photo bytea, seen timestamp(3) NOT NULL)`,
  sqlite: (table) =>
    `CREATE TABLE ${table} (id INTEGER PRIMARY KEY, name VARCHAR(64) NOT NULL, born DATE NOT NULL, note TEXT, photo BLOB, seen TIMESTAMP(3) NOT NULL)`,
};

const READ: Readonly<Record<Adapter, (table: string) => string>> = {
  postgres: (table) =>
    `SELECT id::text, name, born::text, note, encode(photo, 'hex'), seen::text FROM ${table} ORDER BY ${table}.id`,
  sqlite: (table) => `SELECT CAST(id AS TEXT), name, born, note, photo, seen FROM ${table} ORDER BY ${table}.id`,
};

interface Person {
  readonly id: number;
  readonly name: string;
  readonly born: string;
  readonly note: string | null;
  readonly photo: string | null;
  readonly seen: string;
}

const NOTES = ['', 'tab\tinside', 'two\nlines', 'back\\slash', '生僻字𠮷𡈽', 'quote \' and "', '\\N', '  blanks  '];

function makePerson(random: () => number, id: number): Person {
  const note = random() < 0.2 ? null : `${NOTES[Math.floor(random() * NOTES.length)]}${Math.floor(random() * 1000)}`;
  return {
    id,
    name: `张${Math.floor(random() * 1e6)}`,
    born: `19${10 + Math.floor(random() * 89)}-0${1 + Math.floor(random() * 9)}-1${Math.floor(random() * 10)}`,
    note,
    photo: random() < 0.5 ? null : Buffer.from(`${random()}`).toString('hex'),
    seen: `2026-01-01 0${Math.floor(random() * 10)}:00:00.${1 + Math.floor(random() * 9)}`,
  };
}

function insertInto(adapter: Adapter, table: string, people: readonly Person[]): string {
  const text = (value: string | null) => (value === null ? 'NULL' : `'${value.replaceAll("'", "''")}'`);
  const bytes = (hex: string | null) => (hex === null ? 'NULL' : adapter === 'postgres' ? `'\\x${hex}'` : `x'${hex}'`);
  const values = people.map(
    ({ id, name, born, note, photo, seen }) =>
      `(${id}, ${text(name)}, ${text(born)}, ${text(note)}, ${bytes(photo)}, ${text(seen)})`,
  );
  return `INSERT INTO ${table} VALUES ${values.join(', ')}`;
}

let folder: string;
let server: PostgresServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-road-'));
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function newDatabase(adapter: Adapter, name: string): Promise<BusinessDatabase> {
  return adapter === 'postgres'
    ? postgresDatabase(await server.database())
    : sqliteDatabase(join(folder, `${name}.db`));
}

const PAIRS: readonly [Adapter, Adapter][] = [
  ['postgres', 'postgres'],
  ['sqlite', 'postgres'],
  ['postgres', 'sqlite'],
];

describe.each(PAIRS)('%s → %s', (from, to) => {
  test.each(['empty', 'filled'])(
    'a load into an %s table and mixed changes after it end in identical tables and balanced books',
    async (start) => {
      const random = seededRandom(storySeed(`road ${from} ${to} ${start}`));
      await using source = await newDatabase(from, `source-${from}-${to}-${start}`);
      await using target = await newDatabase(to, `target-${from}-${to}-${start}`);
      const model = new Map(Array.from({ length: ROWS }, (_none, index) => [index + 1, makePerson(random, index + 1)]));
      await source.run(CREATE[from]('person'), insertInto(from, 'person', [...model.values()]));
      await target.run(CREATE[to]('ex_person'));
      let kept = 0;
      if (start === 'filled') {
        // A third identical, a third different, and rows that the source does not have.
        const filled = [...model.values()]
          .slice(0, 2_000)
          .map((person, index) => (index % 2 === 0 ? person : { ...person, name: '旧' }));
        kept = 100;
        const extra = Array.from({ length: kept }, (_none, index) => makePerson(random, 1_000_000 + index));
        await target.run(insertInto(to, 'ex_person', [...filled, ...extra]));
      }

      await using platform = await Platform.start({
        nodes: [
          { code: 'health', dataSources: { his: source.config }, more: { limits: { compareEveryMs: 500 } } },
          { code: 'civil-affairs', dataSources: { benefits: target.config } },
        ],
      });
      const destinations = [{ node: 'civil-affairs', dataSource: 'benefits', table: 'ex_person' }];
      await applyBridges(platform, bridgeYaml({ name: 'births', from: 'health', source: 'his', to: destinations }));
      const same = () => untilSame(platform, source, READ[from]('person'), target, READ[to]('ex_person'));
      await same();
      const loaded = await untilAtRest(platform, 'births', ROWS);
      expect(loaded.sent).toEqual({ total: ROWS, inserts: ROWS, updates: 0, deletes: 0 });
      if (start === 'filled') {
        expect(byOutcome(loaded)).toEqual({ inserted: 1_000, unchanged: 1_000, updatedInsteadOfInsert: 1_000 });
        expect(loaded.extras).toEqual([{ table: 'person', deleted: kept, kept: 0 }]);
        expect(loaded.verdict).toBe('VERDICT_EXPLAINED');
      } else {
        expect(byOutcome(loaded)).toEqual({ inserted: ROWS });
        expect(loaded.verdict).toBe('VERDICT_BALANCED');
      }

      // One transaction, so that the next scan sees all of it or nothing: its net difference is exactly this.
      const statements: string[] = [];
      const [inserts, updates, deletes] = [200, 300, 50];
      const newcomers = Array.from({ length: inserts }, (_none, index) => makePerson(random, 10_000 + index));
      statements.push(insertInto(from, 'person', newcomers));
      for (let id = 1; id <= updates; id += 1)
        statements.push(`UPDATE person SET name = name || '改', note = 'changed' WHERE id = ${id * 3}`);
      statements.push(`DELETE FROM person WHERE id > ${ROWS - deletes} AND id <= ${ROWS}`);
      await source.run(...statements);
      const after = await untilAtRest(platform, 'births', ROWS + inserts + updates + deletes);
      await same();
      expect(after.sent).toEqual({ total: ROWS + 550, inserts: ROWS + inserts, updates, deletes });
      expect(after.received).toEqual(after.sent);
      const check = await platform.tryQiao('reconcile', '--check');
      expect(check.code, check.stdout).toBe(0);
    },
  );
});
