// Owns what a failure means for the message that met it. The line is everybody's, and what is tried again holds a place on it:
// only what passes by itself, and is not one node's own affair, may be tried without end.

import { QiaoError } from '@qiao/exchange';

/** The node's share of the bus is full, or its stream is gone. */
const NO_ROOM = new Set(['NODE_SHARE_FULL', 'STREAM_FULL', 'STREAM_MISSING']);
/** Permanent for this process's connection; the message itself is fine. */
const OF_THE_LINE = new Set(['BUS_CLOSED', 'BUS_DENIED']);

/** A publish found no room for the node that it was for. */
export function hasNoRoom(error: unknown): error is QiaoError {
  return error instanceof QiaoError && NO_ROOM.has(error.code);
}

/** Trying again would meet the same failure for ever. */
export function isFinal(error: unknown): error is QiaoError {
  return error instanceof QiaoError && error.fate === 'permanent' && !OF_THE_LINE.has(error.code);
}
