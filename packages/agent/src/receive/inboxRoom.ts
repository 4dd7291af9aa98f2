// Whether the inbox takes one more delivery. Each lane has a budget of its own, so that one whose deliveries can never be put in
// order fills its own share and nobody else's; the next delivery of a lane is always taken, because a full inbox of early ones
// would otherwise wait for ever for the one that is missing. What is not taken goes back to its sender's outbox: the bus is no queue.

export interface Held {
  readonly bytes: number;
  readonly deliveries: number;
}

export interface InboxLimits {
  /** Of the whole inbox. */
  readonly bytes: number;
  /** Of one lane; a lane whose bridge allows a larger window may hold that. */
  readonly laneBytes: number;
  readonly laneDeliveries: number;
}

/** In an inbox that is full a lane may still hold this much: it would otherwise crawl from delivery to delivery. */
const FLOOR: Held = { bytes: 8 * 1024 * 1024, deliveries: 32 };
/** A window counts stored bytes; sealed parts and headers are a little more. */
const WINDOW_ROOM = 1.25;

export function hasRoom(facts: {
  readonly isNext: boolean;
  readonly lane: Held;
  readonly total: Pick<Held, 'bytes'>;
  /** The window of the lane's bridge, bytes. */
  readonly windowBytes: number;
  readonly limits: InboxLimits;
}): boolean {
  const { isNext, lane, total, windowBytes, limits } = facts;
  if (isNext) return true;
  const laneBytes = Math.max(limits.laneBytes, windowBytes * WINDOW_ROOM);
  if (lane.bytes >= laneBytes || lane.deliveries >= limits.laneDeliveries) return false;
  return total.bytes < limits.bytes || (lane.bytes < FLOOR.bytes && lane.deliveries < FLOOR.deliveries);
}
