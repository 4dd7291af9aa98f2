// Reading what an operator names on the command line: a file, or - for standard input.

import { dirname, join } from 'node:path';
import { missingFiles, QiaoError, withFiles } from '@qiao/exchange';
import { readTextFile } from '@qiao/runtime';

/** Files larger than this are refused. */
const FILE_MAX_BYTES = 512 * 1024;

/** The text of a file. Throws FILE_NOT_READABLE, FILE_REFUSED, FILE_NOT_UTF8 or FILE_TOO_LARGE. */
export function readText(file: string): string {
  const text = readTextFile(file, {
    code: 'FILE_NOT_READABLE',
    hint: 'name a file that is there, or - for standard input',
  });
  if (Buffer.byteLength(text) > FILE_MAX_BYTES) {
    throw new QiaoError(
      'FILE_TOO_LARGE',
      `${file} has ${Buffer.byteLength(text)} bytes; expected at most ${FILE_MAX_BYTES}`,
    );
  }
  return text;
}

/** A bridge with the files it names written behind it; they lie beside it. Throws as readText does. */
export function readBridgeFile(file: string): string {
  const yaml = readText(file);
  const directory = file === '-' ? '.' : dirname(file);
  // A name that leads out of the directory is left for the hub to refuse: a bridge of somebody else reads no other file.
  const names = missingFiles(yaml).filter((name) => !/[/\\]|^\./.test(name));
  return withFiles(yaml, Object.fromEntries(names.map((name) => [name, readText(join(directory, name))])));
}
