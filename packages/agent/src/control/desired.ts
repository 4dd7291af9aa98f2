// What this node shall do, as the newest snapshot says it: bridges, lanes and the nodes at their other ends. This file owns
// the shape and the one place where the present value stands; snapshot.ts decides what gets in, hello.ts and consume.ts bring it.

import { BridgeState, type NodeSnapshot } from '@qiao/contract/node';
import type { BridgeDefinition, Destination } from '@qiao/exchange';

/** A node at the other end of a lane. */
export interface DesiredPeer {
  readonly nodeId: string;
  readonly code: string;
  readonly departmentCode: string;
  readonly departmentTitle: string;
  /** DER, checked against the authority when the snapshot was read. */
  readonly certificate: Uint8Array;
  readonly sealingKey: Uint8Array;
  readonly readsFormat: number;
  readonly fencingToken: bigint;
  /** Its rights were ended: nothing of it is taken. */
  readonly revoked: boolean;
  /** Set while its keys wait for a person here (peerKeys.ts); it has no sealing key then. No fingerprint: the hub names none to begin with. */
  readonly unconfirmed?: { readonly fingerprint: string | undefined; readonly isChange: boolean };
}

/** One lane that begins or ends here. */
export interface DesiredLane {
  readonly laneId: string;
  readonly senderId: string;
  readonly receiverId: string;
  /** Index into `definition.destinations`. */
  readonly destinationIndex: number;
  /** Undefined only for an ended lane whose destination the newer definition no longer names. */
  readonly destination: Destination | undefined;
  readonly highestEpoch: bigint;
  readonly ended: boolean;
}

/** One bridge as this node runs it. */
export interface DesiredBridge {
  readonly bridgeId: string;
  readonly name: string;
  readonly version: number;
  readonly state: BridgeState;
  readonly definition: BridgeDefinition;
  readonly lanes: readonly DesiredLane[];
  readonly runNumber: bigint;
  readonly allowedDeletes: bigint;
  /** Tables whose rows may come home by other bridges; left out where the hub does not say. */
  readonly circles?: Circles | undefined;
}

/** Tables of a bridge that lie in circles, by their names at the source. */
export interface Circles {
  /** Another bridge brings them straight back. */
  readonly pairs: ReadonlySet<string>;
  /** The way home leads by more tables. */
  readonly rings: ReadonlySet<string>;
}

/** A snapshot that was verified, parsed and cut down to what this node's own file allows. */
export interface Desired {
  readonly platformId: string;
  readonly platformCode: string;
  readonly nodeId: string;
  readonly generation: bigint;
  readonly number: bigint;
  readonly timeZone: string;
  /** The newest token that the hub gave to a start of this node; 0n for none. */
  readonly fencingToken: bigint;
  readonly bridges: ReadonlyMap<string, DesiredBridge>;
  readonly peers: ReadonlyMap<string, DesiredPeer>;
  /** Certificates (DER) of monitors, checked against the authority when the snapshot was read. */
  readonly monitors: readonly Uint8Array[];
}

/** Holds the present desired state and tells those who wait for a newer one. */
export interface DesiredState {
  /** Undefined until the first snapshot was read, from the hub or from the cache. */
  current(): Desired | undefined;
  /** Takes a newer state; the caller has compared (generation, number). */
  replace(desired: Desired): void;
  /** Calls the listener after each replacement; returns the way to stop it. */
  onChange(listener: (desired: Desired) => void): () => void;
}

export function createDesiredState(): DesiredState {
  let current: Desired | undefined;
  const listeners = new Set<(desired: Desired) => void>();
  return {
    current: () => current,
    replace(desired) {
      current = desired;
      for (const listener of listeners) listener(desired);
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** Whether snapshot `a` is newer than `b`: generations compare first, so that a restored hub wins over its own past. */
export function isNewer(
  a: Pick<NodeSnapshot, 'generation' | 'number'>,
  b: Pick<NodeSnapshot, 'generation' | 'number'> | undefined,
): boolean {
  if (b === undefined) return true;
  return a.generation === b.generation ? a.number > b.number : a.generation > b.generation;
}

/** Whether the lane has ended for good: its destination was unbound, or the whole bridge retired. */
export function isOver(bridge: Pick<DesiredBridge, 'state'>, lane: Pick<DesiredLane, 'ended'>): boolean {
  return lane.ended || bridge.state === BridgeState.RETIRED;
}

/** A lane with its bridge, by the lane's id. */
export function findLane(
  desired: Desired | undefined,
  laneId: string,
): { bridge: DesiredBridge; lane: DesiredLane } | undefined {
  for (const bridge of desired?.bridges.values() ?? []) {
    const lane = bridge.lanes.find((one) => one.laneId === laneId);
    if (lane !== undefined) return { bridge, lane };
  }
  return undefined;
}
