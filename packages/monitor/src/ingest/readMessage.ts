// Bytes from the bus into messages of the contract. Whoever may publish can publish nonsense, so a failure here is an error of
// the message, never of the monitor.

import { type FieldLimits, isWithin, QiaoError } from '@qiao/exchange';

interface Codec<T> {
  decode(bytes: Uint8Array): T;
}

/** Throws MESSAGE_UNREADABLE, also when the message holds more than `limits`. */
export function readMessage<T>(codec: Codec<T>, bytes: Uint8Array, what: string, limits: FieldLimits = {}): T {
  try {
    if (!isWithin(bytes, limits)) throw new Error('it holds more than such a message may');
    return codec.decode(bytes);
  } catch (cause) {
    throw new QiaoError('MESSAGE_UNREADABLE', `found ${bytes.length} bytes that are no ${what}`, { cause });
  }
}
