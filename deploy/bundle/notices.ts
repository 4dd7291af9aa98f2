// NOTICES.txt: what the bundle contains that others wrote, under which licence, with the full texts.

import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { NodeRuntime } from './node.ts';

const RULE = '='.repeat(100);

/** Throws when a package names no licence: such code is not shipped. */
export function noticesText(node: NodeRuntime, packages: readonly string[]): string {
  const sections = packages.map(noticeOf);
  return [
    'Qiao is licensed under the Apache License 2.0 (see LICENSE). This bundle also contains the works below.',
    `${RULE}\nnode ${node.version}\n\n${node.licence.trim()}`,
    ...sections,
    '',
  ].join('\n\n');
}

function noticeOf(directory: string): string {
  const facts = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as {
    name: string;
    version: string;
    license?: string;
    author?: string | { name: string };
  };
  const texts = readdirSync(directory)
    .filter((name) => /^(licen[cs]e|copying|notice|third.party)/i.test(basename(name)))
    .sort()
    .map((name) => readFileSync(join(directory, name), 'utf8').trim());
  if (facts.license === undefined && texts.length === 0) {
    throw new Error(`${facts.name} ${facts.version} names no licence, so it cannot be shipped`);
  }
  const author = typeof facts.author === 'string' ? facts.author : facts.author?.name;
  const head = `${RULE}\n${facts.name} ${facts.version}\nLicence: ${facts.license ?? 'see below'}${author === undefined || author === '' ? '' : `\nAuthor: ${author}`}`;
  return [head, ...texts].join('\n\n');
}
