/** Places in PostgreSQL's log (LSN): 64 bits, written as two hexadecimal halves, `16/B374D848`. */
import { QiaoError } from '@qiao/exchange';

/** Reads an LSN. Throws LOG_POSITION_INVALID. */
export function parseLsn(text: string): bigint {
  const found = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text);
  if (found === null)
    throw new QiaoError('LOG_POSITION_INVALID', 'found a position that is no place in the log of PostgreSQL');
  return (BigInt(`0x${found[1]}`) << 32n) | BigInt(`0x${found[2]}`);
}

export function lsnText(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}
