// What the newest snapshot names, whether or not this node may run it: a bridge that is refused here for a moment is not gone.

import type { NodeSnapshot } from '@qiao/contract/node';

export interface Named {
  /** Ids as hexadecimal text. */
  readonly bridges: ReadonlySet<string>;
  readonly lanes: ReadonlySet<string>;
}

export function namedIn(snapshot: NodeSnapshot): Named {
  const hex = (id: Uint8Array) => Buffer.from(id).toString('hex');
  return {
    bridges: new Set(snapshot.bridges.map(({ bridgeId }) => hex(bridgeId))),
    lanes: new Set(snapshot.bridges.flatMap(({ lanes }) => lanes.map(({ laneId }) => hex(laneId)))),
  };
}
