// Stories run the program as it ships: one file, made once for all of them. It starts in half the time of the sources.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Arch } from '../deploy/bundle/node.ts';
import { bundleProgram } from '../deploy/bundle/program.ts';

export default async function setup(): Promise<() => void> {
  const directory = mkdtempSync(join(tmpdir(), 'qiao-program-'));
  const root = fileURLToPath(new URL('..', import.meta.url));
  await bundleProgram({ root, arch: process.arch as Arch, directory });
  process.env.QIAO_PROGRAM = join(directory, 'qiao.mjs');
  return () => rmSync(directory, { recursive: true, force: true });
}
