// Files that people write: UTF-8 with or without a BOM, nothing else. What another program saved in GBK or UTF-16 would be read as signs that
// nobody meant, and titles of it stored for good.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import { fileRefused } from './fileRefused.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Thrown where there is no file. */
interface Missing {
  readonly code: string;
  readonly hint: string;
  /** What is there in its place, as the end of a sentence. */
  instead?(): string;
}

/** The text of a file, or of standard input for `-`. Throws `missing` where there is none, FILE_REFUSED, FILE_NOT_UTF8. */
export function readTextFile(file: string, { code, hint, instead }: Missing): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file === '-' ? 0 : file);
  } catch (cause) {
    const refused = fileRefused(cause);
    if (refused !== undefined) throw refused;
    const { code: errno } = cause as NodeJS.ErrnoException;
    const why = WORDS[errno ?? ''] ?? errno ?? String(cause);
    throw new QiaoError(code, `cannot read ${resolve(file)}: ${why}${instead?.() ?? ''}`, { hint, cause });
  }
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new QiaoError('FILE_NOT_UTF8', `found bytes in ${file} that are not UTF-8`, {
      hint: 'save the file as UTF-8, or: iconv -f GB18030 -t UTF-8',
      cause,
    });
  }
}

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file (ENOENT)',
  EISDIR: 'it is a directory (EISDIR)',
};
