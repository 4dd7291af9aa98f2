/**
 * Which messages a consumer gave to a line that broke. It waits for their acknowledgement until the ack wait — long, because megabytes
 * travel a slow line inside it — while the reader knows, before it has asked for anything over the next line, that nothing is on its way.
 * A reply subject is only a place (nats-server ADR-15), so that it can be said of a message that never came; one that is
 * acknowledged already, or held, is passed over by the server, or here.
 */
import { ACK_PREFIX } from './names.ts';

/** What CONSUMER.INFO says of a consumer. */
export interface ConsumerState {
  /** Messages given out and not acknowledged. */
  readonly num_ack_pending: number;
  readonly delivered: ConsumerPlace;
  readonly ack_floor: ConsumerPlace;
}

interface ConsumerPlace {
  /** Counted in deliveries of this consumer. */
  readonly consumer_seq: number;
  /** Sequence in the stream. */
  readonly stream_seq: number;
}

/** Past this, acknowledged messages lie between few that wait: those far behind the floor wait for the ack wait. */
const MOST_PLACES = 10_000;

/** Reply subjects for what was given out and is not held, oldest first. Acknowledged messages may be among them. */
export function lostMessages(
  stream: string,
  consumer: string,
  { num_ack_pending: pending, delivered, ack_floor: floor }: ConsumerState,
  held: ReadonlySet<bigint>,
): string[] {
  if (pending <= held.size) return [];
  const first = floor.stream_seq + 1;
  const count = Math.max(0, Math.min(delivered.stream_seq - floor.stream_seq, MOST_PLACES));
  return Array.from({ length: count }, (_, index) => first + index)
    .filter((sequence) => !held.has(BigInt(sequence)))
    .map((sequence) => ackPlace(stream, consumer, sequence, delivered.consumer_seq));
}

/** Where an answer to a message goes, said by its place alone. */
export function ackPlace(stream: string, consumer: string, sequence: number, deliveries: number): string {
  return `${ACK_PREFIX}${stream}.${consumer}.1.${sequence}.${deliveries}.0.0`;
}
