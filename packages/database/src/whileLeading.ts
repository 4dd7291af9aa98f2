// Owns a part that only the leading replica runs: it waits for its turn, and stops when another leads.

import { createWakeup, type Part } from '@qiao/runtime';
import type { Replicas } from './replicas.ts';

/** A missed word of the change costs one look. */
const LOOK_EVERY_MS = 1_000;

/** `part`, run while this replica leads. Whatever it does may be done twice for a moment: see `Replicas.isLeader`. */
export function whileLeading(replicas: Replicas, part: Part): Part {
  return {
    ...part,
    async run(signal) {
      const turn = createWakeup();
      const forgetTurn = replicas.onLeader(() => turn.wake());
      try {
        while (!signal.aborted) {
          if (!replicas.isLeader) {
            await turn.wait(LOOK_EVERY_MS, signal);
            continue;
          }
          const over = new AbortController();
          const forget = replicas.onLeader((isLeader) => {
            if (!isLeader) over.abort();
          });
          try {
            await part.run(AbortSignal.any([signal, over.signal]));
          } finally {
            forget();
          }
          // Ended by itself: the supervisor starts it again, after a pause.
          if (!over.signal.aborted) return;
        }
      } finally {
        forgetTurn();
      }
    },
  };
}
