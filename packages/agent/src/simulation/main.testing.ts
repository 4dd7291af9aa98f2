// `npm run simulate`: runs schedules on as many threads as asked for, and says each minute and at the end what was run; also when it
// is told to end (SIGINT, SIGTERM). Ends with 1 when a schedule failed.
//
//   npm run simulate -- --schedules 1000000 [--seed 1] [--minutes 60] [--workers 2]

import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { addTally, emptyTally, type Tally } from './simulate.testing.ts';
import { type Shift, STOPPED, type Told } from './worker.testing.ts';

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '10000' },
    seed: { type: 'string' },
    minutes: { type: 'string' },
    workers: { type: 'string', default: '1' },
  },
});
const seed = whole('seed', values.seed ?? String(Math.floor(Math.random() * 2 ** 31)));
const schedules = whole('schedules', values.schedules);
const workers = whole('workers', values.workers);
const startedAtMs = Date.now();
const untilMs =
  values.minutes === undefined ? Number.MAX_SAFE_INTEGER : startedAtMs + whole('minutes', values.minutes) * 60_000;
const counters = new Int32Array(new SharedArrayBuffer(8));
const shift: Shift = { seed, schedules, untilMs, counters };
const sum = emptyTally();
const stories: string[] = [];

const say = (line: string) => void process.stdout.write(`${line}\n`);
const stop = () => Atomics.store(counters, STOPPED, 1);
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
] as const) {
  process.once(signal, () => {
    say(`${signal}: the schedules that are under way come to their end`);
    process.exitCode = 128 + number;
    stop();
  });
}

say(`seeds ${seed} to ${seed + schedules - 1}`);
const minute = setInterval(() => say(said(sum)), 60_000);
await Promise.all(Array.from({ length: workers }, carryOut));
clearInterval(minute);
for (const story of stories) say(story);
say(`${said(sum)}; ${stories.length === 0 ? 'every promise held' : 'a promise was broken'}`);
for (const [kind, times] of [...sum.faults].toSorted(([a], [b]) => (a < b ? -1 : 1))) say(`  ${kind} ${times}`);
if (stories.length > 0) process.exitCode = 1;

function whole(name: string, text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 1) return number;
  throw new Error(`--${name}: found ${text}, expected a whole number from 1`);
}

/** One thread, to its end. The first failure ends the others. */
function carryOut(): Promise<void> {
  const worker = new Worker(new URL('./worker.testing.ts', import.meta.url), { workerData: shift });
  worker.on('message', (told: Told) => {
    if (told.kind === 'ran') return addTally(sum, told.tally);
    stories.push(told.story);
    return stop();
  });
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', () => resolve());
  });
}

function said(tally: Tally): string {
  const seconds = (Date.now() - startedAtMs) / 1_000;
  const perSecond = (tally.schedules / seconds).toFixed(0);
  const faults = [...tally.faults.values()].reduce((all, times) => all + times, 0);
  return `${tally.schedules} schedules (${perSecond}/s), ${tally.steps} steps, ${faults} faults, ${tally.deaths} deaths, ${tally.deliveries} deliveries in ${seconds.toFixed(0)} s`;
}
