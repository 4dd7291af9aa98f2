// Owns the road of receipts, resend requests, refusals and reports through the hub. What is allowed is forwarded as the same
// bytes and kept on the bus until it is; what is not is written down and ended.

import { type BusMessage, nodeOfSubject } from '@qiao/bus';
import type { ActualState } from '@qiao/contract/node';
import { type Clock, describeError, type Log, type Part } from '@qiao/runtime';
import { InFlight } from './in-flight.ts';
import type { RefusalBook } from './refusal-book.ts';
import { type VerifiedControl, type VerifyControlPorts, verifyControl } from './verify-control.ts';

export interface RouteControlPorts extends VerifyControlPorts {
  readonly consume: (signal: AbortSignal) => AsyncIterable<BusMessage>;
  readonly forwardControl: (code: string, bytes: Uint8Array) => Promise<void>;
  readonly refusals: RefusalBook;
  readonly clock: Clock;
  readonly log: Log;
  readonly seen: (nodeId: string, atMs: number) => void;
  readonly reported: (nodeId: string, state: ActualState) => Promise<void>;
}

const LIMITS = { messages: 512, bytes: 16 * 1024 * 1024 };
const RETRY_MS = 1_000;

export function routeControlPart(ports: RouteControlPorts): Part {
  return {
    name: 'route-control',
    async run(signal) {
      const inFlight = new InFlight(LIMITS);
      try {
        for await (const message of ports.consume(signal)) {
          await inFlight.enter(message.data.length);
          void end(ports, message).finally(() => inFlight.leave(message.data.length));
        }
      } finally {
        await inFlight.drain();
      }
    },
  };
}

/** One silent node keeps its own messages waiting and nobody else's: each is tried again by itself. */
async function end(ports: RouteControlPorts, message: BusMessage): Promise<void> {
  try {
    const fromCode = nodeOfSubject(message.subject);
    const verified = verifyControl(ports, fromCode, message.data);
    await carryOut(ports, fromCode, message.data, verified);
    message.ack();
  } catch (error) {
    ports.log.warn({ from: message.subject, err: describeError(error) }, 'a control message is tried again');
    message.retryLater(RETRY_MS);
  }
}

async function carryOut(
  ports: RouteControlPorts,
  fromCode: string,
  bytes: Uint8Array,
  verified: VerifiedControl,
): Promise<void> {
  const nowMs = ports.clock.nowMs();
  switch (verified.kind) {
    case 'forward':
      ports.seen(verified.sender.id, nowMs);
      return await ports.forwardControl(verified.receiver.code, bytes);
    case 'actualState':
      ports.seen(verified.sender.id, nowMs);
      return await ports.reported(verified.sender.id, verified.state);
    case 'refused': {
      const { code, message, laneId } = verified;
      const note = { atMs: nowMs, fromNode: fromCode, bridge: '', laneId, epoch: 0n, sequence: 0n, code, message };
      return await ports.refusals.record(note);
    }
    default:
      return verified satisfies never;
  }
}
