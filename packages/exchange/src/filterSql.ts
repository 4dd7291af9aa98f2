/**
 * A filter as SQL: identifiers quoted by the adapter's dialect, every literal a bound parameter. The adapter chooses casts
 * and collations so that the database compares as evaluateFilter does.
 */
import type { Filter, Literal } from './filter.ts';

/** What an adapter says about its SQL. */
export interface FilterDialect {
  /** The column as SQL: quoted; may add a collation, for example `"name" COLLATE "C"`. */
  identifier(name: string): string;
  /** The n-th bound parameter, from 1. */
  parameter(index: number): string;
  /**
   * SQL type that a literal beside this column is cast to; undefined for none. Whole-number columns want a decimal type:
   * literals may have fractions or lie outside the column's range.
   */
  literalType?(column: string): string | undefined;
  /** A case-sensitive LIKE with backslash as escape; default `column LIKE pattern ESCAPE '\'`. */
  like?(column: string, pattern: string): string;
}

/** The condition in parentheses, and its parameters in order. */
export function filterSql(filter: Filter, dialect: FilterDialect): { sql: string; parameters: string[] } {
  const parameters: string[] = [];
  const bind = (column: string, text: string): string => {
    parameters.push(text);
    const parameter = dialect.parameter(parameters.length);
    const type = dialect.literalType?.(column);
    return type === undefined ? parameter : `CAST(${parameter} AS ${type})`;
  };
  const write = (each: Filter): string => {
    switch (each.kind) {
      case 'and':
      case 'or':
        return `(${each.filters.map(write).join(each.kind === 'and' ? ' AND ' : ' OR ')})`;
      case 'not':
        return `(NOT ${write(each.filter)})`;
      case 'isNull':
        return `(${dialect.identifier(each.column)} IS ${each.negated ? 'NOT ' : ''}NULL)`;
      case 'like': {
        parameters.push(each.pattern);
        const pattern = dialect.parameter(parameters.length);
        const column = dialect.identifier(each.column);
        const like = dialect.like?.(column, pattern) ?? `${column} LIKE ${pattern} ESCAPE '\\'`;
        return each.negated ? `(NOT (${like}))` : `(${like})`;
      }
      case 'compare':
        return `(${dialect.identifier(each.column)} ${each.operator} ${bind(each.column, each.literal.text)})`;
      case 'between': {
        const low = bind(each.column, each.low.text);
        const high = bind(each.column, each.high.text);
        return `(${dialect.identifier(each.column)} ${each.negated ? 'NOT ' : ''}BETWEEN ${low} AND ${high})`;
      }
      case 'in': {
        const list = each.literals.map((literal: Literal) => bind(each.column, literal.text)).join(', ');
        return `(${dialect.identifier(each.column)} ${each.negated ? 'NOT ' : ''}IN (${list}))`;
      }
      default:
        return each satisfies never;
    }
  };
  return { sql: write(filter), parameters };
}
