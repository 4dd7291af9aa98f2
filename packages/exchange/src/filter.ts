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
/** Text exactly as it stands in the filter; a number keeps its digits. */
export interface Literal {
  text: string;
  isNumber: boolean;
}
export function parseFilter(text: string): { filter?: Filter; problem?: string } {
  throw new Error(text);
}
export function filterColumns(filter: Filter): string[] {
  throw new Error(String(filter));
}
