/**
 * The life of lanes that begin here: opening an epoch, ending a lane, and bringing the lanes on disk in line with the newest
 * snapshot. What travels on them is packed by pack.ts and published by sendLane.ts.
 */
import { Opening } from '@qiao/contract/delivery';
import { chainOf, idText, NO_CHAIN, parseId, sameBytes } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import { type Desired, type DesiredBridge, type DesiredLane, isOver } from '../control/desired.ts';
import type { LaneOut, LanePhase } from '../exchange-database/index.ts';
import type { SendPorts } from './ports.ts';
import { closeEpoch } from './settle.ts';

export type LanePorts = Pick<SendPorts, 'database' | 'desired' | 'signer' | 'clock' | 'newId' | 'fence'>;

/** A fork stays visible to the monitor this long before the lane heals itself. */
export const FORK_SHOWN_MS = 20_000;

/**
 * Makes the lanes of this bridge that begin here what the snapshot says: opens what is missing, ends what has ended, frees
 * what stuck under an older version, opens a new epoch where two histories met. Safe to call at any time, by sending and by
 * capture before each scan.
 *
 * What only a copy or an old backup could see is answered with an epoch only under a token of this start.
 */
export function alignLanes(ports: LanePorts, desired: Desired, bridge: DesiredBridge): void {
  const { database } = ports;
  const mayOpen = mayOpenEpochs(ports);
  for (const lane of bridge.lanes) {
    if (lane.senderId !== desired.nodeId) continue;
    const held = database.lanesOut.get(parseId(lane.laneId));
    if (isOver(bridge, lane)) {
      if (held !== undefined && held.phase !== 'ended') {
        endLane(ports, lane);
        crashPoint('lane.ended');
      }
      continue;
    }
    if (held !== undefined && held.phase !== 'ended' && !isSameReceiver(ports, bridge, lane, held)) continue;
    if (held?.phase === 'ended' || !mayOpen) continue;
    const hasToken = ports.fence.token() !== undefined;
    if (held === undefined) {
      openEpoch(ports, bridge, lane, lane.highestEpoch + 1n, 'loading');
    } else if (held.epoch < lane.highestEpoch) {
      // The hub routed a later epoch than this file knows: it is a copy or an old backup. Nothing it holds may go on.
      if (hasToken) openEpoch(ports, bridge, lane, lane.highestEpoch + 1n, 'loading');
    } else if (held.stuck?.code === 'LANE_FORKED') {
      if (hasToken && isForkShown(held, ports.clock.nowMs())) {
        openEpoch(ports, bridge, lane, held.epoch + 1n, 'loading', {
          code: 'FORK',
          reason: 'two histories of the lane met; both ends begin anew',
        });
      }
    } else if (held.stuck !== undefined && held.stuckVersion < bridge.version) {
      if (held.stuck.code !== 'EXCHANGE_DATABASE_RESTORED') database.lanesOut.unstick(held.lane);
      // At once, also without a token: nothing may be packed at places that were given out before. It leaves only under one.
      else openEpoch(ports, bridge, lane, held.epoch + 1n, 'loading');
    }
  }
}

/**
 * Where a lane ends is decided when it begins, and stands on disk: another receiver under the same lane is no word that the hub
 * may say. The lane stands until it names the first one again.
 */
function isSameReceiver(
  { database, clock }: LanePorts,
  bridge: DesiredBridge,
  lane: DesiredLane,
  held: LaneOut,
): boolean {
  const isSame = endsAsBegun(lane, held);
  if (isSame && held.stuck?.code === 'RECEIVER_CHANGED') database.lanesOut.unstick(held.lane);
  // Another reason stays: it is healed in its own way, once the lane ends where it did.
  if (!isSame && held.stuck === undefined) {
    const message = `the hub lets the lane end at node ${lane.receiverId}, it began towards ${idText(held.receiver)}`;
    const hint = 'nothing is sent on it; ask the hub’s operators who moved it; a lane to another node is a new one';
    database.lanesOut.stick(held.lane, bridge.version, { code: 'RECEIVER_CHANGED', message, hint }, clock.nowMs());
  }
  return isSame;
}

/** Whether the snapshot lets the lane end where it did when it began. */
export function endsAsBegun(lane: Pick<DesiredLane, 'receiverId'>, held: Pick<LaneOut, 'receiver'>): boolean {
  return sameBytes(parseId(lane.receiverId), held.receiver);
}

