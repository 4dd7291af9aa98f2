// What the newest snapshot names, whether or not this node may run it: a bridge that is refused here for a moment is not gone.

import type { BridgeAssignment, NodeSnapshot } from '@qiao/contract/node';
import { isOver } from '../control/desired.ts';

export interface Named {
  /** Ids as hexadecimal text. */
  readonly bridges: ReadonlySet<string>;
  readonly lanes: ReadonlySet<string>;
  /** Bridges with a lane that still ends here; the hub names the others for a while after they ended. */
  readonly landing: ReadonlySet<string>;
}

export function namedIn(snapshot: NodeSnapshot): Named {
  return {
    bridges: new Set(snapshot.bridges.map(({ bridgeId }) => hex(bridgeId))),
    lanes: new Set(snapshot.bridges.flatMap(({ lanes }) => lanes.map(({ laneId }) => hex(laneId)))),
    landing: new Set(
      snapshot.bridges.filter((bridge) => landsAt(bridge, hex(snapshot.nodeId))).map(({ bridgeId }) => hex(bridgeId)),
    ),
  };
}

/** Whether a lane of the bridge still ends at this node. */
export function landsAt(bridge: Pick<BridgeAssignment, 'state' | 'lanes'>, nodeId: string): boolean {
  return bridge.lanes.some((lane) => !isOver(bridge, lane) && hex(lane.receiverId) === nodeId);
}

function hex(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('hex');
}
