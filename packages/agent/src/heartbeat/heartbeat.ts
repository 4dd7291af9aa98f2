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
  /** How often an agent started on that exchange database, this start included. */
  readonly start: bigint;
  /** The newest token that exchange database worked under; 0n for none. */
  fencingToken(): bigint;
  dataSources(): DataSourceState[];
  services(): ServiceState[];
  host(): HostState;
  /** Highest number given out in this node's books. */
  booksNumber(): bigint;
  /** Up to which number the monitor held them, by its last word. */
  booksThrough(): bigint;
  /** When the oldest entry that the monitor is not known to hold was made; undefined for none. */
  booksWaitingSinceMs(): number | undefined;
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
  // Outlives a failure of the part: what the monitor goes by is never said twice.
  let beats = 0n;
  return {
    name: 'heartbeat',
    async run(signal) {
      while (!signal.aborted) {
        beats += 1n;
        await beat(ports, startedAtMs, beats);
        await ports.clock.sleep(ports.everyMs ?? HEARTBEAT_EVERY_MS, signal);
      }
    },
  };
}

async function beat(ports: HeartbeatPorts, startedAtMs: number, number: bigint): Promise<void> {
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
    booksThrough: ports.booksThrough(),
    booksWaitingSinceMs: BigInt(ports.booksWaitingSinceMs() ?? 0),
    exchangeDatabaseId: ports.exchangeDatabaseId(),
    startedAtMs: BigInt(startedAtMs),
    fencingToken: ports.fencingToken(),
    start: ports.start,
    beat: number,
  });
  try {
    await ports.publish(Signed.encode(ports.sign(Heartbeat.encode(heartbeat).finish())).finish());
  } catch (error) {
    // The bus being away is the monitor's alert (NODE_SILENT), not a failure of this part.
    if (!(error instanceof QiaoError) || error.fate === 'permanent') throw error;
    ports.log.debug({ code: error.code }, 'heartbeat not sent');
  }
}
