// Joining as the platform's monitor: the identity, and a first monitor.yaml with comments.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createBusUserKey } from '@qiao/bus';
import { callJoin } from '@qiao/rpc';
import type { Clock } from '@qiao/runtime';
import { joinPlatform, type NodeIdentity } from '@qiao/security';
import { identityDirectory } from './config.ts';

export interface JoinMonitorOptions {
  readonly directory: string;
  readonly token: string;
  /** host:port for the CLI. */
  readonly listen: string;
  /** host:port for browsers. */
  readonly boardListen: string;
  readonly clock: Clock;
}

/** Throws what joinPlatform throws. An existing monitor.yaml is left as it is. */
export async function joinMonitor(options: JoinMonitorOptions): Promise<NodeIdentity> {
  const identity = await joinPlatform({
    token: options.token,
    role: 'monitor',
    directory: identityDirectory(options.directory),
    readsFormat: 0,
    callHub: callJoin,
    createBusUser: () => createBusUserKey(),
    nowMs: () => options.clock.nowMs(),
  });
  const file = join(options.directory, 'monitor.yaml');
  if (!existsSync(file)) writeFileSync(file, sample(options), { mode: 0o600 });
  return identity;
}

function sample({ listen, boardListen }: JoinMonitorOptions): string {
  return `# The monitor's configuration. Unknown keys are errors.

# Where the CLI calls (gRPC over TLS, client certificates required).
listen: ${listen}

board:
  # Where browsers reach the health board; https when this is not a loopback address.
  listen: ${boardListen}
  # Further host names under which browsers reach it.
  hosts: []

alerts:
  # A node without a heartbeat for so long is silent.
  nodeSilentAfterMs: 20000
  # A service that retries so long is down.
  serviceDownAfterMs: 10000
`;
}