/**
 * Two copies of a node would outbid each other's epochs for ever: a process that lost its fence opens none, nor does one that the
 * snapshot shows a newer start, before the hub has told it so itself.
 */
export function mayOpenEpochs({ fence, desired }: Pick<LanePorts, 'fence' | 'desired'>): boolean {
  const token = fence.token();
  return !fence.isLost && (token === undefined || token >= (desired.current()?.fencingToken ?? 0n));
}

/** Long enough for an alert to open, or since a time that a clock set back has not reached yet. */
function isForkShown({ stuckAtMs }: LaneOut, nowMs: number): boolean {
  return nowMs - stuckAtMs >= FORK_SHOWN_MS || stuckAtMs > nowMs;
}

/**
 * Begins an epoch: what the old one left unsettled is closed in the books, and the opening that names it is recorded at
 * sequence 0. One transaction.
 */
export function openEpoch(
  ports: LanePorts,
  bridge: Pick<DesiredBridge, 'bridgeId' | 'version'>,
  lane: Pick<DesiredLane, 'laneId' | 'receiverId' | 'highestEpoch'>,
  ordinal: bigint,
  phase: LanePhase,
  why: { code: string; reason: string } = { code: 'EPOCH_CLOSED', reason: 'a new epoch of the lane was opened' },
): void {
  const { database, clock } = ports;
  const laneId = parseId(lane.laneId);
  const nonce = ports.newId();
  const chain = chainOf({
    previousChain: NO_CHAIN,
    laneId,
    epoch: { ordinal, nonce },
    sequence: 0n,
    contentHash: new Uint8Array(0),
    counts: [],
  });
  database.transaction(() => {
    const held = database.lanesOut.get(laneId);
    if (held !== undefined) closeEpoch(ports, held, why.code, why.reason);
    const opening = Opening.fromPartial({
      ...(held === undefined ? {} : { previous: { ordinal: held.epoch, nonce: held.nonce } }),
      previousLastSequence: held?.lastSequence ?? 0n,
      // A lane's first epoch has nothing to know; a file that was lost cannot say what it gave out.
      previousKnown: held !== undefined && held.epoch === ordinal - 1n,
    });
    database.lanesOut.open({
      lane: laneId,
      bridge: parseId(bridge.bridgeId),
      receiver: parseId(lane.receiverId),
      epoch: ordinal,
      nonce,
      phase,
      chain,
      atMs: clock.nowMs(),
    });
    database.deliveriesOut.add({
      lane: laneId,
      epoch: ordinal,
      sequence: 0n,
      role: 'opening',
      parcel: undefined,
      bridgeVersion: bridge.version,
      previousChain: NO_CHAIN,
      chain,
      sealedAtMs: clock.nowMs(),
      loadBegins: false,
      loadEnds: false,
      allowedDeletes: 0n,
      incompleteTables: [],
      opening: Opening.encode(opening).finish(),
      storedBytes: 0,
    });
  });
  // Inside a caller's transaction nothing is on disk yet: it names a boundary of its own.
  if (!database.sqlite.inTransaction) crashPoint('epoch.opened');
}

/** Ends a lane for good: what is unsettled is closed in the books, nothing is sent any more. */
export function endLane(ports: LanePorts, lane: Pick<DesiredLane, 'laneId'>): void {
  const { database } = ports;
  database.transaction(() => {
    const held = database.lanesOut.get(parseId(lane.laneId));
    if (held === undefined || held.phase === 'ended') return;
    closeEpoch(ports, held, 'LANE_ENDED', 'the destination was unbound or the bridge retired');
    database.lanesOut.setPhase(held.lane, 'ended');
    database.lanesOut.setGone(held.lane, ports.clock.nowMs());
    database.lanesOut.unstick(held.lane);
  });
}

/** The bridge and lane of the snapshot that own this lane, when it begins at this node. */
export function laneOfSnapshot(
  desired: Desired | undefined,
  laneId: Uint8Array,
): { desired: Desired; bridge: DesiredBridge; lane: DesiredLane } | undefined {
  if (desired === undefined) return undefined;
  for (const bridge of desired.bridges.values()) {
    for (const lane of bridge.lanes) {
      if (lane.senderId === desired.nodeId && sameBytes(parseId(lane.laneId), laneId)) return { desired, bridge, lane };
    }
  }
  return undefined;
}
