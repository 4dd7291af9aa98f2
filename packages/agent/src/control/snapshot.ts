// Reads a snapshot: signature, addressee, every definition, every peer's certificate, and the node's own fence. What does
// not hold is refused bridge by bridge with its problem; a snapshot whose signature or addressee is wrong is refused whole.

import {
  type BridgeAssignment,
  BridgeProblem,
  type LaneAssignment,
  NodeSnapshot,
  type Peer,
} from '@qiao/contract/node';
import type { Signed } from '@qiao/contract/signed';
import {
  type BridgeDefinition,
  idText,
  type Problem,
  ProblemsError,
  parseBridgeJson,
  QiaoError,
  readMessage,
} from '@qiao/exchange';
import { fingerprintOf } from '@qiao/security';
import type { Desired, DesiredBridge, DesiredLane, DesiredPeer } from './desired.ts';
import { acceptProblems, exposeProblems, type Permissions } from './permissions.ts';
import { idOrEmpty, type Trust } from './trust.ts';

export interface SnapshotReader {
  readonly platformId: string;
  readonly nodeId: string;
  readonly nodeCode: string;
  /** The hub's signing certificate as it came with the join. */
  readonly hubCertificate: Uint8Array;
  readonly trust: Trust;
  readonly permissions: Permissions;
}

export interface SnapshotReading {
  readonly desired: Desired;
  /** Bridges this node will not run, for the ActualState. */
  readonly refused: readonly BridgeProblem[];
  /** Certificates (SHA-256, hex) that by this node's clock have not begun or have ended: with another time the plan is another. */
  readonly untimely: readonly string[];
}

/** Verifies the hub's signature and the addressee. Throws SIGNATURE_INVALID, SNAPSHOT_INVALID or SNAPSHOT_FOREIGN. */
export function openSnapshot(signed: Signed, reader: SnapshotReader): NodeSnapshot {
  reader.trust.checkSigned('qiao.snapshot.v1', signed, reader.hubCertificate);
  let snapshot: NodeSnapshot;
  try {
    snapshot = readMessage(NodeSnapshot, signed.payload, 'snapshot');
  } catch (error) {
    throw new QiaoError('SNAPSHOT_INVALID', 'the snapshot is signed by the hub but cannot be decoded', {
      hint: 'compare the versions of hub and agent: qiao hub status',
      cause: error,
    });
  }
  if (idOrEmpty(snapshot.nodeId) !== reader.nodeId || idOrEmpty(snapshot.platformId) !== reader.platformId) {
    throw new QiaoError(
      'SNAPSHOT_FOREIGN',
      `the snapshot is for node ${idOrEmpty(snapshot.nodeId)}, this is node ${reader.nodeId}`,
    );
  }
  return snapshot;
}

/** Turns a verified snapshot into the desired state, refusing what this node cannot or may not run. Never throws for one bridge. */
export function planSnapshot(snapshot: NodeSnapshot, reader: SnapshotReader): SnapshotReading {
  const peers = new Map<string, DesiredPeer>();
  const badPeers = new Map<string, string>();
  const untimely: string[] = [];
  for (const peer of snapshot.peers) {
    const nodeId = idOrEmpty(peer.nodeId);
    const refusal = refusalOf(() => reader.trust.checkPeer(peer.certificate, nodeId));
    if (refusal === undefined) peers.set(nodeId, readPeer(peer));
    else badPeers.set(nodeId, refusal.message);
    if (isUntimely(refusal)) untimely.push(fingerprintOf(peer.certificate));
  }
  const monitors = snapshot.monitors.filter((certificate) => {
    // One that does not hold is left out: its word is not taken, and the books stay here until one that holds speaks.
    const refusal = refusalOf(() => reader.trust.checkMonitor(certificate));
    if (isUntimely(refusal)) untimely.push(fingerprintOf(certificate));
    return refusal === undefined;
  });
  const bridges = new Map<string, DesiredBridge>();
  const refused: BridgeProblem[] = [];
  for (const assignment of snapshot.bridges) {
    const planned = planBridge(assignment, reader, peers, badPeers);
    if ('problem' in planned) refused.push(planned.problem);
    else bridges.set(planned.bridge.bridgeId, planned.bridge);
  }
  return {
    desired: {
      platformId: reader.platformId,
      platformCode: snapshot.platformCode,
      nodeId: reader.nodeId,
      generation: snapshot.generation,
      number: snapshot.number,
      timeZone: snapshot.timeZone,
      fencingToken: snapshot.fencingToken,
      bridges,
      peers,
      monitors,
    },
    refused,
    untimely,
  };
}

function readPeer(peer: Peer): DesiredPeer {
  return {
    nodeId: idText(peer.nodeId),
    code: peer.code,
    departmentCode: peer.departmentCode,
    departmentTitle: peer.departmentTitle,
    certificate: peer.certificate,
    sealingKey: peer.sealingKey,
    readsFormat: peer.readsFormat,
    fencingToken: peer.fencingToken,
    revoked: peer.revoked,
  };
}

/** Why a certificate is not trusted; undefined when it is. */
function refusalOf(check: () => void): Error | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function isUntimely(refusal: Error | undefined): boolean {
  if (!(refusal instanceof QiaoError)) return false;
  return refusal.code === 'CERTIFICATE_NOT_YET_VALID' || refusal.code === 'CERTIFICATE_EXPIRED';
}

