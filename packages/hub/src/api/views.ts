// Owns how rows are shown to callers: nodes and bridges as the contract says them. Reads only.

import { type Bridge, type Node, NodeStatus, type RefusalRecord } from '@qiao/contract/hub';
import { parseId } from '@qiao/exchange';
import { currentVersion } from '../bridges/versions.ts';
import { contractState } from '../desired/compose.ts';
import type { BridgeRow, HubDatabase, NodeStatusName } from '../hubDatabase.ts';
import { contractRole } from '../identity/join.ts';
import { type NodeWithDepartment, problemsOf } from '../registry/nodes.ts';

export function nodeView(node: NodeWithDepartment): Node {
  return {
    nodeId: parseId(node.id),
    code: node.code,
    title: node.title,
    departmentCode: node.department_code,
    departmentTitle: node.department_title,
    role: contractRole(node.role),
    status: contractStatus(node.status),
    joinedAtMs: BigInt(node.joined_at_ms ?? 0),
    certificateEndsAtMs: BigInt(node.certificate_ends_at_ms ?? 0),
    lastSeenAtMs: BigInt(node.last_seen_at_ms),
    fencingToken: BigInt(node.fencing_token),
    version: node.version,
    fingerprint: node.fingerprint ?? '',
    problems: problemsOf(node),
  };
}

/** A bridge with its lanes (ended ones last), its versions and the text that counts. */
export async function bridgeView(store: HubDatabase, bridge: BridgeRow): Promise<Bridge> {
  const lanes = await store
    .selectFrom('lanes')
    .innerJoin('nodes', 'nodes.id', 'lanes.receiver_id')
    .selectAll('lanes')
    .select('nodes.code as destination_node')
    .where('bridge_id', '=', bridge.id)
    .orderBy((order) => order('ended_at_ms', 'is not', null))
    .orderBy('destination')
    .orderBy('bound_at_ms')
    .execute();
  const versions = await store
    .selectFrom('bridge_versions')
    .select(['version', 'stored_at_ms', 'stored_by'])
    .where('bridge_id', '=', bridge.id)
    .orderBy('version')
    .execute();
  const source = await store
    .selectFrom('nodes')
    .select('code')
    .where('id', '=', bridge.source_node_id)
    .executeTakeFirst();
  return {
    bridgeId: parseId(bridge.id),
    name: bridge.name,
    title: bridge.title,
    state: contractState(bridge.state),
    version: bridge.version,
    deployedVersion: bridge.deployed_version,
    sourceNode: source?.code ?? '',
    lanes: lanes.map((lane) => ({
      laneId: parseId(lane.id),
      destinationNode: lane.destination_node,
      highestEpoch: BigInt(lane.highest_epoch),
      routedSequence: BigInt(lane.routed_sequence),
      routedDeliveries: BigInt(lane.routed_deliveries),
      refusedDeliveries: BigInt(lane.refused_deliveries),
      ended: lane.ended_at_ms !== null,
    })),
    yaml: (await currentVersion(store, bridge)).yaml,
    createdAtMs: BigInt(bridge.created_at_ms),
    changedAtMs: BigInt(bridge.changed_at_ms),
    versions: versions.map((version) => ({
      version: version.version,
      storedAtMs: BigInt(version.stored_at_ms),
      storedBy: version.stored_by,
    })),
  };
}

/** Newest first. */
export async function refusalViews(store: HubDatabase, limit: number): Promise<RefusalRecord[]> {
  const rows = await store.selectFrom('refusals').selectAll().orderBy('id', 'desc').limit(limit).execute();
  return rows.map((row) => ({
    atMs: BigInt(row.at_ms),
    fromNode: row.from_node,
    bridge: row.bridge,
    laneId: Buffer.from(row.lane_id, 'hex'),
    epoch: BigInt(row.epoch),
    sequence: BigInt(row.sequence),
    code: row.code,
    message: row.message,
    times: BigInt(row.times),
  }));
}

function contractStatus(status: NodeStatusName): NodeStatus {
  switch (status) {
    case 'invited':
      return NodeStatus.INVITED;
    case 'joined':
      return NodeStatus.JOINED;
    case 'revoked':
      return NodeStatus.REVOKED;
    default:
      return status satisfies never;
  }
}
