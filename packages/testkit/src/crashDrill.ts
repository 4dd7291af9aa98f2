// Dying at a named crash point: a program is started again with the point armed, passes it, kills itself, and the drill knows.
// What drives it there and what must hold afterwards is the story's.

import type { Program } from './program.ts';

export interface Death {
  /** The program is up with its point armed, or dead already: some points lie on the way to readiness. */
  readonly armed: Promise<void>;
  /** It killed itself at the point. Rejects when it ended in any other way, or still lives at the deadline. */
  readonly died: Promise<void>;
}

/** Kills the program where it stands and starts it again to die at `crashAt`: a point's name, or `name:pass`. */
export function dieAt(program: Program, crashAt: string, withinMs: number): Death {
  const started = program.kill().then(() => program.startToDieAt(crashAt));
  const died = started.then(async (run) => {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`${program.name} did not pass ${crashAt} within ${withinMs} ms`)),
        withinMs,
      );
    });
    await Promise.race([run.died, deadline]).finally(() => clearTimeout(timer));
  });
  died.catch(() => undefined);
  return { armed: started.then(() => undefined), died };
}
