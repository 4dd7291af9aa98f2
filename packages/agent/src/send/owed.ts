/**
 * What a lane owes: rows that were cancelled (voided, or given up when its budget ended) and that its destination shall still
 * get. The debt is on disk with its cause; this file is the one place that takes it on and pays it. It is paid by a new epoch
 * whose opening goes ahead alone: while the cause lasts the opening is refused and costs nothing, and once it was answered the
 * lane loads. The load's last parcel on disk clears the debt (lanesOut.ts).
 */
import { crashPoint } from '@qiao/runtime';
import type { LaneOut } from '../exchange-database/index.ts';
import { type LanePorts, laneOfSnapshot, mayOpenEpochs, openEpoch } from './lanes.ts';

/** The first try waits this long, for what is under way to be answered; each further one twice as long. */
const FIRST_TRY_MS = 1_000;
const MOST_TRY_MS = 10 * 60_000;
/** Deliveries still under way are waited for, but not for ever: the new epoch closes them in the books. */
const UNDER_WAY_MS = 30_000;

/** Notes that rows of the lane's present epoch will be brought again. Call it in the transaction that cancels them. */
export function owe(
  ports: Pick<LanePorts, 'database' | 'clock'>,
  lane: Uint8Array,
  code: string,
  reason: string,
): void {
  const cause = { code: code.slice(0, 64), reason: reason.slice(0, 1_000) };
  ports.database.lanesOut.owe(lane, cause, ports.clock.nowMs());
}

/** When the debt may be paid; undefined when nothing is owed, or a load is under way that pays it. */
export function payDueMs({ owes, phase, epoch, waitingCount, stuck }: LaneOut): number | undefined {
  if (owes === undefined || stuck !== undefined || epoch > owes.epoch) return undefined;
  if (phase !== 'streaming' && phase !== 'loading') return undefined;
  const pauseMs = Math.min(FIRST_TRY_MS * 2 ** Math.min(owes.tries, 20), MOST_TRY_MS);
  return owes.sinceMs + Math.max(pauseMs, waitingCount > 0 ? UNDER_WAY_MS : 0);
}

/**
 * Begins to pay what is due: a new epoch, whose opening asks whether the cause is over. True when it did. A comparison of both
 * ends that sends only differences may take the load's place here.
 */
export function payOwed(ports: LanePorts, lane: LaneOut): boolean {
  const dueMs = payDueMs(lane);
  const known = laneOfSnapshot(ports.desired.current(), lane.lane);
  const nowMs = ports.clock.nowMs();
  // Due further off than the longest pause: the clock was set back since.
  if (
    dueMs === undefined ||
    known === undefined ||
    !mayOpenEpochs(ports) ||
    (dueMs > nowMs && dueMs - nowMs <= MOST_TRY_MS)
  )
    return false;
  ports.database.transaction(() => {
    ports.database.lanesOut.countTry(lane.lane);
    openEpoch(ports, known.bridge, known.lane, lane.epoch + 1n, 'suspended', {
      code: 'EPOCH_CLOSED',
      reason: `rows were cancelled (${lane.owes?.code}) and travel again in a new epoch`,
    });
  });
  crashPoint('owed.epochOpened');
  return true;
}
