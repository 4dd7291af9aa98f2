// How each lane that ends here is: running, trying again, or stuck until a person acts. What is stuck lives in the exchange
// database, so that a restart does not forget it; what is tried again lives here, with its pauses.

import { BridgeState, ServiceCondition, ServiceLeg, ServiceState } from '@qiao/contract/node';
import { idText, parseId, QiaoError } from '@qiao/exchange';
import { type Backoff, type Clock, createBackoff, describeError, diskFull, type Log } from '@qiao/runtime';
import type { Desired } from '../control/desired.ts';
import type { ExchangeDatabase, LaneIn, StuckReason } from '../exchange-database/index.ts';

export interface LaneConditions {
  /** Whether apply may try something on this lane now. */
  mayTry(state: LaneIn, bridgeVersion: number): boolean;
  /** Stuck for good: only a new epoch goes on. */
  isStopped(state: LaneIn): boolean;
  stick(lane: Uint8Array, bridgeVersion: number, reason: StuckReason): void;
  /** A failure that will pass: shown as retrying, tried again after a pause. Returns the pause in milliseconds. */
  retryLater(lane: Uint8Array, error: unknown): number;
  /** A failure that its data source's part tries again: shown, without a pause of the lane's own. */
  showFailure(lane: Uint8Array, error: unknown): void;
  /** The target answers and nothing waits: what was shown is over. */
  clear(state: LaneIn): void;
  /** Something was applied: pauses begin anew, and nothing is stuck any more. */
  progress(lane: Uint8Array): void;
  /** Looks again at once, for example because a void arrived. */
  tryNow(lane: Uint8Array): void;
  /** How long this process has shown the lane as stuck. */
  stuckForMs(lane: Uint8Array): number;
  /** One entry per lane that ends here, for the heartbeat. */
  states(desired: Desired | undefined): ServiceState[];
}

