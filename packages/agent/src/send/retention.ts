/**
 * How long and how much a lane may wait for its destination: a budget of bytes and of days, of the bridge or else of this node.
 * At its end this lane alone is suspended: what waits is closed in the books, its bodies go with the next purge, and it owes a
 * load. Its new opening stays on the bus; whoever answers it is back.
 */
import { type BridgeDefinition, idText } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import type { DesiredBridge, DesiredLane } from '../control/desired.ts';
import type { LaneOut } from '../exchange-database/index.ts';
import { mayOpenEpochs, openEpoch } from './lanes.ts';
import { owe } from './owed.ts';
import type { SendLimits, SendPorts } from './ports.ts';

const DAY_MS = 86_400_000;

export type RetentionPorts = Pick<
  SendPorts,
  'database' | 'desired' | 'signer' | 'clock' | 'newId' | 'fence' | 'limits' | 'log'
>;

/** The lane's budget: what its bridge says, else what this node's own file says. */
export function budgetOf(
  definition: Pick<BridgeDefinition, 'limits'>,
  limits: SendLimits,
): { bytes: number; days: number } {
  const own = definition.limits?.retention;
  return { bytes: own?.bytes ?? limits.laneBudgetBytes, days: own?.days ?? limits.laneBudgetDays };
}

/** Past its budget by this much a lane is suspended even if it answers: it is slower than its source for good. */
const MOST_OVER = { times: 4, bytes: 64 * 1024 * 1024 };

/** What this process has seen of a lane, by the clock that nobody sets. */
export interface Observed {
  /** Since when its destination has not answered. */
  readonly silentMs: number;
  /** For how long the same delivery has been the oldest without a receipt. */
  readonly stalledMs: number;
}

/**
 * Suspends the lane when its budget is used up; true when it did. A destination that answers is slow, not silent: for it capture waits,
 * and a load may be larger than the budget. Days are those of the clock on the wall, so one that leaps does not use them up by itself:
 * the oldest delivery must have stayed the oldest for a while before somebody's eyes.
 */
export function suspendOverBudget(
  ports: RetentionPorts,
  known: { bridge: DesiredBridge; lane: DesiredLane },
  lane: LaneOut,
  { silentMs, stalledMs }: Observed,
): boolean {
  // The process that has the fence looks after the lane.
  if (!mayOpenEpochs(ports) || (lane.phase !== 'loading' && lane.phase !== 'streaming')) return false;
  const budget = budgetOf(known.bridge.definition, ports.limits);
  const oldestMs = ports.database.deliveriesOut.oldestAwaitedMs(lane.lane, lane.epoch);
  const waitedMs = oldestMs === undefined ? 0 : ports.clock.nowMs() - oldestMs;
  const isSilent = silentMs >= ports.limits.resendMostMs;
  const isFull =
    lane.waitingBytes > budget.bytes &&
    (isSilent || lane.waitingBytes > budget.bytes * MOST_OVER.times + MOST_OVER.bytes);
  const isOld = waitedMs > budget.days * DAY_MS && stalledMs >= ports.limits.resendMostMs;
  if (!isFull && !isOld) return false;
  const used = isFull
    ? `${lane.waitingBytes} bytes wait for the destination, the budget is ${budget.bytes}`
    : `rows wait for the destination since ${new Date(oldestMs ?? 0).toISOString()}, the budget is ${budget.days} days`;
  suspend(ports, known, lane, used);
  return true;
}

function suspend(
  ports: RetentionPorts,
  known: { bridge: DesiredBridge; lane: DesiredLane },
  lane: LaneOut,
  used: string,
): void {
  const { database } = ports;
  const reason = `${used}; it loads anew when it returns`;
  database.transaction(() => {
    owe(ports, lane.lane, 'LANE_SUSPENDED', reason);
    openEpoch(ports, known.bridge, known.lane, lane.epoch + 1n, 'suspended', { code: 'LANE_SUSPENDED', reason });
    for (const parcel of database.deliveriesOut.parcelsOf(lane.lane, lane.epoch)) database.parcels.letGo(parcel);
  });
  crashPoint('lane.suspended');
  ports.log.warn({ bridge: known.bridge.name, lane: idText(lane.lane), used }, 'lane suspended: its budget is used up');
}
