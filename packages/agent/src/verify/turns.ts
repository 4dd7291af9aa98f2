/**
 * Turns of jobs: only so many read whole tables of the source side by side, first come, first served. Whoever only waits, for another node
 * or to try again, takes none from others. An answer is compared without one: what is packed while it waits makes it less exact.
 */

export interface Turn {
  /** Resolves when there is one, at once when it was not given back; early and without one when the signal aborts. */
  take(signal: AbortSignal): Promise<void>;
  /** Gives it to the next who waits. Nothing when there is none. */
  rest(): void;
}

/** Makes the turns of all who share `most`. */
export function createTurns(most: number): () => Turn {
  let free = most;
  const waiting = new Set<() => void>();
  return () => {
    let has = false;
    return {
      async take(signal) {
        if (has || signal.aborted) return;
        if (free > 0) {
          free -= 1;
          has = true;
          return;
        }
        await new Promise<void>((resolve) => {
          const end = () => {
            waiting.delete(give);
            signal.removeEventListener('abort', end);
            resolve();
          };
          const give = () => {
            has = true;
            end();
          };
          waiting.add(give);
          signal.addEventListener('abort', end, { once: true });
        });
      },
      rest() {
        if (!has) return;
        has = false;
        const [next] = waiting;
        if (next === undefined) free += 1;
        else next();
      },
    };
  };
}
