/** Opens the bus: see `Bus`. */
import type { Bus } from './bus.ts';
import { Connection, type ConnectionOptions } from './connection.ts';
import { NatsBus } from './natsBus.ts';

export type ConnectBusOptions = ConnectionOptions;

/**
 * Resolves after the first attempt, whether it succeeded or not (`isConnected` tells), and reconnects for ever.
 * Throws BUS_CREDENTIALS_BAD (permanent) when the user JWT or its seed cannot be read.
 */
export async function connectBus(options: ConnectBusOptions): Promise<Bus> {
  return new NatsBus(await Connection.open(options), options.log);
}
