/**
 * One lane's sending: publishes recorded deliveries in sequence while the window allows, and again when no receipt came in
 * time. It waits on a wake-up, never polls faster than once in a while, and leaves retries to its supervisor.
 */
import { BridgeState } from '@qiao/contract/node';
import { idText, QiaoError, sameBytes, sendable } from '@qiao/exchange';
import { crashPoint, type Part, type Wakeup } from '@qiao/runtime';
import type { Desired, DesiredBridge, DesiredPeer } from '../control/desired.ts';
import type { DeliveryOut, LaneOut } from '../exchange-database/index.ts';
import { endsAsBegun, laneOfSnapshot, mayOpenEpochs, openEpoch } from './lanes.ts';
import { payDueMs, payOwed } from './owed.ts';
import type { SendPorts } from './ports.ts';
import { isPaused } from './refusal.ts';
import { type SealedDelivery, sealDelivery, sealingKeyName } from './sealDelivery.ts';

/** Deliveries published together before their acknowledgements are awaited. */
const BATCH_DELIVERIES = 32;
/** Sealed bytes held in memory by one batch; one delivery may always go, however large. */
const BATCH_BYTES = 8 * 1024 * 1024;
/** Nobody wakes a lane for the passing of time alone: look again after this at the latest. */
const LOOK_AGAIN_MS = 15_000;
const PUBLISH_TIMEOUT_MS = 20_000;

/** What a lane needs to send now; anything missing is a reason to wait, never a failure. */
interface Ready {
  readonly desired: Desired;
  readonly bridge: DesiredBridge;
  readonly peer: DesiredPeer;
  readonly lane: LaneOut;
  readonly fencingToken: bigint;
}

/** Sends on one lane until stopped. Throws what publishing threw, after everything that succeeded was recorded. */
export function sendLanePart(ports: SendPorts, laneId: Uint8Array, wakeup: Wakeup): Part {
  return {
    name: `send:${idText(laneId).slice(0, 8)}`,
    async run(signal) {
      let sealedFor: Uint8Array | undefined;
      while (!signal.aborted) {
        const ready = readyToSend(ports, laneId);
        if (ready !== undefined) {
          resendOverdue(ports, ready.lane);
          const { sealingKey } = ready.peer;
          if (sealedFor === undefined || !sameBytes(sealedFor, sealingKey)) sealAgain(ports, ready);
          sealedFor = sealingKey;
          if (await sendBatch(ports, ready)) continue;
        }
        await wakeup.wait(pauseMs(ports, laneId), signal);
      }
    },
  };
}

function readyToSend(ports: SendPorts, laneId: Uint8Array): Ready | undefined {
  const { database, desired, fence, bus, clock } = ports;
  const fencingToken = fence.token();
  const known = laneOfSnapshot(desired.current(), laneId);
  const lane = database.lanesOut.get(laneId);
  if (fencingToken === undefined || !bus.isConnected || known === undefined || lane === undefined) return undefined;
  if (lane.phase === 'ended' || lane.stuck !== undefined || isPaused(lane, clock.nowMs())) return undefined;
  const { bridge } = known;
  // lanes.ts says so to the operator; here nothing may pass before it did.
  if (!endsAsBegun(known.lane, lane)) return undefined;
  if (bridge.state !== BridgeState.RUNNING) return undefined;
  const peer = known.desired.peers.get(known.lane.receiverId);
  if (peer === undefined) return undefined;
  // The peer's rights were ended, or it has not joined yet: nothing is sealed for nobody.
  if (peer.sealingKey.length === 0) return undefined;
  if (payOwed(ports, lane)) return readyToSend(ports, laneId);
  return { desired: known.desired, bridge, peer, lane, fencingToken };
}

/** What is on the bus for a key that the receiver has no more goes out again, sealed for the one it has. */
function sealAgain({ database, log }: SendPorts, { lane, peer }: Ready): void {
  const old = database.deliveriesOut.sealedOtherwise(lane.lane, lane.epoch, sealingKeyName(peer.sealingKey));
  if (old.length === 0) return;
  database.transaction(() => {
    for (const delivery of old) database.deliveriesOut.markRecorded(delivery);
  });
  log.info({ lane: idText(lane.lane), deliveries: old.length }, 'sealed again for the receiver’s new key');
}

/**
 * Deliveries whose receipt is overdue go back to "recorded", so that they are published in sequence with the others. One that was asked
 * for again leaves the window: a receiver that still lacks it asks anew.
 */
function resendOverdue({ database, clock, limits }: SendPorts, lane: LaneOut): void {
  const nowMs = clock.nowMs();
  const first = database.deliveriesOut.nextDue(lane.lane);
  // Further off than the longest pause: the clock was set back since.
  const isDue = ({ dueAtMs }: DeliveryOut) => dueAtMs <= nowMs || dueAtMs - nowMs > limits.resendMostMs;
  if (first === undefined || !isDue(first)) return;
  database.transaction(() => {
    for (let due: DeliveryOut | undefined = first; due !== undefined && isDue(due); ) {
      if (due.asked) database.deliveriesOut.answeredAgain(due);
      else database.deliveriesOut.markRecorded(due);
      due = database.deliveriesOut.nextDue(lane.lane);
    }
  });
}

