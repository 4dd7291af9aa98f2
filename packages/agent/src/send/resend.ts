/** A receiver asks for part of a lane again: what is kept is published again, what is not kept needs a new epoch and a load. */
import type { ResendRequest } from '@qiao/contract/control';
import { sameBytes } from '@qiao/exchange';
import type { LaneOut } from '../exchange-database/index.ts';
import { type LanePorts, laneOfSnapshot, mayOpenEpochs, openEpoch } from './lanes.ts';
import { hearPlace } from './place.ts';
import type { ResendAnswer } from './ports.ts';

const PAGE = 500;

/** Marks deliveries to be published again, in order, whatever was answered before. One transaction. */
export function resendDeliveries(ports: LanePorts, request: ResendRequest): ResendAnswer {
  const { database } = ports;
  return database.transaction((): ResendAnswer => {
    const { requestId } = request;
    const lane = database.lanesOut.get(request.laneId);
    if (lane === undefined || lane.phase === 'ended') return { kind: 'unknownLane' };
    if (request.isPlace) return hearPlace(ports, lane, request);
    // What it asked for may be settled and purged by now: taken again, it would cost a new epoch and a whole load.
    if (requestId.length > 0 && database.resendsTaken.has(lane.lane, requestId)) return { kind: 'known' };
    const answer = resend(ports, lane, request);
    // Only an answer to it uses a request up. Of another epoch it says the same the next time: it never names this one.
    const isTaken = answer.kind === 'resending' || answer.kind === 'reopened';
    if (isTaken && requestId.length > 0) database.resendsTaken.add(lane.lane, requestId);
    return answer;
  });
}

function resend(ports: LanePorts, lane: LaneOut, request: ResendRequest): ResendAnswer {
  const { deliveriesOut } = ports.database;
  const { epoch } = request;
  if (epoch === undefined || epoch.ordinal !== lane.epoch || !sameBytes(epoch.nonce, lane.nonce)) {
    // The receiver speaks of another epoch: what it lacks first is the opening of this one.
    for (const opening of deliveriesOut.range(lane.lane, lane.epoch, 0n, 0n, 1)) {
      if (opening.answer === 'awaited') deliveriesOut.markRecorded(opening);
    }
    return { kind: 'otherEpoch' };
  }
  const last = request.lastSequence === 0n ? lane.lastSequence : min(request.lastSequence, lane.lastSequence);
  let next = request.firstSequence;
  let deliveries = 0;
  while (next <= last) {
    const page = deliveriesOut.range(lane.lane, lane.epoch, next, last, PAGE);
    for (const delivery of page) {
      if (delivery.sequence !== next) break;
      next += 1n;
      if (delivery.answer === 'closed') continue;
      // Asked for before, and waiting for the window, or for its receipt: one that is lost meanwhile is soon not under way any more.
      const isUnderWay = delivery.asked && (delivery.bus === 'recorded' || delivery.dueAtMs > ports.clock.nowMs());
      if (!isUnderWay) deliveriesOut.markRecorded(delivery);
      deliveries += 1;
    }
    if (page.at(-1)?.sequence !== next - 1n) return reopen(ports, lane);
  }
  return { kind: 'resending', deliveries };
}

/** The bodies were purged after their retention: only a comparison of both ends can help, and a load is one. */
function reopen(ports: LanePorts, lane: LaneOut): ResendAnswer {
  const known = laneOfSnapshot(ports.desired.current(), lane.lane);
  if (known === undefined || !mayOpenEpochs(ports)) return { kind: 'unknownLane' };
  openEpoch(ports, known.bridge, known.lane, lane.epoch + 1n, 'loading', {
    code: 'EPOCH_CLOSED',
    reason: 'the destination asked for deliveries that are past their retention',
  });
  return { kind: 'reopened' };
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
