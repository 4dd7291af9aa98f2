import type { Filter } from './filter.ts';
export interface FilterDialect {
  /** The column as SQL: quoted; may add a collation, for example `"name" COLLATE "C"`. */
  identifier(name: string): string;
  /** The n-th bound parameter, from 1. */
  parameter(index: number): string;
  /** SQL type to which a literal compared with this column is cast. */
  literalType?(column: string): string | undefined;
  /** A case-sensitive LIKE with backslash as escape; default `column LIKE pattern ESCAPE '\'`. */
  like?(column: string, pattern: string): string;
}
export function filterSql(filter: Filter, dialect: FilterDialect): { sql: string; parameters: string[] } {
  throw new Error(String([filter, dialect]));
}
