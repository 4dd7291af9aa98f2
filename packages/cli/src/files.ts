// Reading what an operator names on the command line: a file, or - for standard input.

import { readFileSync } from 'node:fs';
import { QiaoError } from '@qiao/exchange';

/** Bridge files larger than this are refused unread. */
const FILE_MAX_BYTES = 256 * 1024;

/** The text of a file. Throws FILE_NOT_READABLE or FILE_TOO_LARGE. */
export function readText(file: string): string {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (cause) {
    throw new QiaoError(
      'FILE_NOT_READABLE',
      `cannot read ${file}: ${(cause as NodeJS.ErrnoException).code ?? String(cause)}`,
      { cause },
    );
  }
  if (Buffer.byteLength(text) > FILE_MAX_BYTES) {
    throw new QiaoError(
      'FILE_TOO_LARGE',
      `${file} has ${Buffer.byteLength(text)} bytes; expected at most ${FILE_MAX_BYTES}`,
    );
  }
  return text;
}
