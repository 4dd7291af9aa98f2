/**
 * The filter language of `where:`: comparisons of a column with literals, IN, BETWEEN, IS NULL, LIKE, joined by AND, OR,
 * NOT and parentheses. Closed on purpose: no functions, no subqueries, no column beside a column, so that every filter can
 * be evaluated here (evaluateFilter.ts), in any database (filterSql.ts), and compared with another (ownership.ts).
 */
import { type Token, tokenize } from './filterTokens.ts';

/** A filter as parsed. */
export type Filter =
  | { kind: 'compare'; column: string; operator: CompareOperator; literal: Literal }
  | { kind: 'in'; column: string; literals: readonly Literal[]; negated: boolean }
  | { kind: 'between'; column: string; low: Literal; high: Literal; negated: boolean }
  | { kind: 'isNull'; column: string; negated: boolean }
  | { kind: 'like'; column: string; pattern: string; negated: boolean }
  | { kind: 'and'; filters: readonly Filter[] }
  | { kind: 'or'; filters: readonly Filter[] }
  | { kind: 'not'; filter: Filter };

export type CompareOperator = '=' | '<>' | '<' | '<=' | '>' | '>=';

/** Text as it stands in the filter, read as the column's type; a number keeps its digits. */
export interface Literal {
  text: string;
  isNumber: boolean;
}

/** The longest filter, in characters. */
export const FILTER_MAX_LENGTH = 10_000;
const MOST_IN_LITERALS = 1_000;
const DEEPEST = 50;

/** Parses a filter. On failure `problem` says where, what was found and what was expected; nothing is thrown. */
export function parseFilter(text: string): { filter?: Filter; problem?: string } {
  if (text.length > FILTER_MAX_LENGTH) {
    return { problem: `Found a filter of ${text.length} characters; expected at most ${FILTER_MAX_LENGTH}.` };
  }
  const { tokens, problem } = tokenize(text);
  if (tokens === undefined) return { problem: problem ?? 'Found no filter.' };
  const parser = new Parser(tokens);
  try {
    return { filter: parser.parse() };
  } catch (error) {
    if (error instanceof Unexpected) return { problem: error.message };
    throw error;
  }
}

/** The columns that a filter names, each once, in order of appearance. */
export function filterColumns(filter: Filter): string[] {
  const columns = new Set<string>();
  const visit = (each: Filter): void => {
    switch (each.kind) {
      case 'and':
      case 'or':
        each.filters.forEach(visit);
        break;
      case 'not':
        visit(each.filter);
        break;
      default:
        columns.add(each.column);
    }
  };
  visit(filter);
  return [...columns];
}

/** Writes a filter so that parseFilter reads it back the same. */
export function filterText(filter: Filter): string {
  switch (filter.kind) {
    case 'compare':
      return `${name(filter.column)} ${filter.operator} ${literalText(filter.literal)}`;
    case 'in':
      return `${name(filter.column)} ${not(filter)}IN (${filter.literals.map(literalText).join(', ')})`;
    case 'between':
      return `${name(filter.column)} ${not(filter)}BETWEEN ${literalText(filter.low)} AND ${literalText(filter.high)}`;
    case 'isNull':
      return `${name(filter.column)} IS ${not(filter)}NULL`;
    case 'like':
      return `${name(filter.column)} ${not(filter)}LIKE ${quoted(filter.pattern)}`;
    case 'and':
    case 'or':
      return `(${filter.filters.map(filterText).join(filter.kind === 'and' ? ' AND ' : ' OR ')})`;
    case 'not':
      return `NOT (${filterText(filter.filter)})`;
    default:
      return filter satisfies never;
  }
}

class Unexpected extends Error {}

/** Recursive descent: or → and → not → predicate. */
class Parser {
  readonly #tokens: readonly Token[];
  #index = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  parse(): Filter {
    const filter = this.#or();
    if (this.#next.kind !== 'end') throw this.#unexpected('AND, OR or the end');
    return filter;
  }

