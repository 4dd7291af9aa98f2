/** How large a row may be: what fits is carried and lands whole on every database, what does not stays behind, and nothing of it is held. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { applied, integer, Lane, mirror, scan, section, snapshotTable } from '../contract-suite/fixture.ts';
import { SYSTEMS, type System } from './systems.testing.ts';
import type { MatrixWorld } from './world.testing.ts';

/** Its text is two characters a byte: nearly 16 MiB. */
const FITTING_BLOB = 8 * 1024 * 1024 - 1024;
const FITTING_TEXT = 16 * 1024 * 1024 - 1024;
const BLOB = 15_000_000;
const LARGEST_BLOB = 100_000_000;
/** Beyond what was used before and the rows that fit, while a row of 200 MB of text passes by. */
const MOST_HELD_BYTES = 160 * 1024 * 1024;

const NAMES = ['id', 'photo', 'note'];

interface Words {
  readonly blob: string;
  readonly text: string;
  bytes(count: number): string;
  characters(count: number): string;
  /** What the server itself takes in one row, by its own default. */
  readonly mostBytes?: number;
}

const WORDS: Readonly<Record<System['adapter'], Words>> = {
  postgres: {
    blob: 'bytea',
    text: 'text',
    bytes: (count) => `decode(repeat('ab', ${count}), 'hex')`,
    characters: (count) => `repeat('x', ${count})`,
  },
  mysql: {
    blob: 'longblob',
    text: 'longtext',
    bytes: (count) => `repeat(x'ab', ${count})`,
    characters: (count) => `repeat('x', ${count})`,
    mostBytes: 16 * 1024 * 1024 - 1024,
  },
  sqlite: {
    blob: 'BLOB',
    text: 'TEXT',
    bytes: (count) => `zeroblob(${count})`,
    characters: (count) => `replace(hex(zeroblob(${count / 2})), '0', 'x')`,
  },
};

export function sizesSuite(world: () => MatrixWorld): void {
  test.each(SYSTEMS)(
    'rows of nearly 16 MiB leave $title and land in the next database, larger ones stay behind',
    async (system) => {
      const department = world().of(system);
      const { blob, text, bytes, characters, mostBytes = LARGEST_BLOB } = WORDS[system.adapter];
      await department.sql(`CREATE TABLE large (id bigint NOT NULL PRIMARY KEY, photo ${blob}, note ${text})`);
      const tooLarge = [BLOB, LARGEST_BLOB].filter((count) => count <= mostBytes);
      const rows = [
        [bytes(0), characters(0)],
        [bytes(FITTING_BLOB), 'NULL'],
        ...tooLarge.map((count) => [bytes(count), 'NULL']),
        ['NULL', characters(FITTING_TEXT)],
        [bytes(1), characters(2)],
      ];
      for (const [id, values] of rows.entries()) {
        await department.sql(`INSERT INTO large VALUES (${id}, ${values.join(', ')})`);
      }
      const table = await snapshotTable(department.dataSource, 'large', NAMES);
      await using memory = watchMemory();
      const read = await scan(department.dataSource, table);
      expect(memory.held()).toBeLessThan(MOST_HELD_BYTES + read.bytes.length * 4);
      expect(read.refused.flatMap(({ code, count }) => Array<string>(count).fill(code))).toEqual(
        tooLarge.map(() => 'ROW_TOO_LARGE'),
      );
      const digests = digestsOf(read.rows);
      expect(digests.map(({ sizes }) => sizes)).toEqual([
        [2, 0],
        [2 + 2 * FITTING_BLOB, undefined],
        [undefined, FITTING_TEXT],
        [4, 2],
      ]);

      const target = SYSTEMS[(SYSTEMS.indexOf(system) + 1) % SYSTEMS.length] ?? system;
      const into = world().of(target);
      const landing = mirror(`large_of_${system.adapter}`, [
        { name: 'id', type: integer },
        { name: 'photo', type: { type: 'bytes' } },
        { name: 'note', type: { type: 'text' } },
      ]);
      await into.dataSource.createTable(landing);
      const end = await into.dataSource.openTarget();
      await end.prepare();
      const lane = new Lane([landing], system.adapter.padEnd(32, '1'));
      await applied(end, lane.opening());
      const { cells } = await applied(end, lane.next([section(landing.table, 'insert', NAMES, read.rows)]));
      await end.close();
      expect(cells).toEqual([`${landing.table} insert inserted ${read.rows.length}`]);
      const back = await scan(into.dataSource, await snapshotTable(into.dataSource, landing.table, NAMES));
      expect(digestsOf(back.rows)).toEqual(digests);
    },
    60_000,
  );
}

/** Sizes and digests of rows: nobody wants to see 16 MiB in a report. */
function digestsOf(rows: readonly (readonly (string | null)[])[]) {
  return rows
    .toSorted((a, b) => Number(a[0]) - Number(b[0]))
    .map(([, photo, note]) => ({
      sizes: [photo?.length, note?.length],
      digests: [photo, note].map((text) => (text == null ? null : createHash('sha256').update(text).digest('hex'))),
    }));
}

/** Looks at the memory of this process while others run. */
function watchMemory() {
  const before = process.memoryUsage().rss;
  let most = before;
  const look = () => {
    most = Math.max(most, process.memoryUsage().rss);
  };
  const timer = setInterval(look, 5);
  return {
    held() {
      look();
      return most - before;
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
    },
  };
}
