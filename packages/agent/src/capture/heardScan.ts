/**
 * What whole scans and loads mean to what other nodes said. A scan judges a row that differs from what was sent by what was said of it, but
 * neither sees what landed and went again before it, nor what landed and was put back; and the log, or the triggers, pass over what it saw. So
 * what was said before the scan and is not settled by it is looked at, row by row, afterwards. A load brings every row anew: what was said of
 * those that it sent is void.
 */
import type { ExchangeDatabase, Pages } from '../exchange-database/index.ts';

type Stores = Pick<ExchangeDatabase, 'arrivals' | 'transaction'>;

/** Once the snapshot of a whole scan is taken. */
export async function scanBegins(database: Stores, tableId: number): Promise<void> {
  await throughWords(database, tableId, 'seen');
}

/** Once every row that was met is on disk, and before the scan counts as ended. */
export async function scanEnds(database: Stores, tableId: number, isLoading: boolean): Promise<void> {
  if (isLoading) await throughWords(database, tableId, 'sentOver');
  await throughWords(database, tableId, 'look');
}

/** The table lies in no circle any more, or goes to several places: what was said of it once must not judge what comes later. */
export async function forgetHeard(database: Stores, tableId: number): Promise<void> {
  await throughWords(database, tableId, 'over');
}

async function throughWords(database: Stores, tableId: number, what: Pages): Promise<void> {
  for (let after: string | undefined = ''; after !== undefined && database.arrivals.hasAny(tableId); ) {
    const from: string = after;
    after = database.transaction(() => database.arrivals.page(tableId, from, what));
    await new Promise(setImmediate);
  }
}
