#!/usr/bin/env node
// The entry of `qiao`. Nothing else here: an old Node must reach the refusal before any native module is loaded.

import { enableCompileCache } from 'node:module';
import { requireNode24 } from '@qiao/runtime';

try {
  requireNode24();
} catch (error) {
  const { message, hint } = error as { message: string; hint: string };
  process.stderr.write(`error NODE_TOO_OLD: ${message}\n→ ${hint}\n`);
  process.exit(1);
}

// Sources run as they are; what stripping and compiling cost is paid once per version.
enableCompileCache();

const { runProgram } = await import('./program.ts');
process.exitCode = await runProgram(process.argv.slice(2));