function planBridge(
  assignment: BridgeAssignment,
  reader: SnapshotReader,
  peers: ReadonlyMap<string, DesiredPeer>,
  badPeers: ReadonlyMap<string, string>,
): { bridge: DesiredBridge } | { problem: BridgeProblem } {
  const refuse = (problems: readonly Problem[]) => ({ problem: bridgeProblem(assignment, problems) });
  let definition: BridgeDefinition;
  try {
    definition = parseBridgeJson(assignment.definitionJson);
  } catch (error) {
    if (error instanceof ProblemsError && error.problems.length > 0) return refuse(error.problems);
    const message = error instanceof Error ? error.message : String(error);
    return refuse([{ code: 'DEFINITION_INVALID', path: '', message, hint: `qiao bridge check -f FILE` }]);
  }
  const lanes: DesiredLane[] = [];
  const problems: Problem[] = [];
  if (definition.source.node === reader.nodeCode) problems.push(...exposeProblems(definition, reader.permissions));
  for (const [index, lane] of assignment.lanes.entries()) {
    const planned = planLane(lane, index, definition, reader, peers, badPeers);
    if ('lane' in planned) lanes.push(planned.lane);
    else problems.push(planned.problem);
  }
  for (const { receiverId, destinationIndex, ended } of lanes) {
    // An ended lane writes nothing any more, so a rule the department took away must not keep it from ending.
    if (receiverId === reader.nodeId && !ended) {
      problems.push(...acceptProblems(definition, destinationIndex, reader.permissions));
    }
  }
  if (problems.length > 0) return refuse(problems);
  return {
    bridge: {
      bridgeId: idText(assignment.bridgeId),
      name: assignment.name,
      version: assignment.version,
      state: assignment.state,
      definition,
      lanes,
      runNumber: assignment.runNumber,
      allowedDeletes: assignment.allowedDeletes,
      circles: assignment.circles && {
        pairs: new Set(assignment.circles.pairs),
        rings: new Set(assignment.circles.rings),
      },
    },
  };
}

function planLane(
  assignment: LaneAssignment,
  index: number,
  definition: BridgeDefinition,
  reader: SnapshotReader,
  peers: ReadonlyMap<string, DesiredPeer>,
  badPeers: ReadonlyMap<string, string>,
): { lane: DesiredLane } | { problem: Problem } {
  const path = `lanes[${index}]`;
  const senderId = idOrEmpty(assignment.senderId);
  const receiverId = idOrEmpty(assignment.receiverId);
  const destination = definition.destinations[assignment.destination];
  const problem = (code: string, message: string, hint: string) => ({ problem: { code, path, message, hint } });
  if (destination === undefined && !assignment.ended) {
    return problem(
      'LANE_INVALID',
      `the lane names destination ${assignment.destination}, the definition has ${definition.destinations.length}`,
      `qiao bridge show ${definition.name}`,
    );
  }
  if (senderId !== reader.nodeId && receiverId !== reader.nodeId) {
    return problem(
      'LANE_INVALID',
      'the lane neither begins nor ends at this node',
      `qiao bridge show ${definition.name}`,
    );
  }
  for (const end of [senderId, receiverId]) {
    if (end === reader.nodeId || peers.has(end)) continue;
    const why = badPeers.get(end) ?? 'the snapshot does not name it';
    return problem(
      'PEER_UNKNOWN',
      `node ${end} at the other end of the lane cannot be trusted: ${why}`,
      'qiao node list',
    );
  }
  // The hub says which node a code is; a definition that writes into our accepts: must really name this node.
  const codeOf = (nodeId: string) => (nodeId === reader.nodeId ? reader.nodeCode : peers.get(nodeId)?.code);
  // An ended lane's index may point at nothing, or at a neighbour that moved up: only its sender voids what is left.
  const isNamed = codeOf(receiverId) === destination?.node && codeOf(senderId) === definition.source.node;
  if (!isNamed && !assignment.ended) {
    return problem(
      'LANE_INVALID',
      `the lane goes from ${codeOf(senderId)} to ${codeOf(receiverId)}, the definition from ${definition.source.node} to ${destination?.node}`,
      `qiao bridge show ${definition.name}`,
    );
  }
  return {
    lane: {
      laneId: idText(assignment.laneId),
      senderId,
      receiverId,
      destinationIndex: assignment.destination,
      destination: isNamed ? destination : undefined,
      highestEpoch: assignment.highestEpoch,
      ended: assignment.ended,
    },
  };
}

/** Everything wrong with one bridge as one problem: the first one's code, every message. */
function bridgeProblem(assignment: BridgeAssignment, problems: readonly Problem[]): BridgeProblem {
  const [first] = problems;
  return BridgeProblem.fromPartial({
    bridgeId: assignment.bridgeId,
    version: assignment.version,
    code: first?.code ?? 'DEFINITION_INVALID',
    message: problems
      .map(({ path, message }) => (path === '' ? message : `${path}: ${message}`))
      .join('; ')
      .slice(0, 2000),
    hint: (first?.hint ?? '').slice(0, 200),
  });
}
