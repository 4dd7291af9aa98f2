// Every few seconds one signed sentence to the monitor: this node lives, its data sources, services and machine are so.
// A heartbeat is never queued: the next one says more than an old one would.

import { type DataSourceState, Heartbeat, type HostState, type ServiceState } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { parseId, QiaoError } from '@qiao/exchange';
import type { Clock, Log, Part } from '@qiao/runtime';

export interface HeartbeatPorts {
  readonly node: { nodeId: string; code: string; departmentCode: string; departmentTitle: string };
  readonly version: string;
  readonly exchangeDatabaseId: () => Uint8Array;
  dataSources(): DataSourceState[];
  services(): ServiceState[];
  host(): HostState;
  /** Highest number given out in this node's books. */
  booksNumber(): bigint;
  sign(payload: Uint8Array): Signed;
  publish(bytes: Uint8Array): Promise<void>;
  /** Pause between two heartbeats; HEARTBEAT_EVERY_MS when not given. */
  readonly everyMs?: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** Between two heartbeats, when agent.yaml does not say. */
export const HEARTBEAT_EVERY_MS = 5_000;

export function heartbeatPart(ports: HeartbeatPorts): Part {
  const startedAtMs = ports.clock.nowMs();
  return {
    name: 'heartbeat',
    async run(signal) {
      while (!signal.aborted) {
        await beat(ports, startedAtMs);
        await ports.clock.sleep(ports.everyMs ?? HEARTBEAT_EVERY_MS, signal);
      }
    },
  };
}

async function beat(ports: HeartbeatPorts, startedAtMs: number): Promise<void> {
  const heartbeat = Heartbeat.fromPartial({
    nodeId: parseId(ports.node.nodeId),
    nodeCode: ports.node.code,
    departmentCode: ports.node.departmentCode,
    departmentTitle: ports.node.departmentTitle,
    atMs: BigInt(ports.clock.nowMs()),
    intervalMs: ports.everyMs ?? HEARTBEAT_EVERY_MS,
    version: ports.version,
    dataSources: ports.dataSources(),
    services: ports.services(),
    host: ports.host(),
    booksNumber: ports.booksNumber(),
    exchangeDatabaseId: ports.exchangeDatabaseId(),
    startedAtMs: BigInt(startedAtMs),
  });
  try {
    await ports.publish(Signed.encode(ports.sign(Heartbeat.encode(heartbeat).finish())).finish());
  } catch (error) {
    // The bus being away is the monitor's alert (NODE_SILENT), not a failure of this part.
    if (!(error instanceof QiaoError) || error.fate === 'permanent') throw error;
    ports.log.debug({ code: error.code }, 'heartbeat not sent');
  }
}
