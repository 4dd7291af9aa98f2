// The one shape of everything long-lived, and the supervisor, the only place that retries.

import { QiaoError } from '@qiao/exchange';
import { createBackoff } from './backoff.ts';
import type { Clock } from './clock.ts';
import { diskFull } from './diskFull.ts';
import type { Log } from './log.ts';
import type { Wakeup } from './wakeup.ts';

export interface Part {
  /** Fixed name for logs, for example "send". */
  readonly name: string;
  /** Returns when the signal stopped it, rejects when it fails. Never calls process.exit. What one attempt opens, that attempt closes. */
  run(signal: AbortSignal): Promise<void>;
  /** The longest pause before it is started again; 30,000 ms when not given. Shorter for what everything else waits for. */
  readonly mostPauseMs?: number;
}

export interface SuperviseOptions {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly log: Log;
  /** Told of every failed attempt, before the pause. */
  readonly onFailure?: (part: Part, error: unknown, attempt: number) => void;
  /** Woken when a person has acted: a pause ends at once. */
  readonly asked?: Wakeup;
}

/** An attempt that lived this long counts as progress and starts the pauses anew. */
const PROGRESS_MS = 60_000;

/**
 * Runs every part until the signal aborts; a part that fails or ends early starts again after a pause of 200 ms to 30 s, or to what the part names.
 * Resolves when all have stopped; never rejects.
 */
export async function supervise(parts: readonly Part[], options: SuperviseOptions): Promise<void> {
  await Promise.all(parts.map((part) => superviseOne(part, options)));
}

async function superviseOne(part: Part, { signal, clock, log, onFailure, asked }: SuperviseOptions): Promise<void> {
  const pauses = createBackoff(part.mostPauseMs === undefined ? {} : { mostMs: part.mostPauseMs });
  for (let attempt = 1; !signal.aborted; attempt += 1) {
    const startedAtMs = clock.elapsedMs();
    try {
      await part.run(signal);
      if (signal.aborted) return;
      throw new QiaoError('PART_ENDED', `${part.name} ended though nobody stopped it`, { fate: 'transient' });
    } catch (error) {
      if (signal.aborted) return;
      if (clock.elapsedMs() - startedAtMs > PROGRESS_MS) {
        pauses.reset();
        attempt = 1;
      }
      const pauseMs = pauses.next();
      log.warn({ part: part.name, attempt, pauseMs, err: describeError(error) }, 'part failed, starting it again');
      onFailure?.(part, error, attempt);
      if (asked === undefined) await clock.sleep(pauseMs, signal);
      else await sleepOrAsked(clock, asked, pauseMs, signal);
    }
  }
}

async function sleepOrAsked(clock: Clock, asked: Wakeup, pauseMs: number, signal: AbortSignal): Promise<void> {
  const over = new AbortController();
  const ends = AbortSignal.any([signal, over.signal]);
  await Promise.race([clock.sleep(pauseMs, ends), asked.wait(pauseMs * 2, ends)]);
  over.abort();
}

/** An error as log fields: code, message and hint of ours; the stack only for what nobody foresaw. */
export function describeError(error: unknown): { code: string; message: string; hint?: string; stack?: string } {
  if (error instanceof QiaoError) {
    return { code: error.code, message: error.message, ...(error.hint === '' ? {} : { hint: error.hint }) };
  }
  const full = diskFull(error);
  if (full !== undefined) return describeError(full);
  if (error instanceof Error) {
    return { code: 'UNEXPECTED', message: error.message, ...(error.stack === undefined ? {} : { stack: error.stack }) };
  }
  return { code: 'UNEXPECTED', message: String(error) };
}
