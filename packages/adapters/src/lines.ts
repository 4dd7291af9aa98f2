/** Lines of row text as bytes: where they begin and end, and which of them hold text that cannot travel. */

import { isUtf8 } from 'node:buffer';
import type { RefusedCounts } from './refusedCounts.ts';

const NUL = 0x00;
const TAB = 0x09;
const LF = 0x0a;

/** Each line with its LF. */
export function* linesOf(lines: Buffer): Generator<Buffer> {
  for (let start = 0; start < lines.length; ) {
    const end = lines.indexOf(LF, start) + 1 || lines.length;
    yield lines.subarray(start, end);
    start = end;
  }
}

/** Lines that are not UTF-8 or hold a NUL stay behind, counted by the first such column; nearly always there are none. */
export function withoutBrokenText(lines: Buffer, columns: readonly string[], refused: RefusedCounts): Buffer {
  if (isSound(lines)) return lines;
  const kept: Buffer[] = [];
  for (const line of linesOf(lines)) {
    if (isSound(line)) {
      kept.push(line);
      continue;
    }
    const { field, code } = brokenField(line);
    refused.add({ code, column: columns[field] ?? '' });
  }
  return Buffer.concat(kept);
}

function isSound(bytes: Buffer): boolean {
  return isUtf8(bytes) && !bytes.includes(NUL);
}

function brokenField(line: Buffer): { field: number; code: string } {
  let start = 0;
  for (let field = 0; ; field++) {
    const tab = line.indexOf(TAB, start);
    const bytes = line.subarray(start, tab === -1 ? line.length : tab);
    if (!isSound(bytes) || tab === -1) return { field, code: isUtf8(bytes) ? 'TEXT_HAS_NUL' : 'TEXT_NOT_UTF8' };
    start = tab + 1;
  }
}
