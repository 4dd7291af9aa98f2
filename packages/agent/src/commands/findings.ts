// What a check hands to people: errors as findings, none of them twice, and none that sends them where they are.

import { type Problem, ProblemsError, QiaoError } from '@qiao/exchange';

/** What an error says of the bridge, at a path of it. Throws what is no QiaoError. */
export function problemsOf(error: unknown, path: string): Problem[] {
  if (error instanceof ProblemsError && error.problems.length > 0) {
    return error.problems.map((problem) => ({
      ...problem,
      path: [path, problem.path].filter((part) => part !== '').join('.'),
    }));
  }
  if (!(error instanceof QiaoError)) throw error;
  const { code, message, hint } = error;
  return [{ code, path, message, hint: hint.includes('qiao bridge check -f') ? hereInstead(code) : hint }];
}

/** For a hint that sends people to this check, who are here. */
function hereInstead(code: string): string {
  return code.endsWith('_RIGHTS')
    ? 'as a DBA: GRANT the right to the account of the data source, then check again'
    : 'correct the bridge or the table, then check again';
}

/** What the check of tables finds, and whoever needs the table may find again in other words. */
export const OF_TABLES: ReadonlySet<string> = new Set([
  'TABLE_MISSING',
  'COLUMN_MISSING',
  'KEYLESS_TABLE',
  'TYPE_UNSUPPORTED',
]);

/** Two checks may find the same thing, which a person reads once. One place may have several problems of a kind, each with a fix of its own. */
export function distinct(problems: readonly Problem[]): Problem[] {
  const seen = new Set<string>();
  return problems.filter(({ code, path, message }) => {
    const key = JSON.stringify([code, path, ...(OF_TABLES.has(code) ? [] : [message])]);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
