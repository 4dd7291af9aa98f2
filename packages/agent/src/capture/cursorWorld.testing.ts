/** For tests only: a source node whose one table is read by a cursor, from a file of SQLite. */
import { join } from 'node:path';
import { openDataSource } from '@qiao/adapters';
import { BookEntry } from '@qiao/contract/control';
import { Statement } from '@qiao/contract/receipt';
import { type BridgeTable, parseId } from '@qiao/exchange';
import Sqlite from 'better-sqlite3';
import type { CursorState } from '../exchange-database/index.ts';
import { createCaptureParts } from './capture.ts';
import { BRIDGE_ID, CaptureWorld, type MemoryDestination } from './captureWorld.testing.ts';

/** One table `person` of a SQLite file, read by its column `at`, and one destination. */
export class CursorWorld extends CaptureWorld {
  readonly #file = new Sqlite(join(this.directory, 'department.db'));
  readonly person: BridgeTable = { name: 'person', transform: [], checks: [], cursor: { column: 'at' } };
  readonly destination: MemoryDestination;

  constructor() {
    super();
    this.#file.pragma('journal_mode = WAL');
    this.#file.exec('CREATE TABLE person (id INTEGER NOT NULL PRIMARY KEY, name TEXT, at TIMESTAMP)');
    this.#file.exec('CREATE INDEX person_at ON person (at)');
    this.source = openDataSource({ name: 'his', adapter: 'sqlite', file: join(this.directory, 'department.db') });
    this.capture = 'cursor';
    this.bridgeTables.push(this.person);
    this.destination = this.addLane();
  }

  sql(text: string): void {
    this.#file.exec(text);
  }

  /** Rows 1 to `count`, a second apart and long ago unless `at` says when. */
  fill(count: number, at = "datetime(1700000000 + value, 'unixepoch')"): void {
    this.sql(`WITH RECURSIVE number (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM number WHERE value < ${count})
      INSERT INTO person SELECT value, 'name ' || value, ${at} FROM number`);
  }

  /** Rows of the source as they would land. */
  rows(columns = 'id, name, at'): string[] {
    const rows = this.#file.prepare(`SELECT ${columns} FROM person`).raw().all() as unknown[][];
    return rows
      .map((row) =>
        row
          .map((value) =>
            String(value)
              .replace(/(\.\d*?)0+$/, '$1')
              .replace(/\.$/, ''),
          )
          .join('\t'),
      )
      .sort();
  }

  get tableId(): number {
    return this.database.captures.table(parseId(BRIDGE_ID), 'person')?.id ?? 0;
  }

  get state(): CursorState {
    const state = this.database.cursors.get(this.tableId);
    if (state === undefined) throw new Error('nothing is known of the table');
    return state;
  }

  /** The code that the heartbeat would carry. */
  get trouble(): string {
    return createCaptureParts(this.ports).states()[0]?.code ?? '';
  }

  /** Rows that the books call refused so far. */
  get refused(): bigint {
    const entries = this.database.books.after(0n, 1_000).map(({ entry }) => BookEntry.decode(entry).entry);
    const counts = entries.flatMap((entry) => {
      if (entry?.$case === 'unpacked') return entry.value.capture;
      if (entry?.$case !== 'statement') return [];
      return Statement.decode(entry.value.payload).capture;
    });
    return counts.reduce((sum, { refused }) => sum + refused, 0n);
  }

  override [Symbol.dispose](): void {
    this.#file.close();
    super[Symbol.dispose]();
  }
}
