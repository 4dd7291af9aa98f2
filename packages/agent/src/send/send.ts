/**
 * The sending side of an agent, put together: one loop per lane that begins here, purging, and the doors for what control
 * brings (receipts, refusals, resend requests).
 */
import { BridgeState, ServiceCondition, ServiceLeg, type ServiceState } from '@qiao/contract/node';
import { idText, QiaoError } from '@qiao/exchange';
import { createWakeup, describeError, type Part, supervise, type Wakeup } from '@qiao/runtime';
import type { DesiredPeer } from '../control/desired.ts';
import { revokedCause, unconfirmedCause } from '../control/peerKeys.ts';
import type { LaneOut } from '../exchange-database/index.ts';
import { createReceiptAsker, type ReceiptAsker } from './askReceipts.ts';
import { alignLanes, laneOfSnapshot } from './lanes.ts';
import type { SendPorts, SendService } from './ports.ts';
import { purgePart } from './purge.ts';
import { handleRefusal, isPaused } from './refusal.ts';
import { resendDeliveries } from './resend.ts';
import { budgetOf, type Observed, suspendOverBudget } from './retention.ts';
import { sendLanePart } from './sendLane.ts';
import { recordReceipt } from './settle.ts';

/** One lane's loop while it runs, and what its last attempt said. */
interface RunningLane {
  readonly wakeup: Wakeup;
  readonly stop: AbortController;
  readonly done: Promise<void>;
  retries: number;
  failure: { code: string; message: string; hint: string; atMs: number } | undefined;
}

/** What this process has seen of lanes, by the clock that nobody sets. */
interface Answered {
  readonly startedMs: number;
  /** When a lane last had a receipt. */
  readonly atMs: Map<string, number>;
  /** When the oldest delivery without a receipt was packed, and since when it has been that one. */
  readonly oldest: Map<string, { readonly packedMs: number | undefined; readonly sinceMs: number }>;
}

const ALIGN_EVERY_MS = 30_000;
/** A failure is shown until a batch went through or this long after it. */
const FAILURE_SHOWN_MS = 60_000;

export function createSendParts(ports: SendPorts): SendService {
  const { database, desired } = ports;
  const running = new Map<string, RunningLane>();
  const answered: Answered = { startedMs: ports.clock.elapsedMs(), atMs: new Map(), oldest: new Map() };
  const aligning = createWakeup();

  const wake = (): void => {
    aligning.wake();
    for (const lane of running.values()) lane.wakeup.wake();
  };

  const wakeLane = (laneId: Uint8Array): void => {
    const lane = laneId.length === 16 ? running.get(idText(laneId)) : undefined;
    if (lane === undefined) aligning.wake();
    else lane.wakeup.wake();
  };

  return {
    parts: [sendPart(ports, running, aligning, answered), purgePart(ports)],
    wake,
    recordReceipt(receipt, signed) {
      const record = recordReceipt(ports, receipt, signed);
      // What was asked for again may have left the window.
      if (record === 'known') wakeLane(receipt.laneId);
      if (record === 'recorded') {
        answered.atMs.set(idText(receipt.laneId), ports.clock.elapsedMs());
        const lane = running.get(idText(receipt.laneId));
        if (lane !== undefined) lane.failure = undefined;
        wakeLane(receipt.laneId);
        ports.onRoom();
      }
      return record;
    },
    resendDeliveries(request) {
      const answer = resendDeliveries(ports, request);
      wakeLane(request.laneId);
      if (answer.kind === 'reopened') ports.onRoom();
      return answer;
    },
    handleRefusal(refusal) {
      const answer = handleRefusal(ports, refusal);
      wakeLane(refusal.laneId);
      if (answer === 'reopened' || answer === 'closed') ports.onRoom();
      return answer;
    },
    sending() {
      // What a process without the fence knows of its lanes is over: the hub must not take it for news.
      if (ports.fence.isLost) return [];
      return database.lanesOut
        .all()
        .filter((lane) => lane.phase !== 'ended')
        .map((lane) => ({
          laneId: lane.lane,
          epoch: { ordinal: lane.epoch, nonce: lane.nonce },
          lastSequence: lane.lastSequence,
        }));
    },
    states() {
      const now = desired.current();
      return database.lanesOut
        .all()
        .filter((lane) => lane.phase !== 'ended' && laneOfSnapshot(now, lane.lane) !== undefined)
        .map((lane) => stateOf(ports, lane, running.get(idText(lane.lane))));
    },
  };
}

