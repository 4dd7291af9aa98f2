// Reading what an operator names on the command line: a file, or - for standard input.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { missingFiles, QiaoError, withFiles } from '@qiao/exchange';

/** Files larger than this are refused. */
const FILE_MAX_BYTES = 512 * 1024;

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

/** A bridge with the files it names written behind it; they lie beside it. Throws as readText does, and FILE_NOT_UTF8. */
export function readBridgeFile(file: string): string {
  const yaml = readText(file);
  const directory = file === '-' ? '.' : dirname(file);
  // A name that leads out of the directory is left for the hub to refuse: a bridge of somebody else reads no other file.
  const names = missingFiles(yaml).filter((name) => !/[/\\]|^\./.test(name));
  return withFiles(yaml, Object.fromEntries(names.map((name) => [name, readUtf8(join(directory, name))])));
}

/** Rows of another encoding would be translated into signs that nobody meant. */
function readUtf8(file: string): string {
  const text = readText(file);
  if (!text.includes('\ufffd')) return text;
  throw new QiaoError('FILE_NOT_UTF8', `found bytes in ${file} that are not UTF-8`, {
    hint: 'save the file as UTF-8, or: iconv -f GB18030 -t UTF-8',
  });
}
