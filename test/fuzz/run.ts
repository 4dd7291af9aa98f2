// The loop: an input from seeds, corpus or what was found interesting, mutated, taken, judged. An input whose outcome is new (a
// value of a new shape, a refusal in new words) joins the pool, which stands in for coverage: every branch of a decoder that
// refuses says so in words of its own.

import { setImmediate } from 'node:timers/promises';
import { QiaoError } from '@qiao/exchange';
import { seededRandom } from '@qiao/testkit';
import type { Decoder } from './decoder.ts';
import { mutate } from './mutate.ts';

export interface Plan {
  readonly seed: number;
  /** Stops at whichever comes first, after a few inputs at the least. */
  readonly inputs: number;
  readonly deadlineMs: number;
  readonly corpus: readonly Uint8Array[];
  /** Ends the run early, with what came of it so far. */
  readonly stop?: AbortSignal;
  /** Called now and then with the inputs that were taken so far. */
  readonly say?: (inputs: number) => void;
}

export interface Finding {
  readonly input: Uint8Array;
  readonly what: string;
}

export interface Outcome {
  readonly inputs: number;
  readonly values: number;
  readonly refusals: number;
  readonly elapsedMs: number;
  readonly slowestMs: number;
  /** Resident memory at its highest, MiB above where it began. */
  readonly grownMiB: number;
  readonly findings: readonly Finding[];
  /** Inputs that brought a new outcome, by that outcome. */
  readonly interesting: ReadonlyMap<string, Uint8Array>;
}

const MOST_FINDINGS = 5;
/** Also on a busy machine, where the first inputs take all the time. */
const LEAST_INPUTS = 50;
const MOST_OUTCOMES = 2_000;
const POOL_BYTES = 2_048;
const SLOW_MS = 1_000;
const MOST_GROWN_MIB = 600;
/** Decoders that never wait would keep the process from hearing anything. */
const BREATH_MS = 250;
const CODE = /^[A-Z][A-Z0-9_]{2,63}$/;

export async function run(decoder: Decoder, plan: Plan): Promise<Outcome> {
  const random = seededRandom(plan.seed);
  const pool: Uint8Array[] = [...decoder.seeds, ...plan.corpus];
  const interesting = new Map<string, Uint8Array>();
  const findings: Finding[] = [];
  const startedMs = performance.now();
  const residentAtStart = process.memoryUsage.rss();
  let [inputs, values, refusals, slowestMs, grownMiB] = [0, 0, 0, 0, 0];

  const judge = async (input: Uint8Array): Promise<void> => {
    const beganMs = performance.now();
    let outcome: string;
    try {
      const taken = decoder.take(input);
      outcome = typeof taken === 'string' ? taken : await taken;
      values += 1;
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) {
        findings.push({ input, what: await traceOf(decoder, input, error) });
        return;
      }
      outcome = refusal;
      refusals += 1;
    }
    const tookMs = performance.now() - beganMs;
    slowestMs = Math.max(slowestMs, tookMs);
    // Another process may have had the processor: what is slow is slow twice.
    if (tookMs > (decoder.slowMs ?? SLOW_MS) && (await isSlow(decoder, input))) {
      findings.push({ input, what: `took ${Math.round(tookMs)} ms` });
    }
    if (Object.keys(Object.prototype).length > 0) findings.push({ input, what: 'Object.prototype was written' });
    const known = interesting.get(outcome);
    // Large ones are looked at once and not bred from: they would take all the time.
    if (known === undefined && interesting.size < MOST_OUTCOMES && input.length <= POOL_BYTES) pool.push(input);
    // The shortest input of each outcome is kept.
    if (known === undefined ? interesting.size < MOST_OUTCOMES : input.length < known.length) {
      interesting.set(outcome, Uint8Array.from(input));
    }
  };

  const traced = Error.stackTraceLimit;
  // A trace for each of millions of refusals costs more than the decoding. A finding is taken again with one.
  Error.stackTraceLimit = 0;
  for (const input of pool.slice()) await judge(input);
  const isTime = () => inputs < LEAST_INPUTS || performance.now() - startedMs < plan.deadlineMs;
  let breathedMs = startedMs;
  while (inputs < plan.inputs && isTime() && findings.length < MOST_FINDINGS && plan.stop?.aborted !== true) {
    if (performance.now() - breathedMs > BREATH_MS) {
      await setImmediate();
      breathedMs = performance.now();
      plan.say?.(inputs);
    }
    const base = shorterOf(oneOf(pool, random), oneOf(pool, random));
    const other = oneOf(pool, random);
    const judged = judge(mutate(base, other, decoder, random));
    inputs += 1;
    await judged;
    if (inputs % 4_096 === 0) {
      grownMiB = Math.max(grownMiB, (process.memoryUsage.rss() - residentAtStart) / 2 ** 20);
      if (grownMiB > MOST_GROWN_MIB) {
        findings.push({ input: base, what: `resident memory grew by ${Math.round(grownMiB)} MiB` });
        break;
      }
    }
  }
  const elapsedMs = performance.now() - startedMs;
  Error.stackTraceLimit = traced;
  return { inputs, values, refusals, elapsedMs, slowestMs, grownMiB, findings, interesting };
}

function oneOf(pool: readonly Uint8Array[], random: () => number): Uint8Array {
  return pool[Math.floor(random() * pool.length)] as Uint8Array;
}

/** What is short is decoded sooner, and a change in it more often meets something that matters. */
function shorterOf(a: Uint8Array, b: Uint8Array): Uint8Array {
  return a.length <= b.length ? a : b;
}

/** The refusal as an outcome: code and words without what varies. Undefined for what is no right answer. */
function refusalOf(error: unknown): string | undefined {
  if (!(error instanceof QiaoError) || !CODE.test(error.code) || error.message.length > 1_000_000) return undefined;
  return `${error.code} ${error.message.slice(0, 200).replace(/[0-9a-f]{8,}|\d+|["'`“].*?["'`”]/gu, '#')}`.slice(
    0,
    120,
  );
}

async function traceOf(decoder: Decoder, input: Uint8Array, error: unknown): Promise<string> {
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = 12;
  try {
    await decoder.take(input);
  } catch (again) {
    if (again instanceof Error) return again.stack ?? again.message;
  } finally {
    Error.stackTraceLimit = before;
  }
  return `${String(error)} (not when taken again)`;
}

async function isSlow(decoder: Decoder, input: Uint8Array): Promise<boolean> {
  const beganMs = performance.now();
  try {
    await decoder.take(input);
  } catch {
    // Refused slowly is slow, too.
  }
  return performance.now() - beganMs > (decoder.slowMs ?? SLOW_MS);
}
