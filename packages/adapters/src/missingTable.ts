/** What a preflight says of a target table that is not there: the statement that makes it. */
import { QiaoError } from '@qiao/exchange';
import type { TargetTable } from './adapter.ts';

/** `ddl` may throw TYPE_REFUSED for what the database cannot hold. Without columns the source could not say what it sends. */
export function missingTableHint({ columns }: TargetTable, ddl: () => string): string {
  if (columns.length === 0) return 'create it, with the columns that the bridge sends';
  try {
    return `as its owner, or with columns of your own: ${ddl()};`;
  } catch (error) {
    if (!(error instanceof QiaoError)) throw error;
    return `create it by hand: ${error.message}`;
  }
}
