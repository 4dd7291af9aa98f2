// What every program does at its start and end: refuse an old Node, turn signals into an abort.

import { QiaoError } from '@qiao/exchange';

/** The version of this program; a test holds it equal to the root package.json. A constant, so that a bundle needs no file. */
export const VERSION = '0.1.0';

/** Throws NODE_TOO_OLD below Node 24.7: before 24, better-sqlite3 would crash at its first use; before 24.7, bodies cannot be sealed. */
export function requireNode24(version: string = process.versions.node): void {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < 24 || (major === 24 && minor < 7)) {
    throw new QiaoError('NODE_TOO_OLD', `this is Node ${version}; Qiao needs Node 24.7 or later`, {
      hint: 'in a clone: npm run --silent qiao -- …, which brings its own Node; elsewhere install Node 24',
    });
  }
}

/** An abort signal for SIGINT and SIGTERM. A second signal ends the process at once. */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const stop = (signal: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143);
    controller.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return controller.signal;
}