export interface LaneConditionPorts {
  readonly database: Pick<ExchangeDatabase, 'lanesIn' | 'inbox' | 'quarantine' | 'rowDecisions'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** What no second look mends: the lane needs a new epoch. */
const STOPPED = new Set(['FORK', 'TARGET_REPLACED']);
/** A stuck lane looks now and then whether a person has mended its cause. */
const LOOK_AGAIN_MS = 15_000;

interface Retry {
  readonly pauses: Backoff;
  notBeforeMs: number;
  retries: bigint;
  failure: StuckReason | undefined;
  stuckSinceMs: number | undefined;
}

export function createLaneConditions({ database, clock, log }: LaneConditionPorts): LaneConditions {
  const retries = new Map<string, Retry>();

  function retryOf(lane: Uint8Array): Retry {
    const id = idText(lane);
    let retry = retries.get(id);
    if (retry === undefined) {
      retry = { pauses: createBackoff(), notBeforeMs: 0, retries: 0n, failure: undefined, stuckSinceMs: undefined };
      retries.set(id, retry);
    }
    return retry;
  }

  return {
    mayTry(state, bridgeVersion) {
      const retry = retryOf(state.lane);
      if (state.stuck !== undefined) {
        retry.stuckSinceMs ??= clock.elapsedMs();
        // A newer version is a new attempt at once; what fails again keeps its pause.
        const isFresh = bridgeVersion > state.stuckVersion && retry.failure === undefined;
        if (isFresh && !STOPPED.has(state.stuck.code)) return true;
      }
      return clock.elapsedMs() >= retry.notBeforeMs;
    },
    isStopped: (state) => state.stuck !== undefined && STOPPED.has(state.stuck.code),
    stick(lane, bridgeVersion, reason) {
      const retry = retryOf(lane);
      retry.failure = undefined;
      retry.notBeforeMs = clock.elapsedMs() + LOOK_AGAIN_MS;
      const before = database.lanesIn.get(lane)?.stuck;
      if (before?.code !== reason.code) {
        retry.stuckSinceMs = clock.elapsedMs();
        log.error(
          { lane: idText(lane), code: reason.code, detail: reason.message, hint: reason.hint },
          'lane is stuck',
        );
      }
      // The first cause of a stop stays: a fork must not be hidden by what follows from it.
      if (before !== undefined && STOPPED.has(before.code)) return;
      database.lanesIn.stick(lane, bridgeVersion, reason);
    },
    retryLater(lane, error) {
      const retry = retryOf(lane);
      const pauseMs = retry.pauses.next();
      retry.notBeforeMs = clock.elapsedMs() + pauseMs;
      retry.retries += 1n;
      retry.failure = reasonOf(error);
      log.warn({ lane: idText(lane), pauseMs, err: describeError(error) }, 'apply failed, trying again');
      return pauseMs;
    },
    showFailure(lane, error) {
      const retry = retryOf(lane);
      retry.retries += 1n;
      retry.failure = reasonOf(error);
    },
    clear(state) {
      const retry = retryOf(state.lane);
      if (clock.elapsedMs() < retry.notBeforeMs) return;
      retry.failure = undefined;
      if (state.stuck === undefined) return;
      retry.stuckSinceMs = undefined;
      database.lanesIn.unstick(state.lane);
    },
    progress(lane) {
      const retry = retryOf(lane);
      retry.pauses.reset();
      retry.notBeforeMs = 0;
      retry.failure = undefined;
      retry.stuckSinceMs = undefined;
      if (database.lanesIn.get(lane)?.stuck !== undefined) database.lanesIn.unstick(lane);
    },
    tryNow(lane) {
      retryOf(lane).notBeforeMs = 0;
    },
    stuckForMs(lane) {
      const sinceMs = retryOf(lane).stuckSinceMs;
      return sinceMs === undefined ? 0 : clock.elapsedMs() - sinceMs;
    },
    states(desired) {
      const states: ServiceState[] = [];
      for (const bridge of desired?.bridges.values() ?? []) {
        for (const lane of bridge.lanes) {
          if (lane.receiverId !== desired?.nodeId || lane.ended) continue;
          const laneId = parseId(lane.laneId);
          const retry = retryOf(laneId);
          const stuck = database.lanesIn.get(laneId)?.stuck;
          const { deliveries, bytes } = database.inbox.waiting(laneId);
          const reason = stuck ?? retry.failure;
          const condition =
            stuck !== undefined
              ? ServiceCondition.STUCK
              : retry.failure !== undefined
                ? ServiceCondition.RETRYING
                : isRunning(bridge.state)
                  ? ServiceCondition.RUNNING
                  : ServiceCondition.STOPPED;
          states.push(
            ServiceState.fromPartial({
              bridgeId: parseId(bridge.bridgeId),
              laneId,
              leg: ServiceLeg.APPLY,
              condition,
              code: reason?.code ?? '',
              message: reason?.message ?? '',
              hint: reason?.hint ?? '',
              waitingDeliveries: BigInt(deliveries),
              waitingBytes: BigInt(bytes),
              retries: retry.retries,
              openRows: BigInt(database.quarantine.countOpen(laneId)),
              decidedRows: BigInt(database.rowDecisions.countDecided(laneId)),
            }),
          );
        }
      }
      return states;
    },
  };
}

/** A failure as a person reads it. Messages of foreign errors may quote rows, so they are not passed on. */
export function reasonOf(error: unknown): StuckReason {
  if (error instanceof QiaoError) return { code: error.code, message: error.message, hint: error.hint };
  const full = diskFull(error);
  if (full !== undefined) return reasonOf(full);
  return { code: 'UNEXPECTED', message: 'the delivery failed in a way nobody foresaw', hint: 'read the agent’s log' };
}

function isRunning(state: BridgeState): boolean {
  return state === BridgeState.RUNNING || state === BridgeState.DEPLOYED;
}
