// Statements that stay prepared: to plan one anew costs more than to run it.

import type Sqlite from 'better-sqlite3';
import type { SqliteDatabase, SqliteStatement } from 'kysely';

/** A store has some hundred; those with lists of values have one for each length. */
const MOST = 300;

/** The database as Kysely takes it, with the statements that were used last kept. */
export function keepingStatements(database: Sqlite.Database): SqliteDatabase {
  const kept = new Map<string, SqliteStatement>();
  return {
    close: () => void database.close(),
    prepare(sql) {
      const statement = kept.get(sql) ?? database.prepare(sql);
      kept.delete(sql);
      kept.set(sql, statement);
      if (kept.size > MOST) kept.delete(kept.keys().next().value as string);
      return statement;
    },
  };
}
