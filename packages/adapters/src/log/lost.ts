import { QiaoError } from '@qiao/exchange';

/** LOG_LOST: the log does not go on from where it was left. */
export function lost(message: string): QiaoError {
  return new QiaoError('LOG_LOST', message, { hint: 'nothing is to be done: the tables are scanned' });
}