/** Publishes the next deliveries; true when it published any. */
async function sendBatch(ports: SendPorts, ready: Ready): Promise<boolean> {
  const batch = nextBatch(ports, ready);
  if (batch.length === 0) return false;
  const published: { delivery: DeliveryOut; sealed: SealedDelivery; done: Promise<unknown> }[] = [];
  try {
    for (const delivery of batch) {
      // A settled one that was asked for again may be purged while those before it are sealed: the receiver asks once more.
      if (ports.database.deliveriesOut.get(delivery) === undefined) continue;
      const sealed = await sealDelivery(ports, delivery, ready);
      crashPoint(delivery.sealedFor.length > 0 ? 'send.sealedAgain' : 'send.sealed');
      // Not awaited one by one: the order of calls is the order on the bus, and the window bounds what is outstanding.
      const done = Promise.all(sealed.messages.map((message) => publish(ports, message)));
      done.catch(() => undefined);
      published.push({ delivery, sealed, done });
    }
  } catch (error) {
    await record(ports, published);
    throw giveUpOrRetry(ports, ready, error);
  }
  const failure = await record(ports, published);
  if (failure !== undefined) throw giveUpOrRetry(ports, ready, failure);
  return true;
}

function nextBatch({ database, limits }: SendPorts, { lane, bridge }: Ready): DeliveryOut[] {
  const window = { limitBytes: bridge.definition.windowBytes, unreceiptedBytes: lane.onBusBytes };
  let count = lane.onBusCount;
  let bytes = 0;
  const batch: DeliveryOut[] = [];
  for (const delivery of database.deliveriesOut.nextRecorded(lane.lane, lane.epoch, BATCH_DELIVERIES)) {
    if (!sendable(window, delivery.storedBytes) || count >= limits.windowCount) break;
    if (batch.length > 0 && bytes + delivery.storedBytes > BATCH_BYTES) break;
    batch.push(delivery);
    bytes += delivery.storedBytes;
    count += 1;
    // At least one byte, so that an empty opening still counts as under way for the delivery behind it.
    window.unreceiptedBytes += Math.max(delivery.storedBytes, 1);
  }
  return batch;
}

async function publish(ports: SendPorts, message: Uint8Array): Promise<void> {
  const { bus, dataSubject } = ports;
  const messageId = idText(ports.newId());
  try {
    await bus.publish(dataSubject, message, { messageId, timeoutMs: PUBLISH_TIMEOUT_MS });
  } catch (error) {
    if (!(error instanceof QiaoError) || error.fate !== 'ambiguous') throw error;
    // Nobody knows whether it arrived: once more under the same id, which the stream may drop. Any later attempt has its own.
    await bus.publish(dataSubject, message, { messageId, timeoutMs: PUBLISH_TIMEOUT_MS });
  }
}

/**
 * Bus first, then outbox: a crash between leaves a duplicate that the receiver drops, never a hole. Returns the first
 * failure, after recording every delivery that the bus holds.
 */
async function record(
  ports: SendPorts,
  published: readonly { delivery: DeliveryOut; sealed: SealedDelivery; done: Promise<unknown> }[],
): Promise<unknown> {
  const results = await Promise.allSettled(published.map(({ done }) => done));
  crashPoint('send.published');
  const { database, clock, limits } = ports;
  const nowMs = clock.nowMs();
  database.lazyTransaction(() => {
    for (const [index, { delivery, sealed }] of published.entries()) {
      if (results[index]?.status !== 'fulfilled') continue;
      // A receipt may have come before the acknowledgement: what is on disk now decides, not what was read before.
      const now = database.deliveriesOut.get(delivery);
      if (now === undefined || now.answer === 'closed') continue;
      // It was refused or asked for again while it was on its way: that ask still waits for a publish of its own.
      if (now.asks !== delivery.asks) continue;
      const doublings = now.asked ? 0 : Math.min(now.attempts, 20);
      const pause = Math.min(limits.resendAfterMs * 2 ** doublings, limits.resendMostMs);
      database.deliveriesOut.markOnBus(now, sealed.bytes, nowMs + pause, sealed.sealedFor);
    }
  });
  const failed = results.find((result) => result.status === 'rejected');
  return failed?.reason;
}

/** A body that is gone is loaded anew, a key that cannot be used is a person's business; everything else is tried again. */
function giveUpOrRetry(ports: SendPorts, { lane, bridge }: Ready, error: unknown): unknown {
  const { database } = ports;
  if (!(error instanceof QiaoError) || error.fate !== 'permanent' || error.code.startsWith('BUS_')) return error;
  const known = laneOfSnapshot(ports.desired.current(), lane.lane);
  const now = database.lanesOut.get(lane.lane);
  if (error.code === 'BODY_PURGED' && known !== undefined && now?.epoch === lane.epoch) {
    if (!mayOpenEpochs(ports)) return error;
    openEpoch(ports, known.bridge, known.lane, lane.epoch + 1n, 'loading', { code: error.code, reason: error.message });
    return error;
  }
  const { code, message, hint } = error;
  database.lanesOut.stick(lane.lane, bridge.version, { code, message, hint }, ports.clock.nowMs());
  return error;
}

function pauseMs({ database, clock }: SendPorts, laneId: Uint8Array): number {
  const nowMs = clock.nowMs();
  const lane = database.lanesOut.get(laneId);
  let untilMs = nowMs + LOOK_AGAIN_MS;
  if (lane !== undefined && isPaused(lane, nowMs)) return Math.min(untilMs, lane.pausedUntilMs) - nowMs;
  const payMs = lane === undefined ? undefined : payDueMs(lane);
  if (payMs !== undefined && payMs > nowMs) untilMs = Math.min(untilMs, payMs);
  const due = database.deliveriesOut.nextDue(laneId);
  if (due !== undefined && due.dueAtMs > nowMs) untilMs = Math.min(untilMs, due.dueAtMs);
  return Math.max(untilMs - nowMs, 1);
}
