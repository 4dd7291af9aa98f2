// Takes deliveries from this node's data stream into the inbox. The bus is acknowledged after the inbox is on disk, never
// before; what cannot be judged yet goes back to the bus for a while, what has no room to its sender; judging order, gaps and
// epochs is apply's work, because only the target's mark knows where a lane stands.

import type { BusMessage } from '@qiao/bus';
import { RefusalFate } from '@qiao/contract/control';
import type { DeliveryHeader } from '@qiao/contract/delivery';
import { parseId, QiaoError, sameBytes } from '@qiao/exchange';
import { type Clock, crashPoint, type Log, type Part, type Wakeup } from '@qiao/runtime';
import { isOver } from '../control/desired.ts';
import type { ExchangeDatabase, LaneIn, LanePlace } from '../exchange-database/index.ts';
import { type Answers, placeOf } from './answer.ts';
import { type Asker, settledBefore } from './ask.ts';
import { hasRoom, type InboxLimits } from './inboxRoom.ts';
import { type IntakePorts, takeIn, type VerifiedDelivery } from './intake.ts';

export interface ReceivePorts extends IntakePorts {
  /** Another process runs under this node's identity: what this one took would be missing at the other's target. */
  isFenced(): boolean;
  /** This node's data stream; ends on abort. */
  consume(signal: AbortSignal): AsyncIterable<BusMessage>;
  readonly database: Pick<ExchangeDatabase, 'transaction' | 'inbox' | 'lanesIn' | 'quarantine'>;
  readonly answers: Answers;
  readonly ask: Asker;
  readonly inboxLimits: InboxLimits;
  /** A delivery is complete in the inbox; its lane may have something to apply. */
  onDelivery(laneId: string): void;
  /** Stops the lane for a person; apply owns the state. */
  stickFork(lane: Uint8Array, version: number, why: string): void;
  /** How long this process has shown the lane as stuck, in milliseconds. */
  stuckForMs(lane: Uint8Array): number;
  /** When a lane is unknown: a newer snapshot is wanted. */
  readonly wantSnapshot: Wakeup;
  readonly clock: Clock;
  readonly log: Log;
}

const UNKNOWN_AGAIN_MS = 2_000;
/** After this a message nobody can place is let go: its sender publishes it again as long as the lane lives. */
const UNKNOWN_FOR_MS = 5 * 60_000;
/** A fork stays visible to the monitor this long before the sender is asked for a new epoch. */
const FORK_SHOWN_MS = 20_000;
const UNKNOWN_LANES_REMEMBERED = 1_000;

export function receivePart(ports: ReceivePorts): Part {
  const unknownSinceMs = new Map<string, number>();
  return {
    name: 'receive',
    async run(signal) {
      refuseWhenFenced(ports);
      for await (const message of ports.consume(signal)) {
        if (signal.aborted) return;
        refuseWhenFenced(ports);
        take(message, ports, unknownSinceMs);
      }
    },
  };
}

/** Throws FENCED; what was pulled and not taken goes back to the bus, or comes again. */
function refuseWhenFenced(ports: ReceivePorts): void {
  if (!ports.isFenced()) return;
  throw new QiaoError('FENCED', 'another process runs under this node’s identity: this one takes nothing more', {
    hint: 'stop the other process, then start this one again',
    fate: 'transient',
  });
}

