import { QiaoError } from '@qiao/exchange';

/** LOG_LOST: the log does not go on from where it was left. */
export function lost(message: string): QiaoError {
  return new QiaoError('LOG_LOST', message, { hint: 'nothing is to be done: the tables are scanned' });
}

/** LOG_UNREADABLE: the database fails over its own log. A later attempt may succeed. */
export function unreadable(how: string): QiaoError {
  return new QiaoError('LOG_UNREADABLE', `the database cannot read its own log (${how})`, {
    hint: 'look at the log of the database server; if it stays, the tables are scanned and followed from then on',
  });
}
