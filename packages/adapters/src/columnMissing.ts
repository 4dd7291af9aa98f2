/** What a landing says of a target that lacks a column. */
import { QiaoError } from '@qiao/exchange';

/** What is sent has a column that the target lacks. Permanent, and nobody need have touched the target: a bridge takes new columns of its source. */
export function columnMissing(column: string, table: string): QiaoError {
  return new QiaoError('TARGET_SCHEMA', `column ${column} of table ${table} is missing`, {
    hint: 'the source may have got it since: qiao bridge check -f FILE says the statement that adds it; or write `columns: […]` in the bridge without it, and apply it',
  });
}
