// What waits for its other half: statements without a receipt, receipts without a statement. One that waits longer than its bridge allows is
// late. But where the books of the end that owes the answer begin here after the delivery, the answer may have been given to a former
// monitor: that is forgotten, not late. Should it still be waited for, the sender says so with every heartbeat.

import type { DirectoryBridge, LaneAssignment } from '@qiao/contract/node';
import { idText } from '@qiao/exchange';
import { sql } from 'kysely';
import type { DeliveryRow, MonitorDatabase } from '../monitorDatabase.ts';

export type Waiting = 'waits' | 'late' | 'forgotten';

/** Moments that tell them apart, milliseconds since 1970 UTC. */
export interface WaitingBounds {
  /** What is younger than this is not late yet. */
  readonly lateBeforeMs: number;
  /** From when on the books of the lane's ends are whole here; 0 when nothing was lost with a former monitor. */
  readonly senderBeginsAtMs: number;
  readonly receiverBeginsAtMs: number;
}

export type BoundsOf = (
  bridge: Pick<DirectoryBridge, 'lateAfterMs'>,
  ends: Pick<LaneAssignment, 'senderId' | 'receiverId'>,
) => WaitingBounds;

/** Bounds for the lanes of every bridge; read once for a whole answer. */
export async function waitingBounds(database: MonitorDatabase, nowMs: number): Promise<BoundsOf> {
  const positions = await database
    .selectFrom('book_position')
    .select(['node_id', 'begins_at_ms'])
    .where('begins_at_ms', '>', 0)
    .execute();
  const begins = new Map<string, number>();
  for (const { node_id, begins_at_ms } of positions) {
    begins.set(node_id, Math.max(begins.get(node_id) ?? 0, begins_at_ms));
  }
  return ({ lateAfterMs }, { senderId, receiverId }) => ({
    lateBeforeMs: nowMs - Number(lateAfterMs),
    senderBeginsAtMs: begins.get(idText(senderId)) ?? 0,
    receiverBeginsAtMs: begins.get(idText(receiverId)) ?? 0,
  });
}

/** How one delivery waits; undefined when statement and receipt are both here, or it was closed. */
export function waitingOf(
  row: Pick<DeliveryRow, 'state' | 'sealed_at_ms' | 'received_at_ms' | 'applied_at_ms'>,
  bounds: WaitingBounds,
): Waiting | undefined {
  const { lateBeforeMs, senderBeginsAtMs, receiverBeginsAtMs } = bounds;
  switch (row.state) {
    case 'inFlight':
      if (row.sealed_at_ms >= lateBeforeMs) return 'waits';
      return row.sealed_at_ms < receiverBeginsAtMs ? 'forgotten' : 'late';
    case 'unstated':
      if (row.received_at_ms >= lateBeforeMs) return 'waits';
      return row.applied_at_ms < senderBeginsAtMs ? 'forgotten' : 'late';
    default:
      return undefined;
  }
}

/** Deliveries and rows of a lane, by how they wait. */
export type WaitingCounts = Readonly<
  Record<Exclude<Waiting, 'waits'>, { readonly deliveries: number; readonly rows: number }>
>;

/** Counts what of a lane is late or forgotten, on these days of the books (empty for all). The same question as `waitingOf`, asked of the store. */
export async function countWaiting(
  database: MonitorDatabase,
  lane: LaneAssignment,
  bounds: WaitingBounds,
  days: { readonly from: string; readonly to: string },
): Promise<WaitingCounts> {
  const { lateBeforeMs, senderBeginsAtMs, receiverBeginsAtMs } = bounds;
  const waiting = sql<Waiting>`CASE
    WHEN state = 'inFlight' AND sealed_at_ms >= ${lateBeforeMs} THEN 'waits'
    WHEN state = 'unstated' AND received_at_ms >= ${lateBeforeMs} THEN 'waits'
    WHEN state = 'inFlight' AND sealed_at_ms < ${receiverBeginsAtMs} THEN 'forgotten'
    WHEN state = 'unstated' AND applied_at_ms < ${senderBeginsAtMs} THEN 'forgotten'
    ELSE 'late' END`;
  let query = database
    .selectFrom('delivery')
    .select(({ fn }) => [
      waiting.as('waiting'),
      'state',
      fn.countAll<number>().as('deliveries'),
      fn.sum<number | null>('rows').as('rows'),
    ])
    .where('lane_id', '=', idText(lane.laneId))
    // Spelled out, so that the index of what waits serves: a lane's whole history is long.
    .where(sql<boolean>`state IN ('inFlight', 'unstated')`)
    .groupBy(['waiting', 'state']);
  if (days.from !== '') query = query.where('day', '>=', days.from);
  if (days.to !== '') query = query.where('day', '<=', days.to);
  const counts = { late: { deliveries: 0, rows: 0 }, forgotten: { deliveries: 0, rows: 0 } };
  for (const { waiting: how, state, deliveries, rows } of await query.execute()) {
    // A receipt that lacks its statement is in no sum: it can be late, and nothing is missing when it is not.
    if (how === 'waits' || (how === 'forgotten' && state === 'unstated')) continue;
    counts[how].deliveries += deliveries;
    counts[how].rows += rows ?? 0;
  }
  return counts;
}
