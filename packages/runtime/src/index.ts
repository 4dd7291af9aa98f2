export { type Backoff, type BackoffOptions, createBackoff } from './backoff.ts';
export { type Clock, systemClock } from './clock.ts';
export { parseConfig, readConfig } from './config.ts';
export {
  CRASH_POINTS,
  CRASH_STEPS,
  type CrashPoint,
  type CrashPointName,
  crashPoint,
  simulateCrashes,
} from './crashPoints.ts';
export { diskFull } from './diskFull.ts';
export { createHostSampler } from './host.ts';
export { createLog, type Log, type LogOptions, silentLog } from './log.ts';
export { describeError, type Part, type SuperviseOptions, supervise } from './part.ts';
export { requireNode24, stopSignal, VERSION } from './process.ts';
export { createWakeup, type Wakeup } from './wakeup.ts';
