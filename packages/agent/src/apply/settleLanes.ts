// When decisions about rows are carried out: between two deliveries of a lane, after a pause when the target refused to, and rows that wait
// for others now and then after something landed. Carrying one out is settleRows.ts's; taking turns with deliveries is apply.ts's.

import { parseId } from '@qiao/exchange';
import { type Backoff, createBackoff } from '@qiao/runtime';
import { beforeEpoch, type RowAt } from '../exchange-database/index.ts';
import type { ApplyDeliveryPorts, Landing } from './applyDelivery.ts';
import { retryWaiting, settleNext } from './settleRows.ts';

/** Rows that wait for others are tried again at most this often, part by part: what landed may have been anything. */
const WAITING_EVERY_MS = 5_000;

interface Pace {
  readonly pauses: Backoff;
  notBeforeMs: number;
  /** Rows decided when the pause was set: more of them end it. */
  decided: number;
  /** Something landed since rows that wait for others were tried. */
  mayLand: boolean;
  /** Where a round over rows that wait for others goes on; undefined between two rounds. */
  triedUpTo: RowAt | undefined;
  waitingTriedMs: number;
}

export class SettleLanes {
  readonly #ports: ApplyDeliveryPorts;
  readonly #paces = new Map<string, Pace>();

  constructor(ports: ApplyDeliveryPorts) {
    this.#ports = ports;
  }

  /** Whether the lane has something decided that may be tried now. */
  isDue(laneId: string): boolean {
    const { database, clock } = this.#ports;
    const lane = parseId(laneId);
    const pace = this.#pace(laneId);
    const elapsedMs = clock.elapsedMs();
    const decided = database.rowDecisions.countDecided(lane);
    if (elapsedMs < pace.notBeforeMs && decided <= pace.decided) return false;
    const isRoundDue = pace.mayLand || pace.triedUpTo !== undefined;
    if (isRoundDue && elapsedMs - pace.waitingTriedMs >= WAITING_EVERY_MS) {
      if (pace.triedUpTo === undefined) pace.mayLand = false;
      pace.waitingTriedMs = elapsedMs;
      const { rows, upTo } = retryWaiting(pace.triedUpTo ?? beforeEpoch(lane, 0n), this.#ports);
      pace.triedUpTo = upTo;
      if (rows > 0) return true;
    }
    return decided > 0;
  }

  /** Carries out one delivery's decisions; true when rows moved or were tried. Throws what the target throws, after a pause is set. */
  async settle(landing: Landing): Promise<boolean> {
    const { laneId } = landing.lane;
    const pace = this.#pace(laneId);
    try {
      const step = await settleNext(landing, this.#ports);
      pace.pauses.reset();
      if (step.kind === 'nothing') {
        this.#pause(pace, laneId);
        return false;
      }
      if (step.landed > 0) this.landed();
      return true;
    } catch (error) {
      this.#pause(pace, laneId);
      throw error;
    }
  }

  /** Rows landed on some lane of this target: rows that wait for others may land now. */
  landed(): void {
    for (const pace of this.#paces.values()) pace.mayLand = true;
  }

  #pause(pace: Pace, laneId: string): void {
    const { database, clock } = this.#ports;
    pace.notBeforeMs = clock.elapsedMs() + pace.pauses.next();
    pace.decided = database.rowDecisions.countDecided(parseId(laneId));
  }

  #pace(laneId: string): Pace {
    let pace = this.#paces.get(laneId);
    if (pace === undefined) {
      pace = {
        pauses: createBackoff(),
        notBeforeMs: 0,
        decided: 0,
        mayLand: true,
        triedUpTo: undefined,
        waitingTriedMs: Number.NEGATIVE_INFINITY,
      };
      this.#paces.set(laneId, pace);
    }
    return pace;
  }
}
