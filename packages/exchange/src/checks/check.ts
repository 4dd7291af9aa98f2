/**
 * The rules that a bridge may write under `checks:`, resolved, and what each finds in a value. A row that breaks one is refused at
 * the source and counted under the rule's code and column; null breaks none but `required`.
 */
import { type ColumnType, typeText } from '../columnType.ts';
import { creditCodeProblem } from './creditCode.ts';
import { divisionCodeProblem } from './divisionCode.ts';
import { idNumberProblem } from './idNumber.ts';
import { compilePattern } from './pattern.ts';
import { type Bounds, compileRange } from './range.ts';

export type Check = { column: string } & Rule;

export type Rule =
  /** Neither null nor blank: 必填. */
  | { required: true }
  /** The whole value matches: pattern.ts. */
  | { pattern: string }
  | { range: Bounds }
  /** The value is one of these. */
  | { dictionary: string[] }
  /** 公民身份号码, GB 11643. */
  | { idNumber: Divisions }
  /** 统一社会信用代码, GB 32100. */
  | { creditCode: true }
  /** 行政区划代码, GB/T 2260. */
  | { divisionCode: Divisions };

/** `divisions` are the codes that exist; with true only the province is looked at. */
export type Divisions = true | { divisions: string[] };

/** The code of what is wrong with a value; undefined when nothing is. */
export type CompiledRule = (value: string | null) => string | undefined;

/** A string says what column is expected. The pattern must have been read before. */
export function compileRule(rule: Rule, type: ColumnType): CompiledRule | string {
  if ('required' in rule) return (value) => (isMissing(value) ? 'REQUIRED_MISSING' : undefined);
  if ('range' in rule) return compileRange(rule.range, type);
  if ('dictionary' in rule) {
    const values = new Set(rule.dictionary);
    return ofValue((value) => (values.has(value) ? undefined : 'DICTIONARY_UNKNOWN_VALUE'));
  }
  if (type.type !== 'text' && type.type !== 'integer') return `a column of text, found ${typeText(type)}`;
  if ('pattern' in rule) {
    const { matches, problem } = compilePattern(rule.pattern);
    if (matches === undefined) return `a pattern that can be read: ${problem}`;
    return ofValue((value) => (matches(value) ? undefined : 'PATTERN_MISMATCH'));
  }
  if ('idNumber' in rule) {
    const divisions = codesOf(rule.idNumber);
    return ofValue((value) => idNumberProblem(value, divisions));
  }
  if ('creditCode' in rule) return ofValue(creditCodeProblem);
  if ('divisionCode' in rule) {
    const divisions = codesOf(rule.divisionCode);
    return ofValue((value) => divisionCodeProblem(value, divisions));
  }
  return rule satisfies never;
}

/** Nothing but blanks is as missing as null. */
export function isMissing(value: string | null): boolean {
  return value === null || value.trim() === '';
}

function ofValue(problem: (value: string) => string | undefined): CompiledRule {
  return (value) => (value === null ? undefined : problem(value));
}

function codesOf(table: Divisions): ReadonlySet<string> | undefined {
  return table === true ? undefined : new Set(table.divisions);
}
