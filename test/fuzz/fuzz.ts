// `npm run fuzz -- [--decoder NAME] [--inputs N] [--seed S] [--minutes M] [--keep]`: feeds hostile inputs to every decoder, or to
// one, and says what came of it; how many inputs there were, each minute; and all of it as well when it is told to end (SIGINT,
// SIGTERM). Ends with 1 when one broke its promise; the input is printed in base64, and the same seed brings it again. With --keep
// the corpus takes what was interesting.

import { parseArgs } from 'node:util';
import { readCorpus, writeCorpus } from './corpus.ts';
import type { Decoder } from './decoder.ts';
import { GROUPS } from './decoders/index.ts';
import { type Outcome, run } from './run.ts';

const { values } = parseArgs({
  options: {
    decoder: { type: 'string' },
    inputs: { type: 'string', default: '100000' },
    seed: { type: 'string' },
    minutes: { type: 'string', default: '60' },
    keep: { type: 'boolean', default: false },
  },
});

const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
const inputs = Number(values.inputs);
const deadlineMs = Number(values.minutes) * 60_000;
process.stdout.write(`fuzz: seed ${seed}, ${inputs} inputs each, at most ${values.minutes} minutes each\n`);

const stopping = new AbortController();
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
] as const) {
  process.once(signal, () => {
    process.exitCode = 128 + number;
    stopping.abort(signal);
  });
}

let failed = 0;
let known = 0;
for (const open of Object.values(GROUPS)) {
  if (stopping.signal.aborted) break;
  const decoders = await open();
  for (const decoder of decoders) {
    if (values.decoder !== undefined && decoder.name !== values.decoder) continue;
    known += 1;
    if (stopping.signal.aborted) break;
    const corpus = readCorpus(decoder.name);
    const say = eachMinute(decoder);
    const outcome = await run(decoder, { seed, inputs, deadlineMs, corpus, stop: stopping.signal, say });
    tell(decoder, outcome);
    if (outcome.findings.length > 0) failed += 1;
    else if (values.keep) writeCorpus(decoder.name, outcome.interesting);
  }
  for (const decoder of decoders) await decoder.close?.();
}
if (known === 0 && !stopping.signal.aborted) process.stdout.write(`no decoder is called ${values.decoder}\n`);
if (stopping.signal.aborted) process.stdout.write(`ended by ${stopping.signal.reason}\n`);
if (failed > 0 || (known === 0 && !stopping.signal.aborted)) process.exitCode = 1;

function eachMinute({ name }: Decoder): (taken: number) => void {
  const startedMs = performance.now();
  let minutes = 0;
  return (taken) => {
    const ranMs = performance.now() - startedMs;
    if (ranMs < (minutes + 1) * 60_000) return;
    minutes = Math.floor(ranMs / 60_000);
    process.stdout.write(`  ${name}: ${taken} inputs after ${minutes} min\n`);
  };
}

function tell({ name }: Decoder, outcome: Outcome): void {
  const perSecond = Math.round(outcome.inputs / (outcome.elapsedMs / 1_000));
  process.stdout.write(
    `${name}: ${outcome.inputs} inputs (${perSecond}/s), ${outcome.values} taken, ${outcome.refusals} refused, ` +
      `${outcome.interesting.size} outcomes, slowest ${outcome.slowestMs.toFixed(1)} ms, memory +${outcome.grownMiB.toFixed(0)} MiB\n`,
  );
  for (const { input, what } of outcome.findings) {
    process.stdout.write(`  FOUND ${what}\n  input ${Buffer.from(input).toString('base64').slice(0, 4_000)}\n`);
  }
}
