#!/usr/bin/env node
// The entry of `qiao`. Nothing else here: an old Node must reach the refusal before any native module is loaded.

import { requireNode24 } from '@qiao/runtime';

try {
  requireNode24();
} catch (error) {
  const { message, hint } = error as { message: string; hint: string };
  process.stderr.write(`error NODE_TOO_OLD: ${message}\n→ ${hint}\n`);
  process.exit(1);
}

const { runProgram } = await import('./program.ts');
process.exitCode = await runProgram(process.argv.slice(2));
