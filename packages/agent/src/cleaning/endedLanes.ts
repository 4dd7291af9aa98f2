// Lanes that the snapshot says are over: nothing more is begun on them.

import { parseId } from '@qiao/exchange';
import type { Desired } from '../control/desired.ts';
import type { ExchangeDatabase } from '../exchange-database/index.ts';

/** What waits on a lane that ended without a destination can never be applied; its sender accounts for it. */
export function closeEndedLanes(desired: Desired, database: Pick<ExchangeDatabase, 'lanesIn' | 'inbox'>): void {
  for (const bridge of desired.bridges.values()) {
    for (const { laneId, receiverId, ended, destination } of bridge.lanes) {
      if (receiverId !== desired.nodeId || !ended) continue;
      const lane = parseId(laneId);
      database.lanesIn.end(lane);
      if (destination === undefined) database.inbox.removeLane(lane);
    }
  }
}
