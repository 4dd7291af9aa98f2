/** SQLite under the common contract, in WAL mode as departments are asked to run it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { adapterContract, type Fixture } from '../contract-suite.ts';
import { openSqlite } from './dataSource.ts';

async function make(): Promise<Fixture> {
  const directory = mkdtempSync(join(tmpdir(), 'qiao-sqlite-'));
  const file = join(directory, 'department.db');
  const department = new Database(file);
  department.pragma('journal_mode = WAL');
  const dataSource = openSqlite({ name: 'department', adapter: 'sqlite', file });
  return {
    dataSource,
    dialect: { bytesType: 'bytea', bytes: (hex) => `x'${hex}'`, unsupportedType: 'anything' },
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

adapterContract('sqlite', make, {
  rights: 'a file has no rights of its own beyond the operating system, and the tests may run as root',
});