/** Keeps one supervised loop per lane on disk that has not ended. */
function sendPart(ports: SendPorts, running: Map<string, RunningLane>, aligning: Wakeup, answered: Answered): Part {
  return {
    name: 'send',
    async run(signal) {
      const unsubscribe = ports.desired.onChange(() => aligning.wake());
      const asker = createReceiptAsker(ports);
      let token: bigint | undefined;
      forgetFences(ports);
      try {
        while (!signal.aborted) {
          if (ports.fence.token() !== token) {
            token = ports.fence.token();
            if (token !== undefined) forgetFences(ports);
          }
          const silentInMs = align(ports, answered);
          startAndStop(ports, running, signal);
          const askInMs = askReceipts(ports, asker) - ports.clock.nowMs();
          await aligning.wait(Math.max(Math.min(askInMs, silentInMs), 1), signal);
        }
      } finally {
        unsubscribe();
        for (const lane of running.values()) lane.stop.abort();
        await Promise.all([...running.values()].map((lane) => lane.done));
        running.clear();
      }
    },
  };
}

/** A lane that stuck because another start had the fence goes on with this start's token. */
function forgetFences({ database }: SendPorts): void {
  for (const lane of database.lanesOut.all()) {
    if (lane.stuck?.code === 'FENCED') database.lanesOut.unstick(lane.lane);
  }
}

/** Returns in how many milliseconds a destination over whose budget rows wait will have been silent for long enough to be suspended. */
function align(ports: SendPorts, answered: Answered): number {
  let silentInMs = Number.POSITIVE_INFINITY;
  const desired = ports.desired.current();
  if (desired === undefined) return silentInMs;
  for (const bridge of desired.bridges.values()) {
    if (bridge.state === BridgeState.CREATED) continue;
    alignLanes(ports, desired, bridge);
  }
  // Whatever the bus and the hub do: a budget ends also while both are away.
  for (const held of ports.database.lanesOut.all()) {
    const known = laneOfSnapshot(desired, held.lane);
    if (known === undefined) continue;
    const observed = observe(ports, answered, held);
    if (suspendOverBudget(ports, known, held, observed)) continue;
    const leftMs = ports.limits.resendMostMs - observed.silentMs;
    const isOver = held.waitingBytes > budgetOf(known.bridge.definition, ports.limits).bytes;
    if (isOver && leftMs > 0) silentInMs = Math.min(silentInMs, leftMs);
  }
  return silentInMs;
}

function observe({ database, clock }: SendPorts, answered: Answered, { lane, epoch }: LaneOut): Observed {
  const id = idText(lane);
  const elapsedMs = clock.elapsedMs();
  const packedMs = database.deliveriesOut.oldestAwaitedMs(lane, epoch);
  const seen = answered.oldest.get(id);
  const oldest = seen !== undefined && seen.packedMs === packedMs ? seen : { packedMs, sinceMs: elapsedMs };
  answered.oldest.set(id, oldest);
  const answeredMs = answered.atMs.get(id) ?? answered.startedMs;
  return { silentMs: elapsedMs - answeredMs, stalledMs: elapsedMs - oldest.sinceMs };
}

/** Asks for receipts on every living lane; returns when to look again. */
function askReceipts(ports: SendPorts, asker: ReceiptAsker): number {
  let nextMs = ports.clock.nowMs() + ALIGN_EVERY_MS;
  for (const lane of ports.database.lanesOut.all()) {
    if (lane.phase === 'ended' || ports.fence.token() === undefined) continue;
    nextMs = Math.min(nextMs, asker.ask(lane) ?? nextMs);
  }
  return nextMs;
}

function startAndStop(ports: SendPorts, running: Map<string, RunningLane>, signal: AbortSignal): void {
  const wanted = new Map<string, Uint8Array>();
  for (const lane of ports.database.lanesOut.all()) {
    if (lane.phase !== 'ended') wanted.set(idText(lane.lane), lane.lane);
  }
  for (const [id, lane] of running) {
    if (wanted.has(id)) lane.wakeup.wake();
    else {
      lane.stop.abort();
      running.delete(id);
    }
  }
  for (const [id, laneId] of wanted) {
    if (!running.has(id)) running.set(id, startLane(ports, laneId, signal));
  }
}

