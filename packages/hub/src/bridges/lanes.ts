// Owns which lanes a version needs: a destination (node and data source) that stays keeps its lane, one that is new gets a
// lane of its own, one that is gone ends. Pure planning, then rows. Epochs and counters of a lane are routing's.

import { type BridgeDefinition, QiaoError } from '@qiao/exchange';
import type { HubDatabase, LaneRow, NodeRow } from '../hubDatabase.ts';

export interface LanePlan {
  /** Lanes that go on, with their place in the new definition. */
  readonly keep: readonly { readonly laneId: string; readonly destination: number }[];
  readonly bind: readonly { readonly receiverId: string; readonly dataSource: string; readonly destination: number }[];
  /** Lanes that end. */
  readonly end: readonly string[];
}

/** Plans the lanes of `definition`. Throws NODE_UNKNOWN; callers have checked the nodes before. */
export function planLanes(
  definition: BridgeDefinition,
  living: readonly LaneRow[],
  nodesByCode: ReadonlyMap<string, NodeRow>,
): LanePlan {
  const left = new Map(living.map((lane) => [`${lane.receiver_id}/${lane.data_source}`, lane]));
  const keep: LanePlan['keep'][number][] = [];
  const bind: LanePlan['bind'][number][] = [];
  for (const [destination, { node: code, dataSource }] of definition.destinations.entries()) {
    const node = nodesByCode.get(code);
    if (node === undefined)
      throw new QiaoError('NODE_UNKNOWN', `no node has the code "${code}"`, { hint: 'qiao node list' });
    const key = `${node.id}/${dataSource}`;
    const lane = left.get(key);
    if (lane === undefined) bind.push({ receiverId: node.id, dataSource, destination });
    else keep.push({ laneId: lane.id, destination });
    left.delete(key);
  }
  return { keep, bind, end: [...left.values()].map((lane) => lane.id) };
}

export interface LaneContext {
  readonly bridgeId: string;
  readonly senderId: string;
  readonly nowMs: number;
  readonly newId: () => string;
}

/** Writes a plan. A lane that ended never lives again: binding the same destination anew makes a new lane with its own load. */
export async function writeLanes(store: HubDatabase, plan: LanePlan, context: LaneContext): Promise<void> {
  await endLanes(store, plan.end, context.nowMs);
  for (const { laneId, destination } of plan.keep) {
    await store.updateTable('lanes').set({ destination }).where('id', '=', laneId).execute();
  }
  for (const { receiverId, dataSource, destination } of plan.bind) {
    await store
      .insertInto('lanes')
      .values({
        id: context.newId(),
        bridge_id: context.bridgeId,
        sender_id: context.senderId,
        receiver_id: receiverId,
        data_source: dataSource,
        destination,
        bound_at_ms: context.nowMs,
        ended_at_ms: null,
        highest_epoch: 0,
        highest_nonce: null,
        routed_sequence: 0,
        routed_deliveries: 0,
        refused_deliveries: 0,
      })
      .execute();
  }
}

export async function livingLanes(store: HubDatabase, bridgeId: string): Promise<LaneRow[]> {
  return await store
    .selectFrom('lanes')
    .selectAll()
    .where('bridge_id', '=', bridgeId)
    .where('ended_at_ms', 'is', null)
    .orderBy('destination')
    .execute();
}

export async function endLanes(store: HubDatabase, laneIds: readonly string[], nowMs: number): Promise<void> {
  for (const id of laneIds) {
    await store
      .updateTable('lanes')
      .set({ ended_at_ms: nowMs })
      .where('id', '=', id)
      .where('ended_at_ms', 'is', null)
      .execute();
  }
}
