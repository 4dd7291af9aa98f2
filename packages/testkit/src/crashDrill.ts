// Dying at named crash points: a program is started again with points armed, kills itself at the first of them that it passes, and is
// started again with the others, until it died at each. What drives it there and what must hold afterwards is the story's.

import type { Program } from './program.ts';

export interface CrashDrill {
  /** The program is up with its points armed, or dead already: some points lie on the way to readiness. */
  readonly armed: Promise<void>;
  /** It died at every point and runs again. Rejects when it ended in any other way, or lives too long. */
  readonly over: Promise<void>;
  /** Points at which it has not died yet. */
  readonly left: ReadonlySet<string>;
}

export interface CrashDrillOptions {
  /** How long it may live between two deaths. */
  readonly withinMs?: number;
  /** Told of each death before the program is started again. */
  readonly onDeath?: (point: string) => void;
}

/** Kills the program where it stands and starts it again to die at each of these points (`name`, or `name:pass`), in any order. */
export function dieAtEach(
  program: Program,
  points: readonly string[],
  { withinMs = 60_000, onDeath }: CrashDrillOptions = {},
): CrashDrill {
  const left = new Set(points);
  const first = program.kill().then(() => program.startToDieAt([...left]));
  const over = (async () => {
    for (let run = await first; ; run = await program.startToDieAt([...left])) {
      const point = await within(run.died, withinMs, () => `${program.name} passed none of ${[...left].join(', ')}`);
      const name = [...left].find((one) => one === point || one.startsWith(`${point}:`));
      if (name === undefined) throw new Error(`${program.name} died at ${point}, where it was not armed`);
      left.delete(name);
      onDeath?.(point);
      if (left.size === 0) return await program.start();
    }
  })();
  over.catch(() => undefined);
  return { armed: first.then(() => undefined), over, left };
}

async function within<T>(work: Promise<T>, ms: number, what: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what()} within ${ms} ms`)), ms);
  });
  return await Promise.race([work, deadline]).finally(() => clearTimeout(timer));
}
