// Owns what the hub does for the bus at every connect and now and then: streams and consumers of the platform and of every
// node, and revocations the bus may have missed. A bus that lost its disks is whole again after one round.

import { describeError, type Log, type Part, type Wakeup } from '@qiao/runtime';
import type { HubDatabase } from './hubDatabase.ts';

export interface BusUpkeepPorts {
  readonly store: HubDatabase;
  readonly log: Log;
  readonly isConnected: () => boolean;
  /** One replica does it for all; the others find it done. */
  readonly isLeader: () => boolean;
  readonly ensureStreams: () => Promise<void>;
  readonly ensureNode: (code: string, role: 'agent' | 'monitor') => Promise<void>;
  /**
   * Voids users that the bus does not know as void yet, as the registry says, and tells it of all of them; what the nodes wait for
   * goes on.
   */
  readonly revoke: () => Promise<void>;
  /** Woken at every connect, and when this replica begins to lead. */
  readonly wakeup: Wakeup;
  /** A round went through. */
  readonly onReady: () => void;
}

const EVERY_MS = 60_000;
const AGAIN_MS = 2_000;

export function busUpkeepPart(ports: BusUpkeepPorts): Part {
  return {
    name: 'bus-upkeep',
    async run(signal) {
      while (!signal.aborted) {
        const isDone = ports.isConnected() && (!ports.isLeader() || (await round(ports)));
        if (isDone) ports.onReady();
        await ports.wakeup.wait(isDone ? EVERY_MS : AGAIN_MS, signal);
      }
    },
  };
}

async function round(ports: BusUpkeepPorts): Promise<boolean> {
  try {
    await ports.ensureStreams();
  } catch (error) {
    ports.log.warn({ err: describeError(error) }, 'the platform’s streams are not ready');
    return false;
  }
  let isDone = true;
  for (const { code, role } of await joinedNodes(ports.store)) {
    try {
      await ports.ensureNode(code, role);
    } catch (error) {
      // One node without room must not keep the others from theirs.
      isDone = false;
      ports.log.warn({ node: code, err: describeError(error) }, 'the streams of a node are not ready');
    }
  }
  try {
    await ports.revoke();
  } catch (error) {
    isDone = false;
    ports.log.warn({ err: describeError(error) }, 'the bus was not told of every revocation');
  }
  return isDone;
}

async function joinedNodes(store: HubDatabase): Promise<{ code: string; role: 'agent' | 'monitor' }[]> {
  const rows = await store
    .selectFrom('nodes')
    .select(['code', 'role'])
    .where('status', '=', 'joined')
    .where('role', '<>', 'operator')
    .execute();
  return rows.map(({ code, role }) => ({ code, role: role === 'monitor' ? 'monitor' : 'agent' }));
}
