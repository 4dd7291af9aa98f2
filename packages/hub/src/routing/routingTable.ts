// Owns what routing must know of nodes, bridges and lanes, in memory: read from the database at the start and after every
// change, so that no delivery waits for a query. Epochs and counters move with the deliveries and live in laneBooks.ts.

import { parseId } from '@qiao/exchange';
import type { HubDatabase, NodeRoleName } from '../hubDatabase.ts';

export interface RoutingNode {
  readonly id: string;
  readonly idBytes: Uint8Array;
  readonly code: string;
  readonly role: NodeRoleName;
  readonly isJoined: boolean;
  /** DER; empty before it joined. */
  readonly certificate: Uint8Array;
  readonly certificateEndsAtMs: number;
}

export interface RoutingBridge {
  readonly id: string;
  readonly name: string;
  readonly sourceNodeId: string;
  /** Versions that were ever deployed: deliveries captured under an older one are still on their way. */
  readonly versions: ReadonlySet<number>;
}

export interface RoutingLane {
  readonly id: string;
  readonly bridgeId: string;
  readonly senderId: string;
  readonly receiverId: string;
  readonly hasEnded: boolean;
}

export interface FencingToken {
  readonly token: bigint;
  /** The newest that the hub itself gave; lower than `token` after a restore, until the next start. */
  readonly given: bigint;
  /** When this hub process learned it: at its start for one that was given before. */
  readonly sinceMs: number;
}

export class RoutingTable {
  #nodesByCode = new Map<string, RoutingNode>();
  #nodesById = new Map<string, RoutingNode>();
  #bridges = new Map<string, RoutingBridge>();
  #lanes = new Map<string, RoutingLane>();
  readonly #fencing = new Map<string, FencingToken>();

  /** Reads everything anew and replaces it whole. A token read for the first time counts as given at `nowMs`. */
  async reload(store: HubDatabase, nowMs: number): Promise<void> {
    const { nodes, bridges, versions, lanes } = await store
      .transaction()
      .setAccessMode('read only')
      .execute(async (view) => ({
        nodes: await view.selectFrom('nodes').selectAll().execute(),
        bridges: await view.selectFrom('bridges').select(['id', 'name', 'source_node_id']).execute(),
        versions: await view
          .selectFrom('bridge_versions')
          .select(['bridge_id', 'version'])
          .where('deployed_at_ms', 'is not', null)
          .execute(),
        lanes: await view
          .selectFrom('lanes')
          .select(['id', 'bridge_id', 'sender_id', 'receiver_id', 'ended_at_ms'])
          .execute(),
      }));
    const versionsOf = Map.groupBy(versions, (row) => row.bridge_id);
    const routingNodes = nodes.map((node) => ({
      id: node.id,
      idBytes: parseId(node.id),
      code: node.code,
      role: node.role,
      isJoined: node.status === 'joined',
      certificate: node.certificate ?? new Uint8Array(),
      certificateEndsAtMs: node.certificate_ends_at_ms ?? 0,
    }));
    this.#nodesByCode = new Map(routingNodes.map((node) => [node.code, node]));
    this.#nodesById = new Map(routingNodes.map((node) => [node.id, node]));
    this.#bridges = new Map(
      bridges.map(({ id, name, source_node_id: sourceNodeId }) => [
        id,
        { id, name, sourceNodeId, versions: new Set((versionsOf.get(id) ?? []).map(({ version }) => version)) },
      ]),
    );
    this.#lanes = new Map(
      lanes.map((lane) => [
        lane.id,
        {
          id: lane.id,
          bridgeId: lane.bridge_id,
          senderId: lane.sender_id,
          receiverId: lane.receiver_id,
          hasEnded: lane.ended_at_ms !== null,
        },
      ]),
    );
    for (const node of nodes) this.noteFencingToken(node.id, BigInt(node.fencing_token), nowMs);
  }

  nodeByCode(code: string): RoutingNode | undefined {
    return this.#nodesByCode.get(code);
  }

  nodeById(id: string): RoutingNode | undefined {
    return this.#nodesById.get(id);
  }

  bridge(id: string): RoutingBridge | undefined {
    return this.#bridges.get(id);
  }

  lane(id: string): RoutingLane | undefined {
    return this.#lanes.get(id);
  }

  /** The newest token given to the node; lower than 1 for none. */
  fencing(nodeId: string): FencingToken {
    return this.#fencing.get(nodeId) ?? { token: 0n, given: 0n, sinceMs: 0 };
  }

  /** Tokens only rise, in whatever order a hello and a reload are told of. */
  noteFencingToken(nodeId: string, token: bigint, nowMs: number): void {
    if (token > this.fencing(nodeId).token) this.#fencing.set(nodeId, { token, given: token, sinceMs: nowMs });
  }

  /** A token that its bearer showed: it fences like one that was given, and is none. */
  learnFencingToken(nodeId: string, token: bigint, nowMs: number): void {
    const { token: known, given } = this.fencing(nodeId);
    if (token > known) this.#fencing.set(nodeId, { token, given, sinceMs: nowMs });
  }

  /** Whether the two nodes are the ends of one lane, living or ended. */
  isLaneBetween(laneId: string, senderId: string, receiverId: string): boolean {
    const lane = this.#lanes.get(laneId);
    return lane !== undefined && lane.senderId === senderId && lane.receiverId === receiverId;
  }
}
