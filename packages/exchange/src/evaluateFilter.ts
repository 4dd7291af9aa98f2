/**
 * Evaluates filters over canonical text with SQL's three-valued logic: a comparison with null is neither true nor false,
 * and only true lets a row pass. Literals are read once when the filter is compiled.
 */
import { type ColumnType, typeText } from './columnType.ts';
import { type Comparable, comparable, compareValues, literalProblem } from './compareValues.ts';
import { QiaoError } from './errors.ts';
import type { CompareOperator, Filter, Literal } from './filter.ts';
import { likeMatcher } from './like.ts';

/** true, false, or null for unknown. */
type Truth = boolean | null;
type ValueOf = (column: string) => string | null;

/** A filter made ready for many rows: whether the row passes. */
export type CompiledFilter = (valueOf: ValueOf) => boolean;

/** Whether a row passes. Throws FILTER_INVALID as compileFilter does; for many rows compile once. */
export function evaluateFilter(filter: Filter, valueOf: ValueOf, typeOf: (column: string) => ColumnType): boolean {
  return compileFilter(filter, typeOf)(valueOf);
}

/** Makes a filter ready. Throws FILTER_INVALID with what checkFilter says. */
export function compileFilter(filter: Filter, typeOf: (column: string) => ColumnType | undefined): CompiledFilter {
  const problem = checkFilter(filter, typeOf);
  if (problem !== undefined) {
    throw new QiaoError('FILTER_INVALID', problem, { hint: 'Mend `where:` in the bridge.' });
  }
  const truth = compile(filter, typeOf as (column: string) => ColumnType);
  return (valueOf) => truth(valueOf) === true;
}

/** Why a filter cannot be evaluated over these columns (unknown column, literal that is none of its type); undefined when it can. */
export function checkFilter(filter: Filter, typeOf: (column: string) => ColumnType | undefined): string | undefined {
  switch (filter.kind) {
    case 'and':
    case 'or':
      return firstProblem(filter.filters, (each) => checkFilter(each, typeOf));
    case 'not':
      return checkFilter(filter.filter, typeOf);
    default: {
      const type = typeOf(filter.column);
      if (type === undefined) return `Found column ${filter.column} in a filter; the table has none of that name.`;
      return checkPredicate(filter, type);
    }
  }
}

type Predicate = Exclude<Filter, { kind: 'and' | 'or' | 'not' }>;

function checkPredicate(filter: Predicate, type: ColumnType): string | undefined {
  const where = `column ${filter.column} of type ${typeText(type)}`;
  switch (filter.kind) {
    case 'isNull':
      return undefined;
    case 'like':
      return type.type === 'text' ? undefined : `Found LIKE on ${where}; expected a text column.`;
    case 'compare':
      if (type.type === 'float' && (filter.operator === '=' || filter.operator === '<>')) return floatEquality(where);
      break;
    case 'in':
      if (type.type === 'float') return floatEquality(where);
      break;
    case 'between':
      break;
    default:
      return filter satisfies never;
  }
  return firstProblem(literalsOf(filter), ({ text }) => {
    const problem = literalProblem(type, text);
    return problem === undefined ? undefined : `Found literal '${text}' beside ${where}: ${problem}.`;
  });
}

function floatEquality(where: string): string {
  return `Found an equality on ${where}; expected < <= > >= or BETWEEN: databases disagree about equal binary fractions.`;
}

function literalsOf(filter: Exclude<Predicate, { kind: 'isNull' | 'like' }>): readonly Literal[] {
  switch (filter.kind) {
    case 'compare':
      return [filter.literal];
    case 'in':
      return filter.literals;
    case 'between':
      return [filter.low, filter.high];
    default:
      return filter satisfies never;
  }
}

function compile(filter: Filter, typeOf: (column: string) => ColumnType): (valueOf: ValueOf) => Truth {
  switch (filter.kind) {
    case 'and':
      return compileList(filter.filters, typeOf, false);
    case 'or':
      return compileList(filter.filters, typeOf, true);
    case 'not': {
      const inner = compile(filter.filter, typeOf);
      return (valueOf) => invert(inner(valueOf));
    }
    case 'isNull': {
      const { column, negated } = filter;
      return (valueOf) => (valueOf(column) === null) !== negated;
    }
    case 'like': {
      const matches = likeMatcher(filter.pattern);
      return onValue(filter, (value) => matches(value));
    }
    case 'compare': {
      const type = typeOf(filter.column);
      const literal = comparable(type, filter.literal.text);
      const holds = OPERATORS[filter.operator];
      return onValue({ column: filter.column, negated: false }, (value) =>
        holds(compareValues(comparable(type, value), literal)),
      );
    }
    case 'between': {
      const type = typeOf(filter.column);
      const low = comparable(type, filter.low.text);
      const high = comparable(type, filter.high.text);
      return onValue(filter, (text) => {
        const value = comparable(type, text);
        return compareValues(value, low) >= 0 && compareValues(value, high) <= 0;
      });
    }
    case 'in': {
      const type = typeOf(filter.column);
      const literals = filter.literals.map(({ text }) => comparable(type, text));
      return onValue(filter, (text) => isOneOf(comparable(type, text), literals));
    }
    default:
      return filter satisfies never;
  }
}

const OPERATORS: Readonly<Record<CompareOperator, (order: number) => boolean>> = {
  '=': (order) => order === 0,
  '<>': (order) => order !== 0,
  '<': (order) => order < 0,
  '<=': (order) => order <= 0,
  '>': (order) => order > 0,
  '>=': (order) => order >= 0,
};

function onValue(
  { column, negated }: { column: string; negated: boolean },
  holds: (value: string) => boolean,
): (valueOf: ValueOf) => Truth {
  return (valueOf) => {
    const value = valueOf(column);
    return value === null ? null : holds(value) !== negated;
  };
}

/** AND ends at the first false, OR at the first true; unknown otherwise outweighs the rest. */
function compileList(
  filters: readonly Filter[],
  typeOf: (column: string) => ColumnType,
  decisive: boolean,
): (valueOf: ValueOf) => Truth {
  const parts = filters.map((each) => compile(each, typeOf));
  return (valueOf) => {
    let truth: Truth = !decisive;
    for (const part of parts) {
      const one = part(valueOf);
      if (one === decisive) return decisive;
      if (one === null) truth = null;
    }
    return truth;
  };
}

function isOneOf(value: Comparable, literals: readonly Comparable[]): boolean {
  return literals.some((literal) => compareValues(value, literal) === 0);
}

function invert(truth: Truth): Truth {
  return truth === null ? null : !truth;
}

function firstProblem<T>(items: readonly T[], problemOf: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const problem = problemOf(item);
    if (problem !== undefined) return problem;
  }
  return undefined;
}
