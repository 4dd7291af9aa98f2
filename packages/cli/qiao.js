#!/usr/bin/env node
// Starts `qiao` in a clone of the repository. Plain JavaScript without a dependency, so that an old Node, or a clone that was never set
// up, is told what to do instead of failing at the first import.

import { existsSync } from 'node:fs';

const [major, minor] = process.versions.node.split('.').map(Number);
const isOld = major < 24 || (major === 24 && minor < 7);
const isSetUp = existsSync(new URL('node_modules/@qiao/runtime', import.meta.url));

if (isOld || !isSetUp) {
  const found = isOld ? `this is Node ${process.versions.node}` : 'this clone was never set up';
  const needed = isOld
    ? 'Qiao needs Node 24.7 or later, which a clone brings itself'
    : 'Qiao needs what the repository depends on';
  const again = 'npm run --silent qiao -- …';
  const next = isSetUp ? again : `npm run setup, then: ${again}`;
  process.stderr.write(
    `error ${isOld ? 'NODE_TOO_OLD' : 'NOT_SET_UP'}: ${found}; ${needed}\n→ in the clone: ${next}\n`,
  );
  process.exitCode = 1;
} else {
  await import('./src/main.ts');
}
