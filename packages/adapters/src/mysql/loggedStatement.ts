/**
 * What a statement that the log carries as text did to a table: nearly always it changed its definition. Reading SQL exactly is the server's
 * business: here a statement that names the table and is not known to be harmless counts as a change of it, and one that writes rows may have written
 * to any table, through a view or a trigger.
 */
import { isUtf8 } from 'node:buffer';

export type StatementEffect = 'none' | 'truncate' | 'reshaped' | 'untold';

export interface StatementTable {
  readonly database: string;
  readonly name: string;
  /** Of the plan: those beside it come and go. */
  readonly columns: readonly string[];
}

export interface LoggedStatement {
  /** Words, names, numbers and full stops, without comments and texts; those of the statement that is run, behind settings for it alone. */
  readonly tokens: readonly string[];
  /** Its bytes, when it is not in UTF-8: then only names of ASCII are known in it. */
  readonly foreign: string | undefined;
  readonly database: string;
}

/** Kinds of statements that change neither rows nor the definition of a table. */
const HARMLESS =
  /^(CREATE|DROP|ALTER)( OR REPLACE)?( (ALGORITHM|DEFINER|SQL SECURITY|AGGREGATE|UNDEFINED|MERGE|TEMPTABLE|INVOKER|CURRENT_USER|UNIQUE|FULLTEXT|SPATIAL)\b.*?)?( (VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT|USER|ROLE|SERVER|INDEX|SEQUENCE|PACKAGE|TABLESPACE)\b)|^(CREATE|ALTER) (OR REPLACE )?(DATABASE|SCHEMA)\b|^(GRANT|REVOKE|SET(?! STATEMENT\b)|ANALYZE ((NO_WRITE_TO_BINLOG|LOCAL) )?TABLES?|OPTIMIZE|REPAIR|CHECK|FLUSH|SAVEPOINT|RELEASE|BEGIN|COMMIT|START)\b|^(CREATE|DROP) TEMPORARY\b|^RENAME USER\b/;

/** Words of an ALTER TABLE by which rows vanish or come without an event, or existing columns change. */
const DEEP = new Set([
  'PARTITION',
  'PARTITIONING',
  'RENAME',
  'CONVERT',
  'TRUNCATE',
  'EXCHANGE',
  'IMPORT',
  'DISCARD',
  'VERSIONING',
  'PERIOD',
  'ENGINE',
]);

export function parseStatement(text: Buffer, database: string): LoggedStatement {
  const foreign = isUtf8(text) ? undefined : text.toString('latin1');
  return { tokens: tokensOf(text.toString('utf8')), foreign, database };
}

/** `isSame` compares names as the server does. */
export function effectOf(
  { tokens, foreign, database }: LoggedStatement,
  table: StatementTable,
  isSame: (a: string, b: string) => boolean,
): StatementEffect {
  const words = tokens.slice(0, 12).map((token) => token.toUpperCase());
  const start = words.join(' ');
  if (HARMLESS.test(start)) return 'none';
  if (/^DROP (DATABASE|SCHEMA)\b/.test(start))
    return mayName(foreign, table.database) || tokens.some((token) => isSame(token, table.database))
      ? 'reshaped'
      : 'none';
  if (!/^(TRUNCATE|CREATE|DROP|RENAME|ALTER)\b/.test(start)) return 'untold';
  const isMeant =
    mayName(foreign, table.name) || tokens.some((_, index) => names(tokens, index, database, table, isSame));
  if (!isMeant) return 'none';
  switch (words[0]) {
    case 'TRUNCATE':
      return 'truncate';
    case 'ALTER': {
      const isDeep =
        foreign !== undefined ||
        tokens.some((token) => DEEP.has(token.toUpperCase())) ||
        // Names of columns never tell case.
        table.columns.some((column) => tokens.some((token) => token.toLowerCase() === column.toLowerCase()));
      return isDeep ? 'reshaped' : 'none';
    }
    default:
      return 'reshaped';
  }
}

/** Letters of ASCII are the same bytes in every character set of a client. */
function mayName(foreign: string | undefined, name: string): boolean {
  if (foreign === undefined) return false;
  return !/^[\w$ -]+$/.test(name) || foreign.toLowerCase().includes(name.toLowerCase());
}

/** `name` or `database.name`. */
function names(
  tokens: readonly string[],
  index: number,
  database: string,
  table: StatementTable,
  isSame: (a: string, b: string) => boolean,
): boolean {
  if (!isSame(tokens[index] as string, table.name)) return false;
  const of = tokens[index - 1] === '.' ? (tokens[index - 2] ?? '') : database;
  // A column of the name, behind its table: only one that is behind the table's own database counts.
  return isSame(of, table.database);
}

/** Comments for some versions are statements, too. ANSI quotes may be names: their text counts as one. */
function tokensOf(text: string): string[] {
  let tokens: string[] = [];
  let depth = 0;
  const pattern =
    /\/\*(?!M?!)[\s\S]*?\*\/|\/\*M?!\d*|(?:--(?=\s|$)|#)[^\n]*|`((?:[^`]|``)*)`|'(?:[^'\\]|\\[\s\S]|'')*'|"((?:[^"\\]|\\[\s\S]|"")*)"|([\p{L}\p{N}_$\u0080-\u{10ffff}]+)|([.()])/gu;
  for (const [, ticked, quoted, word, mark] of text.matchAll(pattern)) {
    if (mark === '(') depth += 1;
    else if (mark === ')') depth -= 1;
    else if (depth === 0 && word?.toUpperCase() === 'FOR' && /^SET STATEMENT$/i.test(tokens.slice(0, 2).join(' ')))
      tokens = [];
    else {
      const token = ticked?.replaceAll('``', '`') ?? quoted?.replaceAll('""', '"') ?? word ?? mark;
      if (token !== undefined) tokens.push(token);
    }
  }
  return tokens;
}