function take(message: BusMessage, ports: ReceivePorts, unknownSinceMs: Map<string, number>): void {
  const intake = takeIn(message.data, ports);
  switch (intake.kind) {
    case 'delivery':
      takeDelivery(message, intake.delivery, ports);
      return;
    case 'unknown': {
      const sinceMs = unknownSinceMs.get(intake.laneId) ?? ports.clock.elapsedMs();
      if (unknownSinceMs.size < UNKNOWN_LANES_REMEMBERED) unknownSinceMs.set(intake.laneId, sinceMs);
      if (ports.clock.elapsedMs() - sinceMs > UNKNOWN_FOR_MS) {
        ports.log.warn({ code: intake.code, detail: intake.message }, 'delivery let go');
        unknownSinceMs.delete(intake.laneId);
        message.ack();
        return;
      }
      ports.wantSnapshot.wake();
      message.retryLater(UNKNOWN_AGAIN_MS);
      return;
    }
    case 'refused': {
      const { header, lane, code, message: why, fate } = intake;
      refuse(header, lane.senderId, code, why, fate, ports);
      crashPoint('receive.answered');
      message.ack();
      return;
    }
    case 'dropped':
      ports.log.warn({ code: intake.code, detail: intake.message }, 'message dropped');
      message.ack();
      return;
    default:
      intake satisfies never;
  }
}

function takeDelivery(message: BusMessage, delivery: VerifiedDelivery, ports: ReceivePorts): void {
  const { header, bridge, lane } = delivery;
  const place = placeOf(header);
  const { database } = ports;
  if (isOver(bridge, lane) && (database.lanesIn.get(place.lane)?.epoch ?? 0n) === 0n) {
    // A late copy for a lane that ended and was forgotten, or that ended before it began: its sender has closed it in the books.
    // Begun anew it would wait for ever for what nobody sends again, or put the past into the target once more.
    ports.log.info(
      { lane: lane.laneId, sequence: String(place.sequence) },
      'a delivery of a lane that ended is let go',
    );
    message.ack();
    return;
  }
  database.lanesIn.ensure(place.lane, parseId(bridge.bridgeId), parseId(lane.senderId));
  const state = database.lanesIn.get(place.lane);
  if (state === undefined) throw new QiaoError('LANE_UNKNOWN', 'the lane’s row went away', { fate: 'transient' });

  // An ended lane whose destination is gone from the definition has no target left to be applied to.
  const settled = lane.destination === undefined || judge(delivery, state, ports);
  if (settled) {
    crashPoint('receive.answered');
    message.ack();
    return;
  }
  if (!isRoomFor(delivery, state, ports)) {
    const why = 'the inbox has no room for deliveries of this lane that cannot be applied yet';
    refuse(header, lane.senderId, 'DESTINATION_BUSY', why, RefusalFate.RESEND, ports);
    crashPoint('receive.answered');
    message.ack();
    return;
  }
  const received = database.transaction(() => {
    database.lanesIn.seeFencingToken(place.lane, header.fencingToken);
    // A void closes the very place that its rows hold in the inbox: it must not be taken for their duplicate.
    if (header.role?.$case === 'void') database.inbox.remove(place);
    return database.inbox.receive({
      ...place,
      contentHash: header.contentHash,
      header: delivery.signedHeader,
      headerHash: delivery.headerHash,
      parts: header.parts.length,
      part: delivery.part,
      body: delivery.body,
      receivedAtMs: ports.clock.nowMs(),
    });
  });
  if (received === 'fork') {
    // Before the bus is acknowledged, like the inbox: a fork that was met must not be forgotten.
    if (place.epoch > state.epoch) forgetForkedEpoch(place, ports);
    ports.stickFork(place.lane, bridge.version, `sequence ${place.sequence} came with two contents`);
  }
  // Inbox first, then the bus: a crash between leaves a duplicate that the inbox knows, never a hole.
  crashPoint('receive.stored');
  message.ack();
  switch (received) {
    case 'fork':
      return;
    case 'complete':
    case 'known':
      ports.onDelivery(lane.laneId);
      return;
    case 'stored':
      return;
    default:
      received satisfies never;
  }
}

