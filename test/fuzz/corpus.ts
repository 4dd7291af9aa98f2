// The corpus: one small file per decoder, one input per line in base64, the shortest that was found for each outcome.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('./corpus', import.meta.url));
/** What is kept per decoder: inputs, and bytes of one. */
const MOST_INPUTS = 60;
const MOST_BYTES = 1_024;

export function readCorpus(decoder: string): Uint8Array[] {
  const file = join(FOLDER, `${decoder}.txt`);
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => Buffer.from(line, 'base64'));
}

/** Keeps what is new and small. Returns how many inputs the corpus has then. */
export function writeCorpus(decoder: string, interesting: ReadonlyMap<string, Uint8Array>): number {
  const found = [...interesting.values()].filter(({ length }) => length <= MOST_BYTES);
  const sorted = found.sort((a, b) => a.length - b.length).slice(0, MOST_INPUTS);
  const lines = sorted.map((input) => Buffer.from(input).toString('base64'));
  if (lines.length === 0) return 0;
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(join(FOLDER, `${decoder}.txt`), `${lines.join('\n')}\n`);
  return lines.length;
}
