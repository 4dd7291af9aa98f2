// The snapshot of a simulated run: one bridge of one table, from one sender to one or two receivers.

import { BridgeState } from '@qiao/contract/node';
import { type BridgeDefinition, parseId } from '@qiao/exchange';
import type { Desired } from '../control/desired.ts';
import type { World } from './node.testing.ts';

export const PLATFORM = 'e'.repeat(32);
export const BRIDGE = 'b'.repeat(32);
export const SENDER = 'c'.repeat(32);
export const TABLE = 'person';

/** What the hub lets a node know now. Certificates are the node's id: see `trust`. */
export function desiredOf(nodeId: string, number: bigint, world: World): Desired {
  const { definition, peers } = settingFor(world);
  return {
    platformId: PLATFORM,
    platformCode: 'demo',
    nodeId,
    generation: 1n,
    number,
    timeZone: 'Asia/Shanghai',
    fencingToken: 0n,
    bridges: new Map([
      [
        BRIDGE,
        {
          bridgeId: BRIDGE,
          name: 'people',
          version: 1,
          state: BridgeState.RUNNING,
          definition,
          lanes: world.lanes.map(({ laneId, receiverId }, index) => ({
            laneId,
            senderId: SENDER,
            receiverId,
            destinationIndex: index,
            destination: definition.destinations[index],
            highestEpoch: world.highestEpoch(laneId),
            ended: false,
          })),
          runNumber: 0n,
          allowedDeletes: 0n,
        },
      ],
    ]),
    monitors: [],
    peers,
  };
}

interface Setting {
  readonly definition: BridgeDefinition;
  readonly peers: Desired['peers'];
}

const settings = new Map<string, Setting>();

/** What no snapshot of these lanes changes. */
function settingFor({ lanes }: World): Setting {
  const nodes = [SENDER, ...lanes.map(({ receiverId }) => receiverId)];
  let setting = settings.get(nodes.join());
  if (setting === undefined) {
    setting = { definition: definitionFor(lanes.length), peers: new Map(nodes.map((id) => [id, peer(id)])) };
    settings.set(nodes.join(), setting);
  }
  return setting;
}

function peer(id: string) {
  return {
    nodeId: id,
    code: id.slice(0, 4),
    departmentCode: id.slice(0, 4),
    departmentTitle: id.slice(0, 4),
    certificate: parseId(id),
    sealingKey: parseId(id),
    readsFormat: 1,
    fencingToken: 0n,
    revoked: false,
  };
}

function definitionFor(destinations: number): BridgeDefinition {
  return {
    kind: 'Bridge',
    name: 'people',
    title: '人口',
    source: {
      node: 'source',
      dataSource: 'his',
      capture: 'compare',
      tables: [{ name: TABLE, key: ['id'], columns: ['id', 'value'], transform: [], checks: [] }],
    },
    schedule: { kind: 'manual' },
    destinations: Array.from({ length: destinations }, (_, index) => ({
      node: `target${index}`,
      dataSource: 'target',
      tables: {
        [TABLE]: { to: TABLE, ownership: 'whole', landing: 'mirror', onDelete: 'delete', mark: 'target' },
      },
    })),
    lateAfterMs: 300_000,
    explainedAlertShare: 1,
    windowBytes: 400,
    stopAfterQuarantined: 1_000,
    deleteGuard: { rows: 1_000, share: 0.05 },
  };
}
