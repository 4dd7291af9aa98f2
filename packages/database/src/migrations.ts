// Owns the shape of a relational store over time: an append-only list of migrations, applied in order, each in a transaction
// of its own together with its row in `qiao_migrations`. Which tables there are belongs to the program that hands the list in.

import { createHash } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';
import type Database from 'better-sqlite3';

export interface Migration {
  /** Stable name, never reused: `0001-first-tables`. The list is ordered by position, and positions never change. */
  readonly id: string;
  /** Statements of this step. Tables are STRICT. */
  readonly sql: string;
  /** A program that does not know this step must not open the file (it would misread or damage it). */
  readonly breaking?: boolean;
}

const CREATE_LEDGER = `CREATE TABLE IF NOT EXISTS qiao_migrations (
  position INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  breaking INTEGER NOT NULL,
  sql_sha256 TEXT NOT NULL
) STRICT`;

interface LedgerRow {
  readonly position: number;
  readonly id: string;
  readonly breaking: number;
  readonly sql_sha256: string;
}

/**
 * Brings the file up to the program's last migration.
 * Throws DATABASE_NEWER when the file carries a breaking step this program does not know, MIGRATION_EDITED when a step that
 * was applied reads differently today, MIGRATION_FAILED when a step does not run (the file keeps the step before it).
 */
export function migrate(database: Database.Database, migrations: readonly Migration[], name: string): void {
  database.exec(CREATE_LEDGER);
  const applied = database.prepare('SELECT * FROM qiao_migrations ORDER BY position').all() as LedgerRow[];
  checkApplied(applied, migrations, name);
  const record = database.prepare(
    'INSERT INTO qiao_migrations (position, id, breaking, sql_sha256) VALUES (?, ?, ?, ?)',
  );
  for (const [index, migration] of migrations.entries()) {
    if (index < applied.length) continue;
    const step = database.transaction(() => {
      database.exec(migration.sql);
      record.run(index + 1, migration.id, migration.breaking === true ? 1 : 0, digest(migration));
    });
    try {
      step.immediate();
    } catch (error) {
      throw new QiaoError('MIGRATION_FAILED', `${name}: step ${migration.id} did not run: ${String(error)}`, {
        hint: 'nothing of this step was kept; restore the program before it, or report the message',
        cause: error,
      });
    }
  }
}

function checkApplied(applied: readonly LedgerRow[], migrations: readonly Migration[], name: string): void {
  for (const [index, row] of applied.entries()) {
    const known = migrations[index];
    if (known === undefined) {
      if (row.breaking === 0) continue;
      throw new QiaoError(
        'DATABASE_NEWER',
        `${name} was written by a newer program: its step ${row.id} is unknown here and forbids older programs`,
        { hint: 'start the newer version of the program, or restore the backup taken before the upgrade' },
      );
    }
    if (known.id !== row.id || digest(known) !== row.sql_sha256) {
      throw new QiaoError(
        'MIGRATION_EDITED',
        `${name}: step ${row.position} was applied as ${row.id}, but this program has ${known.id} with other statements there`,
        { hint: 'steps are append-only: this file and this program do not belong together' },
      );
    }
  }
}

function digest(migration: Migration): string {
  return createHash('sha256').update(migration.sql).digest('hex');
}
