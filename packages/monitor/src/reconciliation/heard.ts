// Whom the books could hear: the hub and the nodes at both ends. What a silent one did since stands in no line, what waits at one for too
// long stands in none yet, and what a service that stands still would have brought stands in none either: a verdict is of what was heard.

import type { Heard, Standstill } from '@qiao/contract/monitor';
import {
  BridgeState,
  type DirectoryBridge,
  type DirectoryNode,
  type Heartbeat,
  type LaneAssignment,
  ServiceCondition,
  ServiceLeg,
} from '@qiao/contract/node';
import { idText, sameBytes } from '@qiao/exchange';
import type { Nodes } from '../ingest/nodes.ts';

export interface HeardPorts {
  readonly nodes: Pick<Nodes, 'directory' | 'agents' | 'state' | 'hubHeardAtMs'>;
  readonly nowMs: () => number;
  /** A node is silent after this many milliseconds without a heartbeat. */
  readonly nodeSilentAfterMs: number;
}

export interface BridgeLane {
  readonly bridge: DirectoryBridge;
  readonly lane: LaneAssignment;
}

/** Three of the hub's words: it repeats its directory every 30 s. */
export const HUB_SILENT_AFTER_MS = 90_000;

/** By node: its exchange database, and up to which number of its books a monitor held them, by the node's own word. */
export type HeldWords = ReadonlyMap<string, { readonly databaseId: string; readonly number: number }>;

/** What the nodes say now. To be asked before the positions are read: a word is never newer than what it speaks of. */
export function heldByWord({ nodes }: Pick<HeardPorts, 'nodes'>): HeldWords {
  return new Map(
    nodes.agents().flatMap(({ nodeId }) => {
      const heartbeat = nodes.state(idText(nodeId))?.heartbeat;
      if (heartbeat === undefined || heartbeat.booksThrough === 0n) return [];
      const { exchangeDatabaseId, booksThrough } = heartbeat;
      return [[idText(nodeId), { databaseId: idText(exchangeDatabaseId), number: Number(booksThrough) }] as const];
    }),
  );
}

/** The hub, then the nodes of these lanes in the directory's order. `missing`: entries of the books by node. */
export function whoWasHeard(
  ports: HeardPorts,
  lanes: readonly BridgeLane[],
  missing: ReadonlyMap<string, number> = new Map(),
): Heard[] {
  const exchanging = lanes.filter(isExchanging);
  const hub = lastHeard(ports, ports.nodes.hubHeardAtMs, HUB_SILENT_AFTER_MS);
  return [
    { code: 'hub', ...hub, waitingSinceMs: 0n, late: false, standing: [], booksMissing: 0n },
    ...ports.nodes.agents().flatMap((node) => {
      const own = exchanging.filter(({ lane }) => isEnd(node, lane));
      return own.length === 0 ? [] : [heardOf(ports, node, own, missing.get(idText(node.nodeId)) ?? 0)];
    }),
  ];
}

/** Whether the books lack what somebody did, or may have done. */
export function isIncomplete(heard: readonly Heard[]): boolean {
  return heard.some(
    ({ silent, late, standing, booksMissing }) => silent || late || standing.length > 0 || booksMissing > 0n,
  );
}

const WITHOUT_EXCHANGE: readonly BridgeState[] = [BridgeState.CREATED, BridgeState.RETIRED];

function isExchanging({ bridge, lane }: BridgeLane): boolean {
  return !WITHOUT_EXCHANGE.includes(bridge.state) && !lane.ended;
}

function isEnd({ nodeId }: DirectoryNode, { senderId, receiverId }: LaneAssignment): boolean {
  return sameBytes(nodeId, senderId) || sameBytes(nodeId, receiverId);
}

function heardOf(ports: HeardPorts, node: DirectoryNode, lanes: readonly BridgeLane[], missing: number): Heard {
  const state = ports.nodes.state(idText(node.nodeId));
  const agoMs = state === undefined ? 0 : ports.nowMs() - state.receivedAtMs;
  const waits = state === undefined ? [] : waitsOf(state.heartbeat, lanes, agoMs);
  const longestMs = Math.max(0, ...waits.map(({ waitedMs }) => waitedMs));
  return {
    code: node.code,
    ...lastHeard(ports, state?.receivedAtMs ?? 0, ports.nodeSilentAfterMs),
    waitingSinceMs: longestMs === 0 ? 0n : BigInt(ports.nowMs() - longestMs),
    late: waits.some(({ waitedMs, lateAfterMs }) => waitedMs > lateAfterMs),
    standing: state === undefined ? [] : standingOf(state.heartbeat, lanes, agoMs),
    booksMissing: BigInt(missing),
  };
}

function lastHeard(
  { nowMs }: HeardPorts,
  atMs: number,
  silentAfterMs: number,
): Pick<Heard, 'lastHeardAtMs' | 'silent'> {
  return { lastHeardAtMs: BigInt(atMs), silent: nowMs() - atMs > silentAfterMs };
}

/** Nothing waits at a capture that stands still: what it does not find is missing in the books without a word. */
function standingOf(heartbeat: Heartbeat, lanes: readonly BridgeLane[], agoMs: number): Standstill[] {
  const bridges = new Map(lanes.map(({ bridge }) => [idText(bridge.bridgeId), bridge]));
  return heartbeat.services.flatMap(({ bridgeId, laneId, leg, condition, code, lastRunAtMs }) => {
    const bridge = bridges.get(idText(bridgeId));
    const isOfLane = laneId.length === 0 || lanes.some(({ lane }) => sameBytes(lane.laneId, laneId));
    if (bridge === undefined || !isOfLane) return [];
    const isStuck = condition === ServiceCondition.STUCK;
    // Both moments are the node's. A capture that never finished a run has brought nothing at all.
    const runAgoMs = Number(heartbeat.atMs - lastRunAtMs) + agoMs;
    const isRunLate = leg === ServiceLeg.CAPTURE && runAgoMs > Number(bridge.lateAfterMs);
    const triesInVain = condition === ServiceCondition.RETRYING && isRunLate;
    return isStuck || triesInVain ? [{ bridge: bridge.name, leg, code }] : [];
  });
}

interface Wait {
  readonly waitedMs: number;
  readonly lateAfterMs: number;
}

/** What waits at a node by its own word: deliveries for their receipt, and books for the monitor, which may be of any of its bridges. */
function waitsOf(heartbeat: Heartbeat, lanes: readonly BridgeLane[], agoMs: number): Wait[] {
  // Both moments are the node's, so that its clock may stand where it likes.
  const waited = (sinceMs: bigint) => (sinceMs === 0n ? 0 : Math.max(0, Number(heartbeat.atMs - sinceMs)) + agoMs);
  const deliveries = lanes.flatMap(({ bridge, lane }) =>
    heartbeat.services
      .filter(({ leg, laneId }) => leg === ServiceLeg.SEND && sameBytes(laneId, lane.laneId))
      .map((service) => ({ waitedMs: waited(service.oldestWaitingAtMs), lateAfterMs: Number(bridge.lateAfterMs) })),
  );
  const lateAfterMs = Math.min(...lanes.map(({ bridge }) => Number(bridge.lateAfterMs)));
  return [...deliveries, { waitedMs: waited(heartbeat.booksWaitingSinceMs), lateAfterMs }];
}