  #or(): Filter {
    return this.#list('OR', 'or', () => this.#list('AND', 'and', () => this.#not()));
  }

  #list(keyword: 'OR' | 'AND', kind: 'or' | 'and', part: () => Filter): Filter {
    const first = part();
    if (!this.#isKeyword(keyword)) return first;
    const filters = [first];
    while (this.#takeKeyword(keyword)) filters.push(part());
    return { kind, filters };
  }

  #not(): Filter {
    return this.#nested(() => {
      if (this.#takeKeyword('NOT')) return { kind: 'not', filter: this.#not() };
      if (!this.#takeSymbol('(')) return this.#predicate();
      const filter = this.#or();
      this.#expectSymbol(')');
      return filter;
    });
  }

  #nested(parse: () => Filter): Filter {
    if (++this.#depth > DEEPEST) throw this.#unexpected(`at most ${DEEPEST} parentheses and NOT inside each other`);
    const filter = parse();
    this.#depth--;
    return filter;
  }

  #predicate(): Filter {
    const token = this.#next;
    if (token.kind !== 'name') throw this.#unexpected('a column, NOT or (');
    this.#index++;
    const column = token.text;
    if (this.#takeKeyword('IS')) {
      const negated = this.#takeKeyword('NOT');
      if (!this.#takeKeyword('NULL')) throw this.#unexpected(negated ? 'NULL' : 'NULL or NOT NULL');
      return { kind: 'isNull', column, negated };
    }
    const negated = this.#takeKeyword('NOT');
    if (this.#takeKeyword('IN')) return { kind: 'in', column, literals: this.#literals(), negated };
    if (this.#takeKeyword('BETWEEN')) {
      const low = this.#literal();
      if (!this.#takeKeyword('AND')) throw this.#unexpected('AND between the two bounds');
      return { kind: 'between', column, low, high: this.#literal(), negated };
    }
    if (this.#takeKeyword('LIKE')) return { kind: 'like', column, pattern: this.#pattern(), negated };
    if (negated) throw this.#unexpected('IN, BETWEEN or LIKE after NOT');
    const operator = this.#next;
    if (operator.kind !== 'operator') throw this.#unexpected('= <> < <= > >= IN BETWEEN LIKE or IS');
    this.#index++;
    return { kind: 'compare', column, operator: operator.text as CompareOperator, literal: this.#literal() };
  }

  #literals(): Literal[] {
    this.#expectSymbol('(');
    const literals = [this.#literal()];
    while (this.#takeSymbol(',')) literals.push(this.#literal());
    if (literals.length > MOST_IN_LITERALS) throw this.#unexpected(`at most ${MOST_IN_LITERALS} literals in one IN`);
    this.#expectSymbol(')');
    return literals;
  }

  #literal(): Literal {
    const token = this.#next;
    if (token.kind === 'keyword' && token.text === 'NULL')
      throw this.#unexpected('a literal; write IS NULL or IS NOT NULL');
    if (token.kind === 'name') throw this.#unexpected("a 'text' in single quotes or a number");
    if (token.kind !== 'text' && token.kind !== 'number') throw this.#unexpected("a 'text' or a number");
    this.#index++;
    return { text: token.text, isNumber: token.kind === 'number' };
  }

  #pattern(): string {
    const token = this.#next;
    if (token.kind !== 'text') throw this.#unexpected("a 'pattern' with % and _");
    const trailing = /\\*$/.exec(token.text)?.[0].length ?? 0;
    if (trailing % 2 === 1) throw this.#unexpected('a pattern that does not end with a lone backslash');
    this.#index++;
    return token.text;
  }

  get #next(): Token {
    return this.#tokens[this.#index] as Token;
  }

  #isKeyword(keyword: string): boolean {
    return this.#next.kind === 'keyword' && this.#next.text === keyword;
  }

  #takeKeyword(keyword: string): boolean {
    const isIt = this.#isKeyword(keyword);
    if (isIt) this.#index++;
    return isIt;
  }

  #takeSymbol(symbol: string): boolean {
    const isIt = this.#next.kind === 'symbol' && this.#next.text === symbol;
    if (isIt) this.#index++;
    return isIt;
  }

  #expectSymbol(symbol: string): void {
    if (!this.#takeSymbol(symbol)) throw this.#unexpected(symbol);
  }

  #unexpected(expected: string): Unexpected {
    const { kind, text, position } = this.#next;
    const found = kind === 'end' ? 'the end' : kind === 'text' ? `'${text}'` : text;
    return new Unexpected(`Found ${found} at character ${position + 1}; expected ${expected}.`);
  }
}

function name(column: string): string {
  return `"${column.replaceAll('"', '""')}"`;
}

function literalText(literal: Literal): string {
  return literal.isNumber ? literal.text : quoted(literal.text);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function not(filter: { negated: boolean }): string {
  return filter.negated ? 'NOT ' : '';
}
