/** Forgetting: parcels that every lane settled longer ago than the retention, with their deliveries and receipts. */
import { crashPoint, type Part } from '@qiao/runtime';
import type { ExchangeDatabase } from '../exchange-database/index.ts';
import type { SendPorts } from './ports.ts';

const EVERY_MS = 60_000;
/** A retention shorter than that is looked after as often as it passes. */
const LEAST_EVERY_MS = 1_000;
/** Parcels removed in one transaction: purging never holds the file for long. */
const PARCELS_PER_STEP = 20;
const MOST_STEPS = 500;

/**
 * Purges at the start (what became old while the agent was away) and then once a minute or, with a shorter retention, as often as it
 * passes, and keeps the database's log and free pages in bounds.
 */
export function purgePart(ports: Pick<SendPorts, 'database' | 'clock' | 'limits' | 'fence'>): Part {
  const everyMs = Math.min(EVERY_MS, Math.max(ports.limits.retentionMs, LEAST_EVERY_MS));
  return {
    name: 'purge',
    async run(signal) {
      while (!signal.aborted) {
        for (let step = 0; step < MOST_STEPS && !signal.aborted; step++) {
          const nowMs = ports.clock.nowMs();
          const { retentionMs } = ports.limits;
          // Which of two times is wrong shows only once the hub answered this start: a machine that woke in 1970 takes no hub's
          // certificate for valid, and gets no token. A clock set back by less may still purge early what was settled since: a
          // destination that asks for it again gets a new epoch and a load.
          const afterMs = ports.fence.token() === undefined ? undefined : nowMs + retentionMs;
          if (purgeSettled(ports.database, nowMs - retentionMs, afterMs) === 0) break;
          crashPoint('purge.removed');
          await new Promise(setImmediate);
        }
        ports.database.checkpoint();
        await ports.clock.sleep(everyMs, signal);
      }
    },
  };
}

/**
 * Removes some parcels settled before `beforeMs`, or after `afterMs`: a clock that stood far ahead when they were settled would keep
 * them, and their lane, until it is that late again. Returns how many.
 */
export function purgeSettled(
  database: ExchangeDatabase,
  beforeMs: number,
  afterMs: number = Number.MAX_SAFE_INTEGER,
): number {
  return database.transaction(() => {
    const { parcels: store } = database;
    const past = store.settledBefore(beforeMs, PARCELS_PER_STEP);
    const parcels = past.length > 0 ? past : store.settledAfter(afterMs, PARCELS_PER_STEP);
    for (const parcel of parcels) {
      for (const place of database.deliveriesOut.ofParcel(parcel)) {
        database.receiptsIn.remove(place);
        database.deliveriesOut.remove(place);
        database.deliveriesOut.removeOpeningsBefore(place.lane, database.lanesOut.get(place.lane)?.epoch ?? 0n);
      }
      database.parcels.remove(parcel);
    }
    return parcels.length;
  });
}
