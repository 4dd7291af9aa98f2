// What every program does at its start and end: refuse an old Node, turn signals into an abort.

import { QiaoError } from '@qiao/exchange';

/** The version of this program; a test holds it equal to the root package.json. A constant, so that a bundle needs no file. */
export const VERSION = '0.1.0';

/** Throws NODE_TOO_OLD below Node 24, where better-sqlite3 would crash at its first use. */
export function requireNode24(version: string = process.versions.node): void {
  if (Number(version.split('.')[0]) < 24) {
    throw new QiaoError('NODE_TOO_OLD', `this is Node ${version}; Qiao needs Node 24 or later`, {
      hint: 'start it with `npx qiao`, which brings its own Node, or install Node 24',
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
