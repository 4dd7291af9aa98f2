/**
 * Refusals by fate: send again later, close by a void, stop the lane, begin a new epoch. A refusal that speaks of an older
 * attempt or of something that is over changes nothing.
 */
import { type Refusal, RefusalFate } from '@qiao/contract/control';
import { MOST_TOKENS_AHEAD, sameBytes } from '@qiao/exchange';
import type { DeliveryOut, LaneOut } from '../exchange-database/index.ts';
import { type LanePorts, laneOfSnapshot, mayOpenEpochs, openEpoch } from './lanes.ts';
import { owe } from './owed.ts';
import type { RefusalAnswer, SendPorts } from './ports.ts';
import { advanceSettled, bookSettlement, contentHashOf, moveAnswer } from './settle.ts';

/** Pause after the first "later", doubled with each further one in a row. */
const LATER_FIRST_MS = 500;
const LATER_MOST_MS = 60_000;

/** Whether the lane waits because of a refusal. No pause is longer than the longest, whatever became of the clock since. */
export function isPaused({ pausedUntilMs }: Pick<LaneOut, 'pausedUntilMs'>, nowMs: number): boolean {
  return pausedUntilMs > nowMs && pausedUntilMs - nowMs <= LATER_MOST_MS;
}

type RefusalPorts = LanePorts & Pick<SendPorts, 'onOutbid'>;

/** Answers a verified refusal in one transaction and writes it into the books, for the operator's eyes. */
export function handleRefusal(ports: RefusalPorts, refusal: Refusal): RefusalAnswer {
  const { database, clock } = ports;
  return database.transaction((): RefusalAnswer => {
    const lane = refusal.laneId.length === 16 ? database.lanesOut.get(refusal.laneId) : undefined;
    // A busy destination says so once per delivery and attempt: the first of a row tells it all.
    const isRepeated = refusal.fate === RefusalFate.RESEND && (lane?.refusalsInRow ?? 0) > 0;
    if (!isRepeated) database.books.append({ $case: 'refusal', value: refusal }, clock.nowMs());
    if (lane === undefined || lane.phase === 'ended') return 'ignored';
    const delivery = refusedDelivery(ports, lane, refusal);
    if (delivery === undefined) return 'ignored';
    hearToken(ports, refusal);
    return act(ports, lane, delivery, refusal);
  });
}

function refusedDelivery(ports: LanePorts, lane: LaneOut, refusal: Refusal): DeliveryOut | undefined {
  const { epoch } = refusal;
  if (epoch === undefined || epoch.ordinal !== lane.epoch || !sameBytes(epoch.nonce, lane.nonce)) return undefined;
  const delivery = ports.database.deliveriesOut.get({
    lane: lane.lane,
    epoch: lane.epoch,
    sequence: refusal.sequence,
  });
  if (delivery === undefined || (delivery.answer !== 'awaited' && !delivery.asked)) return undefined;
  const expected = contentHashOf(ports.database, delivery);
  if (refusal.contentHash.length > 0 && !sameBytes(refusal.contentHash, expected)) return undefined;
  return delivery;
}

/** Any receiver may say that it has seen a newer token. It is believed of a delivery that waits, and no further than a token can be. */
function hearToken({ fence, onOutbid }: RefusalPorts, { code, fencingToken }: Refusal): void {
  const own = fence.token();
  if (code !== 'FENCED' || own === undefined) return;
  if (fencingToken > own && fencingToken <= own + MOST_TOKENS_AHEAD) onOutbid(fencingToken);
}

function act(ports: LanePorts, lane: LaneOut, delivery: DeliveryOut, refusal: Refusal): RefusalAnswer {
  if (refusal.fate === RefusalFate.RESEND) return sendLater(ports, lane, delivery);
  if (delivery.asked) {
    // It was answered once: nothing that is over is closed, stopped or begun anew for its sake.
    ports.database.deliveriesOut.answeredAgain(delivery);
    return 'ignored';
  }
  switch (refusal.fate) {
    case RefusalFate.VOID:
      return closeByVoid(ports, lane, delivery, refusal);
    case RefusalFate.NEW_EPOCH:
      return beginNewEpoch(ports, lane, refusal);
    case RefusalFate.STOP:
    case RefusalFate.UNSPECIFIED:
    case RefusalFate.UNRECOGNIZED:
      return stop(ports, lane, delivery, refusal);
    default:
      return refusal.fate satisfies never;
  }
}

function sendLater({ database, clock }: LanePorts, lane: LaneOut, delivery: DeliveryOut): RefusalAnswer {
  const inRow = Math.min(lane.refusalsInRow + 1, 30);
  // Deliveries sent together are refused together: while the pause runs, more refusals do not lengthen it.
  if (!isPaused(lane, clock.nowMs())) {
    const pauseMs = Math.min(LATER_FIRST_MS * 2 ** (inRow - 1), LATER_MOST_MS);
    database.lanesOut.pause(lane.lane, clock.nowMs() + pauseMs, inRow);
  }
  database.deliveriesOut.markRecorded(delivery);
  return 'later';
}

function closeByVoid(ports: LanePorts, lane: LaneOut, delivery: DeliveryOut, refusal: Refusal): RefusalAnswer {
  const { database, clock } = ports;
  // Everything behind it waits for an opening, and it has no rows to cancel: it goes again until it passes or the lane ends.
  if (delivery.role === 'opening') return sendLater(ports, lane, delivery);
  if (database.deliveriesOut.makeVoid(delivery, refusal.code.slice(0, 64), refusal.message.slice(0, 1_000))) {
    bookSettlement(ports, lane, delivery.sequence, delivery.sequence, refusal.code, refusal.message);
    // Its rows will not change again only because they were cancelled: the lane owes them.
    owe(ports, lane.lane, refusal.code, refusal.message);
    database.deliveriesOut.markRecorded(delivery);
    return 'voided';
  }
  // A void was refused too: nobody will answer it. Its settlement is in the books already.
  moveAnswer(database, delivery, 'closed', clock.nowMs());
  advanceSettled(database, lane);
  return 'closed';
}

function beginNewEpoch(ports: LanePorts, lane: LaneOut, refusal: Refusal): RefusalAnswer {
  const known = laneOfSnapshot(ports.desired.current(), lane.lane);
  if (known === undefined || !mayOpenEpochs(ports)) return 'ignored';
  const highest = refusal.highestEpoch > lane.epoch ? refusal.highestEpoch : lane.epoch;
  openEpoch(ports, known.bridge, known.lane, highest + 1n, 'loading');
  return 'reopened';
}

function stop(ports: LanePorts, lane: LaneOut, delivery: DeliveryOut, refusal: Refusal): RefusalAnswer {
  const { database } = ports;
  database.lanesOut.stick(
    lane.lane,
    delivery.bridgeVersion,
    {
      code: refusal.code || 'REFUSED',
      message: refusal.message,
      hint: refusal.hint,
    },
    ports.clock.nowMs(),
  );
  // Published again once the lane goes on.
  database.deliveriesOut.markRecorded(delivery);
  return 'stuck';
}
