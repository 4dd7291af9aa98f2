/**
 * A filter as SQL, in the words of an adapter: it chooses casts and collations so that the database compares as evaluateFilter does, and
 * whether a literal is bound or spelled out.
 */
import type { Filter } from './filter.ts';

/** What an adapter says about its SQL. Each is told the column's name. */
export interface FilterDialect {
  /** As it is compared, for example `"name" COLLATE "C"`. */
  column(name: string): string;
  /** A value beside that column. Whole-number columns want a decimal type: literals may have fractions or lie outside the column's range. */
  literal(name: string, text: string): string;
  /** A case-sensitive LIKE with backslash as escape. */
  like(name: string, pattern: string): string;
}

/** The condition in parentheses. Literals are asked for in the order in which they stand. */
export function filterSql(filter: Filter, dialect: FilterDialect): string {
  const write = (each: Filter): string => {
    switch (each.kind) {
      case 'and':
      case 'or':
        return `(${each.filters.map(write).join(each.kind === 'and' ? ' AND ' : ' OR ')})`;
      case 'not':
        return `(NOT ${write(each.filter)})`;
      case 'isNull':
        return `(${dialect.column(each.column)} IS ${each.negated ? 'NOT ' : ''}NULL)`;
      case 'like': {
        const like = dialect.like(each.column, each.pattern);
        return each.negated ? `(NOT (${like}))` : `(${like})`;
      }
      case 'compare':
        return `(${dialect.column(each.column)} ${each.operator} ${dialect.literal(each.column, each.literal.text)})`;
      case 'between': {
        const low = dialect.literal(each.column, each.low.text);
        const high = dialect.literal(each.column, each.high.text);
        return `(${dialect.column(each.column)} ${each.negated ? 'NOT ' : ''}BETWEEN ${low} AND ${high})`;
      }
      case 'in': {
        const list = each.literals.map(({ text }) => dialect.literal(each.column, text)).join(', ');
        return `(${dialect.column(each.column)} ${each.negated ? 'NOT ' : ''}IN (${list}))`;
      }
      default:
        return each satisfies never;
    }
  };
  return write(filter);
}
