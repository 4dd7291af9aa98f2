/**
 * Asks for receipts again. A receipt that names open rows is revised when a person decides about them, and the bus may lose the
 * revision: nothing else would ever bring it. Deliveries without any receipt need no question, they are published again.
 *
 * The first question of a process names the delivery after the last one as well: a destination that has its receipt was sent more than this
 * exchange database knows of, which then is an old copy (settle.ts).
 */
import { ControlMessage } from '@qiao/contract/control';
import { idText } from '@qiao/exchange';
import type { LaneOut } from '../exchange-database/index.ts';
import type { SendPorts } from './ports.ts';

/** Receipts asked for in one message. */
const MOST_ASKED = 500;

/** When a lane's open receipts were asked for, how often, and how far the last question went. */
interface Asked {
  atMs: number;
  times: number;
  through: bigint;
}

export interface ReceiptAsker {
  /** Asks for what is due on this lane. Returns when the lane is due again; undefined when it has nothing open. */
  ask(lane: LaneOut): number | undefined;
}

export function createReceiptAsker(ports: Pick<SendPorts, 'database' | 'clock' | 'limits' | 'onQueued'>): ReceiptAsker {
  const { database, clock, limits } = ports;
  const asked = new Map<string, Asked>();
  const askedBeyond = new Set<string>();
  return {
    ask(lane) {
      const id = `${idText(lane.lane)}:${lane.epoch}`;
      const nowMs = clock.nowMs();
      const before = asked.get(id);
      const page = openAfter(lane, before?.through ?? -1n);
      // More than one message holds are asked for in turn, at the pace of the first.
      const isWhole = page.length < MOST_ASKED;
      if (isWhole && !askedBeyond.has(id)) page.push({ sequence: lane.lastSequence + 1n, revision: 0 });
      if (page.length === 0) {
        asked.delete(id);
        return undefined;
      }
      // The first question of a process, too, gives a receipt that is on its way the time to arrive.
      const last = before ?? { atMs: nowMs, times: 0, through: -1n };
      asked.set(id, last);
      const pauseMs = Math.min(limits.resendAfterMs * 2 ** Math.min(last.times, 20), limits.resendMostMs);
      const dueMs = last.atMs + pauseMs;
      if (dueMs > nowMs && dueMs - nowMs <= limits.resendMostMs) return dueMs;
      const message = ControlMessage.fromPartial({
        toNodeId: lane.receiver,
        body: {
          $case: 'receiptsWanted',
          value: { laneId: lane.lane, epoch: { ordinal: lane.epoch, nonce: lane.nonce }, known: page },
        },
      });
      database.controlOut.add(ControlMessage.encode(message).finish(), nowMs, `receipts:${idText(lane.lane)}`);
      ports.onQueued();
      if (isWhole) askedBeyond.add(id);
      asked.set(id, {
        atMs: nowMs,
        times: isWhole ? last.times + 1 : last.times,
        through: isWhole ? -1n : (page.at(-1)?.sequence ?? -1n),
      });
      return nowMs + limits.resendAfterMs;
    },
  };

  function openAfter(lane: LaneOut, sequence: bigint): { sequence: bigint; revision: number }[] {
    const page = (after: bigint) => database.deliveriesOut.openAfter(lane.lane, lane.epoch, after, MOST_ASKED);
    const found = page(sequence);
    // Behind the last one it begins at the front again.
    return (found.length > 0 || sequence < 0n ? found : page(-1n)).map((delivery) => ({
      sequence: delivery.sequence,
      revision: database.receiptsIn.get(delivery)?.revision ?? 0,
    }));
  }
}
