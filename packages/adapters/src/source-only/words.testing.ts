/**
 * The contract suite's SQL in the words of a database that does not understand it as it stands. The suite writes what is SQL's own in
 * capitals, and names and types small: so that a name can be quoted, which keeps it small, and a type replaced, without a parser.
 */

export interface Words {
  /** By the suite's word: `bigint`, `double precision`. */
  readonly types: Readonly<Record<string, string>>;
  readonly quote: (name: string) => string;
  /** A table's name, where it is not the account's own schema that is meant. */
  readonly table?: (name: string) => string;
  readonly text: (literal: string) => string;
  /** A number with an exponent. */
  readonly exponent: (number: string) => string;
  readonly truth: Readonly<Record<'TRUE' | 'FALSE', string>>;
  /** Rows that one VALUES takes; where it is one, statements go together in a block of the database's own language. */
  readonly rowsAtOnce: number;
}

const BEFORE_TABLE: ReadonlySet<string> = new Set(['TABLE', 'VIEW', 'INTO', 'UPDATE', 'FROM', 'REFERENCES']);
const TOKEN =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|\[[^\]]*\]|double precision|[A-Za-z_]\w*|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\s+|./gsu;
/** Statements of one block. */
const MOST_IN_BLOCK = 100;

/** One statement of the suite as the statements that do the same. */
export function sayIn(words: Words, sql: string): string[] {
  let before = '';
  const said = [...sql.trim().replace(/;$/, '').matchAll(TOKEN)].map(([token]) => {
    const isTable =
      words.table !== undefined && (BEFORE_TABLE.has(before) || (before === 'ON' && sql.startsWith('CREATE')));
    if (token.trim() !== '') before = token;
    return isTable && /^[a-z]/.test(token) ? (words.table?.(token) ?? token) : wordOf(words, token);
  });
  const place = said.indexOf('VALUES');
  if (said[0] !== 'INSERT' || place === -1) return [said.join('')];
  const head = said.slice(0, place + 1).join('');
  const rows = rowsOf(said.slice(place + 1));
  const inserts = slices(rows, words.rowsAtOnce).map((some) => `${head} ${some.join(', ')}`);
  if (words.rowsAtOnce > 1 || inserts.length === 1) return inserts;
  return slices(inserts, MOST_IN_BLOCK).map((some) => `BEGIN ${some.map((each) => `${each};`).join(' ')} END;`);
}

function wordOf({ types, quote, text, exponent, truth }: Words, token: string): string {
  if (token.startsWith("'")) return text(token);
  if (/^\d/.test(token)) return /e/i.test(token) ? exponent(token) : token;
  if (token === 'TRUE' || token === 'FALSE') return truth[token];
  if (!/^[a-z]/.test(token)) return token;
  return types[token] ?? quote(token);
}

/** What stands between parentheses, each with them. */
function rowsOf(tokens: readonly string[]): string[] {
  const rows: string[] = [];
  let row = '';
  let depth = 0;
  for (const token of tokens) {
    if (token === '(') depth += 1;
    if (depth > 0) row += token;
    if (token !== ')') continue;
    depth -= 1;
    if (depth > 0) continue;
    rows.push(row);
    row = '';
  }
  return rows;
}

function slices<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, place) =>
    all.slice(place * size, (place + 1) * size),
  );
}

/** Literals of some thousand bytes are the longest that such a database takes; longer texts are put together. */
export function longText(literal: string, join: (piece: string) => string): string {
  if (literal.length <= MOST_CHARACTERS) return literal;
  const characters = Array.from(literal.slice(1, -1).replaceAll("''", "'"));
  return slices(characters, MOST_CHARACTERS)
    .map((piece) => join(`'${piece.join('').replaceAll("'", "''")}'`))
    .join(' || ');
}

const MOST_CHARACTERS = 900;
