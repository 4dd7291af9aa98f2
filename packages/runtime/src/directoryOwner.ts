// Whose a directory is, by what lies in it: who names the directory of another process is told so, and not only what is missing there.

import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** The first that is there says whose the directory is. */
const OWNERS = [
  ['hub.yaml', 'a hub'],
  ['monitor.yaml', 'a monitor'],
  ['agent.yaml', 'an agent'],
  ['context.json', 'an operator'],
  ['exchange.db', 'an agent, whose agent.yaml lies elsewhere'],
] as const;

/** What lies where a file is looked for, as the end of a sentence; empty where nothing tells whose the directory is. */
export function foundInstead(file: string): string {
  const expected = basename(file);
  const isDirectory = statSync(file, { throwIfNoEntry: false })?.isDirectory() === true;
  const directory = isDirectory ? file : dirname(file);
  const found = OWNERS.find(([name]) => name !== expected && existsSync(join(directory, name)));
  if (found === undefined) return '';
  const [, wanted] = OWNERS.find(([name]) => name === expected) ?? [];
  return `; found ${found[0]} there: it is the directory of ${found[1]}${wanted === undefined ? '' : `, expected that of ${wanted}`}`;
}
