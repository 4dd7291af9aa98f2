// Bytes from the bus into messages of the contract. Whoever may publish can publish nonsense, so a failure here is an error of
// the message, never of the monitor.

import { QiaoError } from '@qiao/exchange';

/** Throws MESSAGE_UNREADABLE. */
export function readMessage<T>(codec: { decode(bytes: Uint8Array): T }, bytes: Uint8Array, what: string): T {
  try {
    return codec.decode(bytes);
  } catch (cause) {
    throw new QiaoError('MESSAGE_UNREADABLE', `found ${bytes.length} bytes that are no ${what}`, { cause });
  }
}
