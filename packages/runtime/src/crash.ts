// Dying at crash points. In a drill, QIAO_CRASH_AT=name kills the process with SIGKILL when it passes that point, name:n at the n-th
// pass; of several, separated by commas, the first that is passed. Otherwise a point does nothing.

import { writeSync } from 'node:fs';
import { QiaoError } from '@qiao/exchange';
import { CRASH_POINTS, type CrashPointName } from './crashPoints.ts';

/** Passes left until this process dies there. */
const armed = armedPoints(process.env.QIAO_CRASH_AT);
let simulated: ((name: CrashPointName) => void) | undefined;

/** The boundary of this name. Dies here when the drill says so. */
export function crashPoint(name: CrashPointName): void {
  simulated?.(name);
  const left = armed.get(name);
  if (left === undefined) return;
  armed.set(name, left - 1);
  if (left > 1) return;
  // Written by hand: whoever armed several learns which it was, and no logger has time to flush.
  writeSync(2, `${JSON.stringify({ level: 'fatal', msg: 'dies at a crash point', crashPoint: name })}\n`);
  process.kill(process.pid, 'SIGKILL');
}

/** For simulations, where many "processes" live in one: told of each pass, and may throw there. `undefined` ends it. */
export function simulateCrashes(onPass: ((name: CrashPointName) => void) | undefined): void {
  simulated = onPass;
}

/** Throws CRASH_POINT_UNKNOWN: a drill with a misspelt point would pass without having died. */
function armedPoints(text: string | undefined): Map<string, number> {
  const points = new Map<string, number>();
  if (text === undefined || text === '') return points;
  for (const point of text.split(',')) {
    const [name = '', pass = '1'] = point.split(':');
    if (!(name in CRASH_POINTS) || !/^[1-9]\d{0,8}$/.test(pass)) {
      throw new QiaoError('CRASH_POINT_UNKNOWN', `QIAO_CRASH_AT=${text}: "${point}" names no crash point and pass`, {
        hint: 'docs/crash-points.md lists them; write NAME or NAME:PASS, several separated by commas, or unset the variable',
      });
    }
    points.set(name, Number(pass));
  }
  return points;
}
