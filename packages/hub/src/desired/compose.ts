// Owns what a node should run, as the contract says it: composed from nodes, bridges and lanes, pure and in a fixed order, so
// that equal states give equal bytes. Numbers, times and signatures are added by snapshots.ts.

import {
  type BridgeAssignment,
  BridgeState,
  type Circles,
  type Directory,
  type LaneAssignment,
  type NodeSnapshot,
  type Peer,
  type Revocation,
} from '@qiao/contract/node';
import { type BridgeDefinition, parseBridgeJson, parseId } from '@qiao/exchange';
import { circlesOf } from '../bridges/circles.ts';
import type { BridgeRow, BridgeStateName, HubDatabase, LaneRow } from '../hubDatabase.ts';
import { revokedFingerprints } from '../registry/certificates.ts';
import { listNodes, type NodeWithDepartment } from '../registry/nodes.ts';

/** Everything that desired states are made of, read at one moment. */
export interface World {
  readonly nodes: readonly NodeWithDepartment[];
  readonly bridges: readonly DeployedBridge[];
  /** SHA-256 of certificates whose rights were ended, hexadecimal, newest first. */
  readonly revokedKeys: readonly string[];
  /** Newest first. */
  readonly revocations: readonly Revocation[];
  readonly audit: { readonly replica: string; readonly number: number; readonly hash: Uint8Array };
}

interface DeployedBridge {
  readonly row: BridgeRow;
  readonly definitionJson: string;
  readonly definition: BridgeDefinition;
  readonly lanes: readonly LaneRow[];
  readonly circles: Circles;
}

export interface Platform {
  readonly id: Uint8Array;
  readonly code: string;
  readonly timeZone: string;
}

/** Certificates named as ended in every snapshot: what a hub restored from a backup must end again. */
const MOST_REVOCATIONS = 1_024;
/** Ended lanes and retired bridges stay in the snapshots this long, so that a sender that was away still closes what is left. */
const FAREWELL_MS = 30 * 86_400_000;

/** Parsed definitions by their text: a refresh parses only what is new. */
export type DefinitionCache = Map<string, BridgeDefinition>;

/** Reads the world of one moment: every bridge that was ever deployed, with its lanes; what ended long ago is left out. */
export async function readWorld(store: HubDatabase, nowMs: number, cache: DefinitionCache): Promise<World> {
  return await store
    .transaction()
    .setAccessMode('read only')
    .execute((view) => readWorldIn(view, nowMs, cache));
}

/** The same inside a transaction that goes on. */
export async function readWorldIn(view: HubDatabase, nowMs: number, cache: DefinitionCache): Promise<World> {
  const nodes = await listNodes(view);
  const revokedKeys = await revokedFingerprints(view);
  const rows = await view
    .selectFrom('bridges')
    .innerJoin('bridge_versions', (join) =>
      join
        .onRef('bridge_versions.bridge_id', '=', 'bridges.id')
        .onRef('bridge_versions.version', '=', 'bridges.deployed_version'),
    )
    .selectAll('bridges')
    .select('bridge_versions.definition_json')
    .where((on) => on.or([on('state', '<>', 'retired'), on('changed_at_ms', '>', nowMs - FAREWELL_MS)]))
    .orderBy('bridges.name')
    .orderBy('bridges.id')
    .execute();
  const lanes = await view
    .selectFrom('lanes')
    .selectAll()
    .where((on) => on.or([on('ended_at_ms', 'is', null), on('ended_at_ms', '>', nowMs - FAREWELL_MS)]))
    .orderBy('bound_at_ms')
    .orderBy('id')
    .execute();
  const lanesOf = Map.groupBy(lanes, (lane) => lane.bridge_id);
  const known = new Map(cache);
  cache.clear();
  const parsed = (json: string): BridgeDefinition => {
    const definition = known.get(json) ?? parseBridgeJson(json);
    cache.set(json, definition);
    return definition;
  };
  const revocations = await view
    .selectFrom('certificates')
    .select(['fingerprint', 'node_id', 'nats_user', 'revoked_at_ms'])
    .where('revoked_at_ms', 'is not', null)
    .orderBy('revoked_at_ms', 'desc')
    .orderBy('fingerprint')
    .limit(MOST_REVOCATIONS)
    .execute();
  const head = await view
    .selectFrom('audit')
    .select(['replica', 'number', 'hash'])
    .orderBy('at_ms', 'desc')
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
  const bridges = rows.map(({ definition_json, ...row }) => ({
    row,
    definitionJson: definition_json,
    definition: parsed(definition_json),
    lanes: lanesOf.get(row.id) ?? [],
  }));
  const circles = circlesOf(bridges.filter(({ row }) => row.state !== 'retired').map(({ definition }) => definition));
  return {
    nodes,
    revokedKeys,
    revocations: revocations.map(({ fingerprint, node_id, nats_user, revoked_at_ms }) => ({
      fingerprint: Buffer.from(fingerprint, 'hex'),
      nodeId: parseId(node_id),
      natsUser: nats_user ?? '',
      revokedAtMs: BigInt(revoked_at_ms ?? 0),
    })),
    audit: { replica: head?.replica ?? '', number: head?.number ?? 0, hash: head?.hash ?? new Uint8Array(32) },
    bridges: bridges.map((bridge) => ({
      ...bridge,
      circles: circles.get(bridge.definition.name) ?? { pairs: [], rings: [] },
    })),
  };
}

