/** Streams and consumers: the hub's alone. */
import type { Log } from '@qiao/runtime';
import type { Bus } from './bus.ts';

export interface BusAdministrationOptions {
  /** A bus connected with a hub user. */
  readonly bus: Bus;
  readonly platform: string;
  readonly log: Log;
  /** 1 for a single server, 3 in a cluster. Default 1. */
  readonly replicas?: number;
  readonly sizes?: Partial<BusSizes>;
}

/** Upper limits of the streams in bytes; the server reserves their sum, so its `maxStoreBytes` must hold them. */
export interface BusSizes {
  readonly upDataBytes: number;
  readonly upControlBytes: number;
  readonly telemetryBytes: number;
  /** A node's share: what may wait for it on the bus. */
  readonly nodeDataBytes: number;
  readonly nodeControlBytes: number;
}

export interface BusNode {
  readonly code: string;
  readonly role: 'agent' | 'monitor';
  /** Overrides `nodeDataBytes` for this node. */
  readonly dataBytes?: number;
}

/** How full a node's share is. */
export interface ShareUse {
  readonly messages: number;
  readonly bytes: number;
  readonly maxBytes: number;
}

export class BusAdministration {
  constructor(_options: BusAdministrationOptions) {}
  /** Makes or mends the platform's streams and consumers. Idempotent. */
  async ensureStreams(): Promise<void> {
    throw new Error('not built yet');
  }
  async ensureNode(_node: BusNode): Promise<void> {
    throw new Error('not built yet');
  }
  async removeNode(_code: string): Promise<void> {
    throw new Error('not built yet');
  }
  async shareOf(_code: string, _line: 'data' | 'control'): Promise<ShareUse> {
    throw new Error('not built yet');
  }
}
