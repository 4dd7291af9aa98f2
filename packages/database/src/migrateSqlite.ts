// Owns bringing a SQLite file up to the program's last step.

import type Database from 'better-sqlite3';
import { CREATE_LEDGER, checkApplied, type LedgerRow, ledgerRow, type Migration, stepFailed } from './migrations.ts';

/** Throws DATABASE_NEWER, MIGRATION_EDITED, MIGRATION_FAILED (the file keeps the step before it). */
export function migrateSqlite(database: Database.Database, migrations: readonly Migration[], name: string): void {
  database.exec(CREATE_LEDGER);
  const applied = database.prepare('SELECT * FROM qiao_migrations ORDER BY position').all() as LedgerRow[];
  const known = migrations.map((migration, index) => ledgerRow(index, migration, migration.sql));
  checkApplied(applied, known, name);
  const record = database.prepare(
    'INSERT INTO qiao_migrations (position, id, breaking, sql_sha256) VALUES (@position, @id, @breaking, @sql_sha256)',
  );
  for (const [index, migration] of migrations.entries()) {
    if (index < applied.length) continue;
    const step = database.transaction(() => {
      database.exec(migration.sql);
      record.run(known[index]);
    });
    try {
      step.immediate();
    } catch (error) {
      throw stepFailed(name, migration, error);
    }
  }
}
