/** Opens the bus: see `Bus`. */
import type { Log } from '@qiao/runtime';
import type { Bus, BusAddress, BusCredentials } from './bus.ts';

export interface ConnectBusOptions extends BusAddress {
  /** Shown in the server's connection list. */
  readonly name: string;
  /** Read again at every attempt when it is a function, so that a renewed JWT is picked up. */
  readonly credentials: BusCredentials | (() => BusCredentials);
  /** See `inboxPrefix` in names.ts. */
  readonly inboxPrefix: string;
  readonly log: Log;
}

/**
 * Resolves after the first attempt, whether it succeeded or not (`isConnected` tells), and reconnects for ever.
 * Throws BUS_CREDENTIALS_BAD (permanent) when the seed or the authority cannot be read.
 */
export async function connectBus(_options: ConnectBusOptions): Promise<Bus> {
  throw new Error('not built yet');
}
