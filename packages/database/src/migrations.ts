// Owns the shape of a relational store over time: an append-only list of migrations, applied in order, each in a transaction
// of its own together with its row in `qiao_migrations`. Which tables there are belongs to the program that hands the list in;
// how a step is carried out belongs to each store.

import { createHash } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';

export interface Migration {
  /** Stable name, never reused: `0001-first-tables`. The list is ordered by position, and positions never change. */
  readonly id: string;
  /** Statements of this step in SQLite's words. Tables are STRICT. */
  readonly sql: string;
  /** Statements of this step for PostgreSQL; left out where `postgresDdl` translates `sql`. */
  readonly postgres?: string;
  /** A program that does not know this step must not open the store (it would misread or damage it). */
  readonly breaking?: boolean;
}

export const CREATE_LEDGER = `CREATE TABLE IF NOT EXISTS qiao_migrations (
  position INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  breaking INTEGER NOT NULL,
  sql_sha256 TEXT NOT NULL
) STRICT`;

export interface LedgerRow {
  readonly position: number;
  readonly id: string;
  readonly breaking: number;
  readonly sql_sha256: string;
}

/** The ledger row of a step. `text` is the step as written for that store, before any translation. */
export function ledgerRow(index: number, migration: Migration, text: string): LedgerRow {
  return {
    position: index + 1,
    id: migration.id,
    breaking: migration.breaking === true ? 1 : 0,
    sql_sha256: createHash('sha256').update(text).digest('hex'),
  };
}

/**
 * Compares what was applied with what this program knows. Throws DATABASE_NEWER when the store carries a breaking step this
 * program does not know, MIGRATION_EDITED when a step that was applied reads differently today.
 */
export function checkApplied(applied: readonly LedgerRow[], known: readonly LedgerRow[], name: string): void {
  for (const [index, row] of applied.entries()) {
    const expected = known[index];
    if (expected === undefined) {
      if (row.breaking === 0) continue;
      throw new QiaoError(
        'DATABASE_NEWER',
        `${name} was written by a newer program: its step ${row.id} is unknown here and forbids older programs`,
        { hint: 'start the newer version of the program, or restore the backup taken before the upgrade' },
      );
    }
    if (expected.id !== row.id || expected.sql_sha256 !== row.sql_sha256) {
      throw new QiaoError(
        'MIGRATION_EDITED',
        `${name}: step ${row.position} was applied as ${row.id}, but this program has ${expected.id} with other statements there`,
        { hint: 'steps are append-only: this store and this program do not belong together' },
      );
    }
  }
}

/** Throws MIGRATION_FAILED. */
export function stepFailed(name: string, migration: Migration, cause: unknown): QiaoError {
  return new QiaoError('MIGRATION_FAILED', `${name}: step ${migration.id} did not run: ${String(cause)}`, {
    hint: 'nothing of this step was kept; restore the program before it, or report the message',
    cause,
  });
}
