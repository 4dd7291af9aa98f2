// Owns the road of receipts, resend requests, refusals and reports through the hub. What is allowed is forwarded as the same
// bytes and kept on the bus until it is; what is not is written down and ended. For a node without room a few messages wait and
// the others are let go, because each would hold a place on the line of everybody. None is the only one of its kind: a delivery
// without a receipt is published again, an open receipt asked for again (receipts_wanted), a gap and a refusal told again.

import { type BusMessage, nodeOfSubject } from '@qiao/bus';
import type { ActualState } from '@qiao/contract/node';
import { type Clock, crashPoint, describeError, type Log, type Part } from '@qiao/runtime';
import { hasNoRoom, isFinal } from './failures.ts';
import { InFlight } from './inFlight.ts';
import type { LookAgain } from './lookAgain.ts';
import type { RefusalBook, RefusalNote } from './refusalBook.ts';
import { type VerifiedControl, type VerifyControlPorts, verifyControl } from './verifyControl.ts';

export interface RouteControlPorts extends VerifyControlPorts {
  readonly consume: (signal: AbortSignal) => AsyncIterable<BusMessage>;
  readonly forwardControl: (code: string, bytes: Uint8Array) => Promise<void>;
  readonly refusals: RefusalBook;
  readonly clock: Clock;
  readonly log: Log;
  readonly seen: (nodeId: string, atMs: number) => void;
  /** Where replicas share the database; see lookAgain.ts. */
  readonly lookAgain?: LookAgain;
  readonly reported: (nodeId: string, state: ActualState) => Promise<void>;
}

const LIMITS = { messages: 512, bytes: 16 * 1024 * 1024 };
const RETRY_MS = 1_000;
/** Messages that wait for one node without room, and for all such nodes: each holds a place on the line of everybody. */
const MOST_WAITING = { perNode: 16, all: 256 };

export function routeControlPart(ports: RouteControlPorts): Part {
  return {
    name: 'route-control',
    async run(signal) {
      const inFlight = new InFlight(LIMITS);
      const waiting = new Waiting();
      try {
        for await (const message of ports.consume(signal)) {
          await inFlight.enter(message.data.length);
          void end(ports, waiting, message).finally(() => inFlight.leave(message.data.length));
        }
      } finally {
        await inFlight.drain();
      }
    },
  };
}

/** Which messages wait for nodes without room, by their place in the stream. */
class Waiting {
  readonly #nodeOf = new Map<bigint, string>();

  /** False when too many wait already. One that waits goes on waiting. */
  admit(place: bigint, code: string): boolean {
    if (this.#nodeOf.has(place)) return true;
    const ofNode = [...this.#nodeOf.values()].filter((one) => one === code).length;
    if (this.#nodeOf.size >= MOST_WAITING.all || ofNode >= MOST_WAITING.perNode) return false;
    this.#nodeOf.set(place, code);
    return true;
  }

  leave(place: bigint): void {
    this.#nodeOf.delete(place);
  }
}

/** One silent node keeps its own messages waiting and nobody else's: each is tried again by itself. */
async function end(ports: RouteControlPorts, waiting: Waiting, message: BusMessage): Promise<void> {
  try {
    const fromCode = nodeOfSubject(message.subject);
    const verified = await judge(ports, fromCode, message.data);
    try {
      await carryOut(ports, fromCode, message.data, verified);
    } catch (error) {
      const mayWait = hasNoRoom(error) && waiting.admit(message.sequence, receiverOf(verified));
      if (mayWait || !(hasNoRoom(error) || isFinal(error))) throw error;
      ports.log.warn({ from: message.subject, err: describeError(error) }, 'a control message is dropped');
      await ports.refusals.record(noteOf(ports, fromCode, error));
      crashPoint('route.refusalRecorded');
    }
    waiting.leave(message.sequence);
    message.ack();
  } catch (error) {
    ports.log.warn({ from: message.subject, err: describeError(error) }, 'a control message is tried again');
    message.retryLater(RETRY_MS);
  }
}

/** What memory would refuse is judged again by what is on disk: another replica may have bound a lane a moment ago. */
async function judge(ports: RouteControlPorts, fromCode: string, bytes: Uint8Array): Promise<VerifiedControl> {
  const verified = verifyControl(ports, fromCode, bytes, ports.clock.nowMs());
  if (verified.kind !== 'refused' || verified.code === 'MESSAGE_UNREADABLE') return verified;
  if (ports.lookAgain === undefined) return verified;
  await ports.lookAgain();
  return verifyControl(ports, fromCode, bytes, ports.clock.nowMs());
}

function receiverOf(verified: VerifiedControl): string {
  return verified.kind === 'forward' ? verified.receiver.code : '';
}

function noteOf(
  { clock }: RouteControlPorts,
  fromNode: string,
  { code, message, laneId = '' }: { code: string; message: string; laneId?: string },
): RefusalNote {
  return { atMs: clock.nowMs(), fromNode, bridge: '', laneId, epoch: 0n, sequence: 0n, code, message };
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
      await ports.forwardControl(verified.receiver.code, bytes);
      crashPoint('route.controlForwarded');
      return;
    case 'actualState':
      ports.seen(verified.sender.id, nowMs);
      await ports.reported(verified.sender.id, verified.state);
      crashPoint('route.reported');
      return;
    case 'refused':
      await ports.refusals.record(noteOf(ports, fromCode, verified));
      crashPoint('route.refusalRecorded');
      return;
    default:
      return verified satisfies never;
  }
}
