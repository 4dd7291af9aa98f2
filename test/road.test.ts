// The road, end to end, for every pair of database kinds: a first load into an empty and into a filled table, then mixed
// changes. Tables are compared by queries that share no code with the product, and the counts with those that the story made.

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

/** MariaDB has a story of its own. */
type Adapter = Exclude<BusinessDatabase['adapter'], 'mysql'>;

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

const ADAPTERS = ['postgres', 'sqlite'] as const;

let folder: string;
let server: PostgresServer;
let platform: Platform;
let sources: Readonly<Record<Adapter, BusinessDatabase>>;
let targets: Readonly<Record<Adapter, BusinessDatabase>>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-road-'));
  server = await startPostgres();
  sources = await newDatabases('source');
  targets = await newDatabases('target');
  platform = await Platform.start({
    nodes: [
      { code: 'health', dataSources: configs(sources), more: { limits: { compareEveryMs: 500 } } },
      { code: 'civil-affairs', dataSources: configs(targets) },
    ],
  });
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  for (const adapter of ADAPTERS) {
    await sources?.[adapter][Symbol.asyncDispose]();
    await targets?.[adapter][Symbol.asyncDispose]();
  }
  await server?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function newDatabases(name: string): Promise<Record<Adapter, BusinessDatabase>> {
  return {
    postgres: await postgresDatabase(await server.database()),
    sqlite: sqliteDatabase(join(folder, `${name}.db`)),
  };
}

/** Data sources as agent.yaml names them: each after its kind. */
function configs(databases: Readonly<Record<Adapter, BusinessDatabase>>): Record<Adapter, object> {
  return { postgres: databases.postgres.config, sqlite: databases.sqlite.config };
}

const PAIRS: readonly [Adapter, Adapter][] = [
  ['postgres', 'postgres'],
  ['sqlite', 'postgres'],
  ['postgres', 'sqlite'],
];

describe.each(PAIRS)('%s → %s', (from, to) => {
  test.each(['an empty', 'a filled'])(
    'a load into %s table and mixed changes after it end in identical tables and balanced books',
    async (start) => {
      const random = seededRandom(storySeed(`road ${from} ${to} ${start}`));
      const name = `${from}-${to}-${start.slice(-6).trim()}`;
      const person = `person_${name.replaceAll('-', '_')}`;
      const exPerson = `ex_${person}`;
      const [source, target] = [sources[from], targets[to]];
      const people = Array.from({ length: ROWS }, (_none, index) => makePerson(random, index + 1));
      await source.run(CREATE[from](person), insertInto(from, person, people));
      await target.run(CREATE[to](exPerson));
      let kept = 0;
      if (start === 'a filled') {
        // A third identical, a third different, and rows that the source does not have.
        const filled = people
          .slice(0, 2_000)
          .map((person, index) => (index % 2 === 0 ? person : { ...person, name: '旧' }));
        kept = 100;
        const extra = Array.from({ length: kept }, (_none, index) => makePerson(random, 1_000_000 + index));
        await target.run(insertInto(to, exPerson, [...filled, ...extra]));
      }

      const destinations = [{ node: 'civil-affairs', dataSource: to, table: exPerson }];
      await applyBridges(platform, bridgeYaml({ name, from: 'health', source: from, table: person, to: destinations }));
      const same = () => untilSame(platform, source, READ[from](person), target, READ[to](exPerson));
      await same();
      const loaded = await untilAtRest(platform, name, ROWS);
      expect(loaded.sent).toEqual({ total: ROWS, inserts: ROWS, updates: 0, deletes: 0 });
      if (start === 'a filled') {
        expect(byOutcome(loaded)).toEqual({ inserted: 1_000, unchanged: 1_000, updatedInsteadOfInsert: 1_000 });
        expect(loaded.extras).toEqual([{ table: person, deleted: kept, kept: 0 }]);
        expect(loaded.verdict).toBe('VERDICT_EXPLAINED');
      } else {
        expect(byOutcome(loaded)).toEqual({ inserted: ROWS });
        expect(loaded.verdict).toBe('VERDICT_BALANCED');
      }

      // One transaction, so that the next scan sees all of it or nothing: its net difference is exactly this.
      const statements: string[] = [];
      const [inserts, updates, deletes] = [200, 300, 50];
      const newcomers = Array.from({ length: inserts }, (_none, index) => makePerson(random, 10_000 + index));
      statements.push(insertInto(from, person, newcomers));
      for (let id = 1; id <= updates; id += 1)
        statements.push(`UPDATE ${person} SET name = name || '改', note = 'changed' WHERE id = ${id * 3}`);
      statements.push(`DELETE FROM ${person} WHERE id > ${ROWS - deletes} AND id <= ${ROWS}`);
      await source.run(...statements);
      const after = await untilAtRest(platform, name, ROWS + inserts + updates + deletes);
      await same();
      expect(after.sent).toEqual({ total: ROWS + 550, inserts: ROWS + inserts, updates, deletes });
      expect(after.received).toEqual(after.sent);
      const check = await platform.tryQiao('reconcile', '--check');
      expect(check.code, check.stdout).toBe(0);
    },
  );
});
