// Owns taking in lanes out of signed snapshots: of each lane the newest word of its two ends counts, in whatever order they report.
// Then the lanes are fitted to the newest definition that is known: one that it does not name has ended.

import type { BridgeAssignment, LaneAssignment } from '@qiao/contract/node';
import { type BridgeDefinition, idText, parseBridgeJson } from '@qiao/exchange';
import type { HubDatabase } from '../hubDatabase.ts';
import { isAfter, type Told } from './told.ts';

interface LaneTold {
  readonly lane: LaneAssignment;
  readonly told: Told;
  readonly nowMs: number;
}

/** Returns what is new, one sentence each. `definition` is the one of the same snapshot. */
export async function learnLane(
  store: HubDatabase,
  { bridgeId, name }: BridgeAssignment,
  definition: BridgeDefinition,
  { lane, told, nowMs }: LaneTold,
): Promise<string[]> {
  if (lane.laneId.length !== 16 || lane.senderId.length !== 16 || lane.receiverId.length !== 16) return [];
  const id = idText(lane.laneId);
  const before = await store
    .selectFrom('restore_lane')
    .select(['generation', 'number'])
    .where('lane_id', '=', id)
    .executeTakeFirst();
  if (before !== undefined && !isAfter(told, before)) return [];
  const ends = { sender: idText(lane.senderId), receiver: idText(lane.receiverId) };
  const present = await store
    .selectFrom('nodes')
    .select('id')
    .where('id', 'in', [ends.sender, ends.receiver])
    .execute();
  if (present.length < new Set([ends.sender, ends.receiver]).size)
    return [`a lane of bridge ${name} ends at an unknown node`];
  await store
    .insertInto('restore_lane')
    .values({ lane_id: id, ...told })
    .onConflict((conflict) => conflict.column('lane_id').doUpdateSet(told))
    .execute();
  const known = await store
    .selectFrom('lanes')
    .select(['data_source', 'ended_at_ms'])
    .where('id', '=', id)
    .executeTakeFirst();
  const dataSource = known?.data_source ?? definition.destinations[lane.destination]?.dataSource ?? '';
  const end = { bridge: idText(bridgeId), receiver: ends.receiver, dataSource };
  const hasEnded = lane.ended || !(await takeEnd(store, id, end, told, nowMs));
  if (known !== undefined) {
    const endedAtMs = hasEnded ? (known.ended_at_ms ?? nowMs) : null;
    await store.updateTable('lanes').set({ ended_at_ms: endedAtMs }).where('id', '=', id).execute();
    return hasEnded && known.ended_at_ms === null ? [endedAfter(name)] : [];
  }
  await store
    .insertInto('lanes')
    .values({
      id,
      bridge_id: idText(bridgeId),
      sender_id: ends.sender,
      receiver_id: ends.receiver,
      data_source: dataSource,
      destination: lane.destination,
      bound_at_ms: nowMs,
      ended_at_ms: hasEnded ? nowMs : null,
      highest_epoch: 0,
      highest_nonce: null,
      routed_sequence: 0,
      routed_deliveries: 0,
      refused_deliveries: 0,
    })
    .execute();
  return hasEnded ? [] : [`a destination of bridge ${name} was bound after the backup`];
}

/** Of two lanes of one bridge to one place the one that was told of last goes on. Returns whether it is this one, and ends the other. */
async function takeEnd(
  store: HubDatabase,
  id: string,
  end: { readonly bridge: string; readonly receiver: string; readonly dataSource: string },
  told: Told,
  nowMs: number,
): Promise<boolean> {
  const other = await store
    .selectFrom('lanes')
    .leftJoin('restore_lane', 'restore_lane.lane_id', 'lanes.id')
    .select(['lanes.id', 'restore_lane.generation', 'restore_lane.number'])
    .where('lanes.bridge_id', '=', end.bridge)
    .where('lanes.receiver_id', '=', end.receiver)
    .where('lanes.data_source', '=', end.dataSource)
    .where('lanes.ended_at_ms', 'is', null)
    .where('lanes.id', '<>', id)
    .executeTakeFirst();
  if (other === undefined) return true;
  const { generation, number } = other;
  if (generation !== null && number !== null && isAfter({ generation, number }, told)) return false;
  await store.updateTable('lanes').set({ ended_at_ms: nowMs }).where('id', '=', other.id).execute();
  return true;
}

function endedAfter(bridge: string): string {
  return `a lane of bridge ${bridge} was ended after the backup`;
}

/** Ends open lanes that the bridge's newest definition does not name, and gives the others their place in it. */
export async function fitLanes(store: HubDatabase, bridgeId: string, nowMs: number): Promise<string[]> {
  const bridge = await store
    .selectFrom('bridges')
    .innerJoin('bridge_versions', (join) =>
      join
        .onRef('bridge_versions.bridge_id', '=', 'bridges.id')
        .onRef('bridge_versions.version', '=', 'bridges.deployed_version'),
    )
    .select(['bridges.name', 'bridges.state', 'bridge_versions.definition_json'])
    .where('bridges.id', '=', bridgeId)
    .executeTakeFirst();
  if (bridge === undefined) return [];
  const destinations = bridge.state === 'retired' ? [] : parseBridgeJson(bridge.definition_json).destinations;
  const open = await store
    .selectFrom('lanes')
    .innerJoin('nodes', 'nodes.id', 'lanes.receiver_id')
    .select(['lanes.id', 'lanes.data_source', 'nodes.code'])
    .where('lanes.bridge_id', '=', bridgeId)
    .where('lanes.ended_at_ms', 'is', null)
    .orderBy('lanes.id')
    .execute();
  const learned: string[] = [];
  for (const { id, data_source, code } of open) {
    const place = destinations.findIndex(({ node, dataSource }) => node === code && dataSource === data_source);
    const change = place === -1 ? { ended_at_ms: nowMs } : { destination: place };
    await store.updateTable('lanes').set(change).where('id', '=', id).execute();
    if (place === -1) learned.push(endedAfter(bridge.name));
  }
  return learned;
}
