/**
 * Cuts a filter's text into tokens. Bare names are letters of any script, digits, `_` and `$`; anything else stands in
 * "double quotes". Keywords are upper or lower case and never bare names.
 */

export interface Token {
  kind: 'name' | 'text' | 'number' | 'operator' | 'symbol' | 'keyword' | 'end';
  /** Unquoted; keywords in upper case. */
  text: string;
  /** Index of its first character. */
  position: number;
}

const KEYWORDS = new Set(['AND', 'OR', 'NOT', 'IN', 'BETWEEN', 'IS', 'NULL', 'LIKE']);

const BLANK = /\s+/uy;
const TEXT = /'((?:[^']|'')*)'/uy;
const NAME = /"((?:[^"]|"")+)"/uy;
const BARE_NAME = /[\p{L}_][\p{L}\p{M}\p{N}_$]*/uy;
const NUMBER = /-?\d+(?:\.\d+)?(?![\p{L}\p{N}_.])/uy;
const OPERATOR = /<>|!=|<=|>=|=|<|>/uy;
const SYMBOL = /[(),]/uy;

/** The tokens with an `end` at the end; or the problem at the first character that begins none. */
export function tokenize(text: string): { tokens?: Token[]; problem?: string } {
  const tokens: Token[] = [];
  let position = 0;
  const match = (form: RegExp): RegExpExecArray | null => {
    form.lastIndex = position;
    return form.exec(text);
  };
  while (position < text.length) {
    const blank = match(BLANK);
    if (blank !== null) {
      position += blank[0].length;
      continue;
    }
    const [token, length] = tokenAt(match, position) ?? [];
    if (token === undefined || length === undefined) return { problem: problemAt(text, position) };
    if (token.text.includes('\0')) return { problem: `Found a NUL character at character ${position + 1}.` };
    tokens.push(token);
    position += length;
  }
  tokens.push({ kind: 'end', text: '', position });
  return { tokens };
}

function tokenAt(
  match: (form: RegExp) => RegExpExecArray | null,
  position: number,
): [token: Token, length: number] | undefined {
  const text = match(TEXT);
  if (text !== null) return [{ kind: 'text', text: (text[1] ?? '').replaceAll("''", "'"), position }, text[0].length];
  const quotedName = match(NAME);
  if (quotedName !== null) {
    return [{ kind: 'name', text: (quotedName[1] ?? '').replaceAll('""', '"'), position }, quotedName[0].length];
  }
  const bare = match(BARE_NAME)?.[0];
  if (bare !== undefined) {
    const upper = bare.toUpperCase();
    const isKeyword = KEYWORDS.has(upper);
    return [{ kind: isKeyword ? 'keyword' : 'name', text: isKeyword ? upper : bare, position }, bare.length];
  }
  const number = match(NUMBER)?.[0];
  if (number !== undefined) return [{ kind: 'number', text: number, position }, number.length];
  const operator = match(OPERATOR)?.[0];
  if (operator !== undefined) {
    return [{ kind: 'operator', text: operator === '!=' ? '<>' : operator, position }, operator.length];
  }
  const symbol = match(SYMBOL)?.[0];
  return symbol === undefined ? undefined : [{ kind: 'symbol', text: symbol, position }, 1];
}

const LOOKALIKES: Readonly<Record<string, string>> = {
  '（': '(',
  '）': ')',
  '，': ',',
  '＝': '=',
  '＜': '<',
  '＞': '>',
  '‘': "'",
  '’': "'",
  '“': '"',
  '”': '"',
};

function problemAt(text: string, position: number): string {
  const character = String.fromCodePoint(text.codePointAt(position) ?? 0);
  const at = `at character ${position + 1}`;
  const lookalike = LOOKALIKES[character];
  if (lookalike !== undefined) return `Found ${character} ${at}; expected the half-width ${lookalike}.`;
  if (character === "'" || character === '"')
    return `Found a quote ${at} that never closes; expected another ${character}.`;
  if (character === ';') return `Found ; ${at}; expected one filter and nothing after it.`;
  if (/[\d-]/.test(character)) return `Found a number ${at} in a form not known; expected digits such as -12 or 3.50.`;
  return `Found ${character} ${at}; expected a column, 'text', a number, an operator, parentheses or a comma.`;
}
