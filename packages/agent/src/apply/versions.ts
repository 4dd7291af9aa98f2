// Which definition a delivery lands under: the one it was captured with. A bridge may have gone on since, and its tables or names
// may be others now; what is under way still means the old ones. Definitions are kept as the hub signed them.

import type { NodeSnapshot } from '@qiao/contract/node';
import { type BridgeDefinition, type Destination, parseBridgeJson, parseId, QiaoError } from '@qiao/exchange';
import { landsAt } from '../cleaning/named.ts';
import type { DesiredBridge, DesiredLane } from '../control/desired.ts';
import type { ExchangeDatabase } from '../exchange-database/index.ts';

/** Keeps the definition of every bridge with a lane that still ends at this node; the snapshot itself holds that of one that is over. */
export function keepDefinitions(
  database: Pick<ExchangeDatabase, 'transaction' | 'bridgeVersions'>,
  snapshot: NodeSnapshot,
  nodeId: string,
  atMs: number,
): void {
  database.transaction(() => {
    for (const bridge of snapshot.bridges) {
      if (bridge.bridgeId.length !== 16 || !landsAt(bridge, nodeId)) continue;
      database.bridgeVersions.keep(bridge.bridgeId, bridge.version, bridge.definitionJson, atMs);
    }
  });
}

export interface LandingDefinition {
  readonly definition: BridgeDefinition;
  readonly destination: Destination | undefined;
}

/**
 * Definition and destination for a delivery captured under `version`. Throws VERSION_AHEAD (transient: the snapshot is on its
 * way) and VERSION_REFUSED (permanent: this node does not know what the rows meant; the sender brings them again under the
 * present version).
 */
export function definitionFor(
  bridge: DesiredBridge,
  lane: DesiredLane,
  version: number,
  versions: ExchangeDatabase['bridgeVersions'],
): LandingDefinition {
  if (version === bridge.version) return { definition: bridge.definition, destination: lane.destination };
  if (version > bridge.version) {
    throw new QiaoError(
      'VERSION_AHEAD',
      `the delivery was captured under version ${version}, this node runs ${bridge.version}`,
      { hint: 'it waits for the hub’s snapshot', fate: 'transient' },
    );
  }
  const json = versions.get(parseId(bridge.bridgeId), version);
  const definition = json === undefined ? undefined : parsed(json);
  // Places in the list of destinations move; node and data source name one for good.
  const { destination: now } = lane;
  const destination = definition?.destinations.find(
    ({ node, dataSource }) => node === now?.node && dataSource === now.dataSource,
  );
  if (definition === undefined || (destination === undefined && now !== undefined)) {
    throw new QiaoError(
      'VERSION_REFUSED',
      `the delivery was captured under version ${version}, of which this node keeps no definition; it runs ${bridge.version}`,
      { hint: 'nothing to do: its sender cancels it and brings the rows again' },
    );
  }
  return { definition, destination };
}

/** A definition that an older program wrote may not be readable any more: then it is as if it were not kept. */
function parsed(json: string): BridgeDefinition | undefined {
  try {
    return parseBridgeJson(json);
  } catch {
    return undefined;
  }
}
