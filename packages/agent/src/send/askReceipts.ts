/**
 * Asks for receipts again. A receipt that names open rows is revised when a person decides about them, and the bus may lose the
 * revision: nothing else would ever bring it. Deliveries without any receipt need no question, they are published again.
 *
 * Each process asks once about the delivery after the last one, too: a destination that has it was sent more than this exchange database knows
 * of, which then is an old copy (place.ts).
 */
import type { KnownReceipt } from '@qiao/contract/control';
import { idText } from '@qiao/exchange';
import type { LaneOut } from '../exchange-database/index.ts';
import { askAbout } from './place.ts';
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
      const isNew = !askedBeyond.has(id);
      if (page.length === 0 && !isNew) {
        asked.delete(id);
        return undefined;
      }
      // The first question of a process, too, gives a receipt that is on its way the time to arrive.
      const last = before ?? { atMs: nowMs, times: 0, through: -1n };
      asked.set(id, last);
      const pauseMs = Math.min(limits.resendAfterMs * 2 ** Math.min(last.times, 20), limits.resendMostMs);
      const dueMs = last.atMs + pauseMs;
      if (dueMs > nowMs && dueMs - nowMs <= limits.resendMostMs) return dueMs;
      if (isNew) {
        const beyond = { sequence: lane.lastSequence + 1n, revision: 0, settled: false };
        askAbout(ports, lane, [beyond], `beyond:${idText(lane.lane)}`);
        askedBeyond.add(id);
      }
      if (page.length > 0) askAbout(ports, lane, page, `receipts:${idText(lane.lane)}`);
      ports.onQueued();
      asked.set(id, {
        atMs: nowMs,
        times: isWhole ? last.times + 1 : last.times,
        through: isWhole ? -1n : (page.at(-1)?.sequence ?? -1n),
      });
      return nowMs + limits.resendAfterMs;
    },
  };

  function openAfter(lane: LaneOut, sequence: bigint): KnownReceipt[] {
    const page = (after: bigint) => database.deliveriesOut.openAfter(lane.lane, lane.epoch, after, MOST_ASKED);
    const found = page(sequence);
    // Behind the last one it begins at the front again.
    return (found.length > 0 || sequence < 0n ? found : page(-1n)).map((delivery) => ({
      sequence: delivery.sequence,
      revision: database.receiptsIn.get(delivery)?.revision ?? 0,
      settled: false,
    }));
  }
}
