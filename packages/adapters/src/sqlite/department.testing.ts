/** A department's SQLite file for tests: its own connection, and the data source over it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { Fixture } from '../contractSuite.ts';
import { openSqlite } from './dataSource.ts';

export interface Department extends Fixture {
  readonly file: string;
}

/** Makes an empty file in a directory of its own; WAL mode is what departments are asked for, `delete` what SQLite has by default. */
export async function makeDepartment(journalMode: 'wal' | 'delete' = 'wal'): Promise<Department> {
  const directory = mkdtempSync(join(tmpdir(), 'qiao-sqlite-'));
  const file = join(directory, 'department.db');
  const department = new Database(file);
  department.pragma(`journal_mode = ${journalMode}`);
  const dataSource = openSqlite({ name: 'department', adapter: 'sqlite', file });
  return {
    file,
    dataSource,
    dialect: {
      bytesType: 'bytea',
      bytes: (hex) => `x'${hex}'`,
      nowSeconds: 'SELECT unixepoch()',
      unsupportedType: 'anything',
      upserts: [
        ['INSERT INTO t VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET x = 6', ['U 1']],
        ['REPLACE INTO t VALUES (1, 7), (2, 7)', ['I 1', 'I 2']],
        ['INSERT OR IGNORE INTO t VALUES (1, 5), (3, 5)', ['I 3']],
      ],
      lastId: {
        table: 'CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, x bigint)',
        ask: 'SELECT last_insert_rowid()',
      },
    },
    sql: async (text) => void department.exec(text),
    query: async (text) => {
      const rows = department.prepare(text).raw().safeIntegers().all() as unknown[][];
      return rows.map((row) => row.map((value) => (value === null ? null : String(value))));
    },
    [Symbol.asyncDispose]: async () => {
      await dataSource.close();
      department.close();
      rmSync(directory, { recursive: true });
    },
  };
}
