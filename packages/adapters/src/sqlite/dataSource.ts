/**
 * One SQLite file as a data source: ties describing, checking, reading and applying together and closes what was opened through it.
 */

import type { QiaoError } from '@qiao/exchange';
import type {
  DataSource,
  DataSourceConfig,
  Probe,
  SnapshotOptions,
  SourceShape,
  SourceSnapshot,
  SourceTable,
  TableDescription,
  TableRef,
  Target,
  TargetTable,
} from '../adapter.ts';
import type { Triggers } from '../triggers.ts';
import { checkSource } from './check.ts';
import { checkTarget } from './checkTarget.ts';
import { createTableSql } from './createTable.ts';
import { description, listTables, readTable } from './describe.ts';
import { type Connection, failure, openReader, openWriter, patiently } from './session.ts';
import { takeSnapshot } from './source.ts';
import { openTarget } from './target.ts';
import { forgetEntries, planTriggers, runStatements, triggerState } from './triggers.ts';

export type SqliteConfig = Extract<DataSourceConfig, { adapter: 'sqlite' }>;

/** Opens nothing yet: `probe` tells whether the file is there and sound. */
export function openSqlite(config: SqliteConfig): DataSource {
  return new SqliteDataSource(config);
}

class SqliteDataSource implements DataSource {
  readonly name: string;
  readonly adapter = 'sqlite';
  readonly #file: string;
  readonly #open = new Set<{ close(): Promise<void> }>();

  constructor(config: SqliteConfig) {
    this.name = config.name;
    this.#file = config.file;
  }

  async probe(): Promise<Probe> {
    try {
      const version = await this.#read((db) => {
        db.prepare('SELECT count(*) FROM sqlite_schema').get();
        return db.prepare('SELECT sqlite_version()').pluck().get() as string;
      });
      return { reachable: true, version: `SQLite ${version}` };
    } catch (error) {
      const { code = 'SOURCE_UNAVAILABLE', message, hint = '' } = error as Partial<QiaoError> & Error;
      return { reachable: false, code, message, hint };
    }
  }

  tables(): Promise<TableRef[]> {
    return this.#read(listTables);
  }

  describe(ref: TableRef): Promise<TableDescription | undefined> {
    return this.#read((db) => {
      const table = readTable(db, ref);
      return table && description(db, table, (read) => this.#read(read));
    });
  }

  checkSource(tables: readonly SourceTable[]) {
    return this.#read((db) => checkSource(db, tables));
  }

  checkTarget(tables: readonly TargetTable[], shapes: ReadonlyMap<string, SourceShape>) {
    return this.#read((db) => checkTarget(db, this.#file, tables, shapes));
  }

  async snapshot(options: SnapshotOptions): Promise<SourceSnapshot> {
    const snapshot = await takeSnapshot(this.#file, options, () => this.#open.delete(entry));
    const entry = { close: () => Promise.resolve(snapshot[Symbol.asyncDispose]()) };
    this.#open.add(entry);
    return snapshot;
  }

  /** One writer: whoever wrote when a snapshot was taken is seen by the next, or takes its values after it. */
  async remainsOpen(): Promise<undefined> {
    return undefined;
  }

  get triggers(): Triggers {
    return {
      plan: (table) => this.#read((db) => planTriggers(db, table)),
      state: (plan) => this.#read((db) => triggerState(db, plan)),
      run: (statements) => this.#write((db) => runStatements(db, statements)),
      forget: (plan, ids) => this.#write((db) => forgetEntries(db, plan, ids)),
    };
  }

  async openTarget(): Promise<Target> {
    const target = openTarget(this.#file, () => this.#open.delete(target));
    this.#open.add(target);
    return target;
  }

  async createTable(table: TargetTable): Promise<void> {
    const sql = createTableSql(table);
    await this.#write((db) => void db.exec(sql));
  }

  /** Lends a connection that writes, for one short transaction. */
  async #write(write: (db: Connection) => void): Promise<void> {
    const db = openWriter(this.#file);
    try {
      await patiently(() => write(db));
    } catch (error) {
      throw failure(error, 'TARGET_UNAVAILABLE', this.#file);
    } finally {
      db.close();
    }
  }

  async close(): Promise<void> {
    // Closing an entry takes it out of the set, which iteration allows.
    for (const each of this.#open) await each.close();
    this.#open.clear();
  }

  /** Lends a connection for one short reading. */
  async #read<T>(read: (db: Connection) => T): Promise<T> {
    const db = openReader(this.#file);
    try {
      return await patiently(() => read(db));
    } catch (error) {
      throw failure(error, 'SOURCE_UNAVAILABLE', this.#file);
    } finally {
      db.close();
    }
  }
}
