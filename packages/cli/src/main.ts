#!/usr/bin/env node
// The entry of `qiao`. It imports nothing of the house before the compile cache is on, and nothing native before an old Node is refused.

import module from 'node:module';

// What stripping and compiling cost is paid once per version, by everything that is imported from here on. An old Node has no such cache.
module.enableCompileCache?.();

const { requireNode24 } = await import('@qiao/runtime');
try {
  requireNode24();
} catch (error) {
  const { message, hint } = error as { message: string; hint: string };
  process.stderr.write(`error NODE_TOO_OLD: ${message}\n→ ${hint}\n`);
  process.exit(1);
}

// A reader that goes away (`qiao reconcile | head`) ends the command as it ends any other: with the code of SIGPIPE.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(141);
  });
}

const { runProgram } = await import('./program.ts');
process.exitCode = await runProgram(process.argv.slice(2));
// What a failed command left open must not keep a process that does nothing: its supervisor would never start it again.
if (process.exitCode !== 0) setTimeout(() => process.exit(), 3_000).unref();
