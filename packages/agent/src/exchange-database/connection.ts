/**
 * The connection to the exchange database, whose statements are planned once and stay so, and say when what they wrote was not kept.
 *
 * SQLite guesses how many rows come from the value bound to `column = ?` or `LIMIT ?`, and plans a statement again when another
 * is bound; better-sqlite3 clears what is bound after each run. Both together parse and plan such a statement at every run: 30 to
 * 60 µs for one that takes 1 or 2. A value behind a unary plus is the same value, and is not looked at.
 *
 * A statement that writes and gives a row back (RETURNING) commits, outside a transaction, behind its last row. `get` leaves it at the
 * first, and better-sqlite3 drops what the commit says then: on a full disk a number would be given out that nobody has kept.
 */
import { fileRefused } from '@qiao/runtime';
import Database from 'better-sqlite3';

export type Sqlite = Database.Database;

const TEXT_OR_LOOKED_AT = /'[^']*'|(?:=|\bIS|\bLIMIT|\bOFFSET) (?=[?@])/g;

export function connect(file: string): Sqlite {
  const sqlite = open(file, { timeout: 10_000 });
  const prepare = sqlite.prepare.bind(sqlite);
  sqlite.prepare = (sql: string) => readToTheEnd(prepare(planOnce(sql)));
  return sqlite;
}

function readToTheEnd<S extends Pick<Database.Statement, 'reader' | 'readonly' | 'all' | 'get'>>(statement: S): S {
  if (statement.reader && !statement.readonly) statement.get = (...values) => statement.all(...values)[0];
  return statement;
}

/** Throws FILE_REFUSED where the system refuses the file to this user. */
export function open(file: string, options: Database.Options): Sqlite {
  try {
    return new Database(file, options);
  } catch (error) {
    throw fileRefused(error, file) ?? error;
  }
}

/** The same statement, with the values that SQLite would look at behind a plus. */
function planOnce(sql: string): string {
  return sql.replace(TEXT_OR_LOOKED_AT, (found) => (found.startsWith("'") ? found : `${found}+`));
}
