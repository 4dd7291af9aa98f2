// Keeps the exchange database's log short, and lets go of what was settled in the quarantine long ago.

import type { Clock, Part } from '@qiao/runtime';
import type { ExchangeDatabase } from '../exchange-database/index.ts';

const EVERY_MS = 60_000;
/** Settled rows of the quarantine stay for whoever asks what became of them: 30 days. */
const SETTLED_ROWS_KEPT_MS = 30 * 24 * 60 * 60 * 1000;
const SETTLED_ROWS_FORGOTTEN = 1_000;

export function checkpointPart({
  database,
  clock,
}: {
  readonly database: Pick<ExchangeDatabase, 'quarantine' | 'checkpoint'>;
  readonly clock: Clock;
}): Part {
  return {
    name: 'checkpoint',
    async run(signal) {
      while (!signal.aborted) {
        await clock.sleep(EVERY_MS, signal);
        database.quarantine.forgetSettled(clock.nowMs() - SETTLED_ROWS_KEPT_MS, SETTLED_ROWS_FORGOTTEN);
        database.checkpoint();
      }
    },
  };
}