/** True when the delivery needs no place in the inbox: it was answered, refused, or its lane has stopped. */
function judge({ header, lane }: VerifiedDelivery, state: LaneIn, ports: ReceivePorts): boolean {
  const place = placeOf(header);
  if (header.fencingToken < state.fencingToken) {
    // On the bus since before its sender's last start, or from a clone. The live sender publishes it again under its token.
    refuse(
      header,
      lane.senderId,
      'FENCED',
      'its fencing token is older than one seen on this lane',
      RefusalFate.RESEND,
      ports,
      { fencingToken: state.fencingToken },
    );
    return true;
  }
  const isAnother = place.epoch === state.epoch && !sameBytes(place.nonce, state.nonce);
  if (isAnother && state.stuck?.code !== 'FORK') {
    // Its sender lost its exchange database while the hub was restored: both forgot that this number was taken.
    const why = `another epoch ${place.epoch} of the lane was opened here before`;
    refuse(header, lane.senderId, 'EPOCH_TOO_LOW', why, RefusalFate.NEW_EPOCH, ports, { highestEpoch: state.epoch });
    return true;
  }
  const isApplied =
    place.epoch < state.epoch || (place.epoch === state.epoch && place.sequence <= state.appliedSequence);
  if (isApplied) {
    if (ports.answers.giveAgain(place, header.contentHash, header.senderId)) return true;
    if (place.epoch < state.epoch) {
      const why = `epoch ${place.epoch} was closed by epoch ${state.epoch}`;
      refuse(header, lane.senderId, 'EPOCH_CLOSED', why, RefusalFate.NEW_EPOCH, ports, { highestEpoch: state.epoch });
      return true;
    }
    // Not openings: a sender that has nothing settled says 0 as well. Nor what waits again in a restored target: it was asked for.
    const isSettled = place.sequence > 0n && place.sequence <= state.settledThrough;
    if (isSettled && !ports.database.quarantine.ofDelivery(place).some((row) => row.state === 'open')) {
      ports.ask.refuse(settledBefore({ ...place, senderId: lane.senderId, contentHash: header.contentHash }));
      return true;
    }
  }
  if (state.stuck?.code === 'FORK' && place.epoch <= state.epoch) {
    if (ports.stuckForMs(place.lane) > FORK_SHOWN_MS) {
      refuse(header, lane.senderId, 'FORK', state.stuck.message, RefusalFate.NEW_EPOCH, ports, {
        highestEpoch: state.epoch,
      });
    }
    return true;
  }
  return false;
}

/** An epoch that forked before it was opened here is taken as the present one, so that only a later one goes on. */
function forgetForkedEpoch(place: LanePlace & { readonly nonce: Uint8Array }, { database, clock }: ReceivePorts): void {
  const { lane, epoch, nonce } = place;
  database.transaction(() => {
    database.inbox.removeLane(lane);
    database.lanesIn.setPoint(lane, { epoch, nonce, sequence: -1n, chain: new Uint8Array(0) }, clock.nowMs());
  });
}

function isRoomFor({ header, bridge }: VerifiedDelivery, state: LaneIn, ports: ReceivePorts): boolean {
  const { inbox } = ports.database;
  const place = placeOf(header);
  const isNext =
    place.sequence === 0n || (place.epoch === state.epoch && place.sequence === state.appliedSequence + 1n);
  return hasRoom({
    isNext,
    lane: isNext ? { bytes: 0, deliveries: 0 } : inbox.waiting(place.lane),
    total: isNext ? { bytes: 0 } : inbox.total(),
    windowBytes: bridge.definition.windowBytes,
    limits: ports.inboxLimits,
  });
}

function refuse(
  header: DeliveryHeader,
  senderId: string,
  code: string,
  message: string,
  fate: RefusalFate,
  ports: ReceivePorts,
  more: { readonly highestEpoch?: bigint; readonly fencingToken?: bigint } = {},
): void {
  const place = placeOf(header);
  ports.ask.refuse({
    lane: place.lane,
    senderId,
    epoch: place.epoch,
    nonce: place.nonce,
    sequence: place.sequence,
    contentHash: header.contentHash,
    code,
    message,
    hint: '',
    fate,
    ...more,
  });
}