function startLane(ports: SendPorts, laneId: Uint8Array, signal: AbortSignal): RunningLane {
  const wakeup = createWakeup();
  const stop = new AbortController();
  const lane: RunningLane = { wakeup, stop, done: Promise.resolve(), retries: 0, failure: undefined };
  const done = supervise([sendLanePart(ports, laneId, wakeup)], {
    signal: AbortSignal.any([signal, stop.signal]),
    clock: ports.clock,
    log: ports.log,
    onFailure(_part, error) {
      const { code, message } = describeError(error);
      const hint = error instanceof QiaoError ? error.hint : '';
      lane.retries += 1;
      lane.failure = { code, message, hint, atMs: ports.clock.nowMs() };
    },
  });
  return Object.assign(lane, { done });
}

/** Causes that no time mends. */
const FOR_A_PERSON: ReadonlySet<string> = new Set(['DESTINATION_UNCONFIRMED', 'DESTINATION_REVOKED']);

function stateOf(ports: SendPorts, lane: LaneOut, running: RunningLane | undefined): ServiceState {
  const known = laneOfSnapshot(ports.desired.current(), lane.lane);
  const isRunning = known?.bridge.state === BridgeState.RUNNING;
  const recent =
    running?.failure !== undefined && ports.clock.nowMs() - running.failure.atMs < FAILURE_SHOWN_MS
      ? running.failure
      : undefined;
  const cause = lane.stuck ?? (isRunning ? (recent ?? waitingCause(ports, lane)) : undefined);
  // Shown whether or not something waits: a person has to act before anything ever can go.
  const isStuck = lane.stuck !== undefined || (cause !== undefined && FOR_A_PERSON.has(cause.code));
  return {
    bridgeId: lane.bridge,
    laneId: lane.lane,
    leg: ServiceLeg.SEND,
    condition: conditionOf(isStuck, isRunning, cause !== undefined),
    code: cause?.code ?? '',
    message: cause?.message ?? '',
    hint: cause?.hint ?? '',
    waitingDeliveries: BigInt(lane.waitingCount),
    waitingBytes: BigInt(lane.waitingBytes),
    oldestWaitingAtMs: BigInt(ports.database.deliveriesOut.oldestAwaitedMs(lane.lane, lane.epoch) ?? 0),
    lastRunAtMs: 0n,
    retries: BigInt(running?.retries ?? 0),
    owes:
      lane.owes === undefined
        ? undefined
        : { code: lane.owes.code, reason: lane.owes.reason, sinceMs: BigInt(lane.owes.sinceMs) },
    openRows: 0n,
    decidedRows: 0n,
  };
}

function conditionOf(isStuck: boolean, isRunning: boolean, hasCause: boolean): ServiceCondition {
  if (isStuck) return ServiceCondition.STUCK;
  if (!isRunning) return ServiceCondition.STOPPED;
  return hasCause ? ServiceCondition.RETRYING : ServiceCondition.RUNNING;
}

/** Why nothing goes out though something waits, or ever will, when no attempt has failed. */
function waitingCause(ports: SendPorts, lane: LaneOut): { code: string; message: string; hint: string } | undefined {
  if (!ports.bus.isConnected) {
    return {
      code: 'BUS_UNREACHABLE',
      message: 'the bus is away; deliveries wait in the outbox',
      hint: 'qiao agent diagnose',
    };
  }
  if (ports.fence.isLost) {
    return {
      code: 'FENCED',
      message: 'another process runs under this node’s identity: this one sends nothing more',
      hint: 'stop the other process, then start this one again',
    };
  }
  const peer = peerOf(ports, lane);
  const closed = peer === undefined ? undefined : (unconfirmedCause(peer) ?? revokedCause(peer));
  if (closed !== undefined) return closed;
  if (lane.waitingCount === 0) return undefined;
  if (ports.fence.token() === undefined) {
    return {
      code: 'NO_FENCING_TOKEN',
      message: 'the hub has not answered this start yet',
      hint: 'qiao agent diagnose',
    };
  }
  if (lane.phase === 'suspended') {
    return {
      code: lane.owes?.code ?? 'LANE_SUSPENDED',
      message: lane.owes?.reason ?? 'the destination has not answered the new epoch yet; it loads anew when it does',
      hint: 'qiao node show CODE  # of the destination',
    };
  }
  if (isPaused(lane, ports.clock.nowMs())) {
    return {
      code: 'DESTINATION_BUSY',
      message: 'the hub asked to send later',
      hint: 'qiao node show CODE  # of the destination',
    };
  }
  return undefined;
}

function peerOf(ports: SendPorts, lane: LaneOut): DesiredPeer | undefined {
  return ports.desired.current()?.peers.get(idText(lane.receiver));
}