export type SnapshotBody = Omit<NodeSnapshot, 'generation' | 'number' | 'writtenAtMs'>;

/** The desired state of one node. */
export function composeSnapshot(world: World, platform: Platform, nodeId: string): SnapshotBody {
  const bridges: BridgeAssignment[] = [];
  const peerIds = new Set<string>();
  for (const bridge of world.bridges) {
    const lanes = bridge.lanes.filter((lane) => lane.sender_id === nodeId || lane.receiver_id === nodeId);
    if (lanes.length === 0 && bridge.row.source_node_id !== nodeId) continue;
    // Each lane's other end, which is the node itself where a bridge goes from one of its data sources to another.
    for (const lane of lanes) peerIds.add(lane.sender_id === nodeId ? lane.receiver_id : lane.sender_id);
    bridges.push({
      bridgeId: parseId(bridge.row.id),
      name: bridge.row.name,
      version: bridge.row.deployed_version,
      definitionJson: bridge.definitionJson,
      state: contractState(bridge.row.state),
      lanes: lanes.map(contractLane),
      runNumber: BigInt(bridge.row.run_number),
      allowedDeletes: BigInt(bridge.row.allowed_deletes),
      circles: bridge.circles,
    });
  }
  return {
    platformId: platform.id,
    platformCode: platform.code,
    nodeId: parseId(nodeId),
    bridges,
    peers: world.nodes.filter((node) => peerIds.has(node.id)).flatMap(contractPeer),
    timeZone: platform.timeZone,
    fencingToken: BigInt(world.nodes.find(({ id }) => id === nodeId)?.fencing_token ?? 0),
    monitors: world.nodes
      .filter(({ role, status, certificate }) => role === 'monitor' && status === 'joined' && certificate !== null)
      .slice(0, MOST_MONITORS)
      .map(({ certificate }) => certificate as Uint8Array),
    revocations: [...world.revocations],
  };
}

/** As the contract limits them. */
const MOST_MONITORS = 16;

export type DirectoryBody = Omit<Directory, 'generation' | 'number' | 'writtenAtMs'>;

/**
 * The directory for the monitor. Operators are in it with their last certificate, so that the monitor, too, knows whose
 * rights were ended; one who was revoked stays so until joining again.
 */
export function composeDirectory(world: World, platform: Platform): DirectoryBody {
  return {
    timeZone: platform.timeZone,
    revokedKeys: world.revokedKeys.map((fingerprint) => Buffer.from(fingerprint, 'hex')),
    auditReplica: world.audit.replica,
    auditNumber: BigInt(world.audit.number),
    auditHead: world.audit.hash,
    nodes: world.nodes
      .filter((node) => (node.role === 'operator' ? node.certificate !== null : node.status !== 'invited'))
      .map((node) => ({
        nodeId: parseId(node.id),
        code: node.code,
        title: node.title,
        departmentCode: node.department_code,
        departmentTitle: node.department_title,
        revoked: node.status !== 'joined',
        certificate: node.certificate ?? new Uint8Array(),
      })),
    bridges: world.bridges.map(({ row, definition, lanes }) => ({
      bridgeId: parseId(row.id),
      name: row.name,
      title: row.title,
      version: row.deployed_version,
      state: contractState(row.state),
      sourceNodeId: parseId(row.source_node_id),
      lateAfterMs: BigInt(definition.lateAfterMs),
      explainedAlertShare: definition.explainedAlertShare,
      lanes: lanes.map(contractLane),
    })),
  };
}

export function contractState(state: BridgeStateName): BridgeState {
  switch (state) {
    case 'created':
      return BridgeState.CREATED;
    case 'deployed':
      return BridgeState.DEPLOYED;
    case 'running':
      return BridgeState.RUNNING;
    case 'stopped':
      return BridgeState.STOPPED;
    case 'retired':
      return BridgeState.RETIRED;
    default:
      return state satisfies never;
  }
}

function contractLane(lane: LaneRow): LaneAssignment {
  return {
    laneId: parseId(lane.id),
    senderId: parseId(lane.sender_id),
    receiverId: parseId(lane.receiver_id),
    destination: lane.destination,
    highestEpoch: BigInt(lane.highest_epoch),
    ended: lane.ended_at_ms !== null,
  };
}

/**
 * A revoked node stays named, so that its lane's bridge goes on to the others, but said to be revoked and without a sealing
 * key: nothing is taken from, nor sealed for, keys that may be stolen. One that never joined has no certificate to show and is left out.
 */
function contractPeer(node: NodeWithDepartment): Peer[] {
  if (node.certificate === null) return [];
  return [
    {
      nodeId: parseId(node.id),
      code: node.code,
      departmentCode: node.department_code,
      departmentTitle: node.department_title,
      certificate: node.certificate,
      sealingKey: node.status === 'joined' ? (node.sealing_key ?? new Uint8Array()) : new Uint8Array(),
      readsFormat: node.reads_format,
      fencingToken: BigInt(node.fencing_token),
      revoked: node.status !== 'joined',
    },
  ];
}
