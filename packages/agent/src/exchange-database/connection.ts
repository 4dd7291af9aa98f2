/**
 * The connection to the exchange database, whose statements are planned once and stay so.
 *
 * SQLite guesses how many rows come from the value bound to `column = ?` or `LIMIT ?`, and plans a statement again when another
 * is bound; better-sqlite3 clears what is bound after each run. Both together parse and plan such a statement at every run: 30 to
 * 60 µs for one that takes 1 or 2. A value behind a unary plus is the same value, and is not looked at.
 */
import Database from 'better-sqlite3';

export type Sqlite = Database.Database;

const TEXT_OR_LOOKED_AT = /'[^']*'|(?:=|\bIS|\bLIMIT|\bOFFSET) (?=[?@])/g;

export function connect(file: string): Sqlite {
  const sqlite = new Database(file, { timeout: 10_000 });
  const prepare = sqlite.prepare.bind(sqlite);
  sqlite.prepare = (sql: string) => prepare(planOnce(sql));
  return sqlite;
}

/** The same statement, with the values that SQLite would look at behind a plus. */
function planOnce(sql: string): string {
  return sql.replace(TEXT_OR_LOOKED_AT, (found) => (found.startsWith("'") ? found : `${found}+`));
}
