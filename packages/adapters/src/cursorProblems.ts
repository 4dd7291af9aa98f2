/** What the preflight of every adapter says of a cursor's column, by its description alone (D4 of adapter.ts). */
import { cursorKind, type Problem } from '@qiao/exchange';
import type { ColumnDescription } from './adapter.ts';

/** `label` names the table, `column` is what `describe` found. */
export function cursorProblems(label: string, { name, type, nativeType, nullable }: ColumnDescription): Problem[] {
  const path = `${label}.${name}`;
  if ('unsupported' in type || cursorKind(type) === undefined) {
    return [
      {
        code: 'CURSOR_TYPE',
        path,
        message: `column ${name} is of type ${nativeType}; a cursor needs a date, a timestamp, an integer or a decimal`,
        hint: 'Name a column that rises with every insert and update, or write capture: compare.',
      },
    ];
  }
  if (!nullable) return [];
  return [
    {
      code: 'CURSOR_NULLABLE',
      path,
      message: `column ${name} may be null; rows in which it is are refused and counted (CURSOR_NULL)`,
      hint: `Let the department fill it and say NOT NULL, or share a view with coalesce(${name}, created_at).`,
      warning: true,
    },
  ];
}

/** No index begins with the column, so that each scan reads the whole table. `ddl` makes one. */
export function notIndexed(label: string, column: string, ddl: string): Problem {
  return {
    code: 'CURSOR_NOT_INDEXED',
    path: `${label}.${column}`,
    message: `no index begins with column ${column}: each scan reads the whole table`,
    hint: ddl,
    warning: true,
  };
}

/** The database does not tell which transactions are open; `why` says so as a sentence's beginning. */
export function horizonUnproven(label: string, column: string, why: string, fix: string): Problem {
  return {
    code: 'CURSOR_HORIZON_UNPROVEN',
    path: `${label}.${column}`,
    message: `${why}: a row that is committed later than the lag after its value was taken is missed`,
    hint: `${fix}; else write a lag: longer than any transaction of the department lasts.`,
    warning: true,
  };
}
