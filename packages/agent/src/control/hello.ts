// The first word to the hub after each start: it gives the fencing token and the newest snapshot. Afterwards the part asks
// for the snapshot again now and then, in case the control stream lost one with its disk.

import { HelloRequest, type LaneEpoch, type NodeKnowledge, type Renewal } from '@qiao/contract/control';
import { parseId, QiaoError, readHelloReply } from '@qiao/exchange';
import { type Clock, crashPoint, createBackoff, type Log, type Part, type Wakeup } from '@qiao/runtime';
import type { FenceHolder } from './fence.ts';
import type { SnapshotDoor } from './takeSnapshot.ts';

export interface HelloPorts {
  /** Request and reply over the bus. */
  ask(request: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  readonly fence: FenceHolder;
  readonly door: SnapshotDoor;
  readonly nodeId: string;
  readonly exchangeDatabaseId: () => Uint8Array;
  /** What this node knows of the hub's past; all of it when the hub asks. */
  knows(everything: boolean): NodeKnowledge;
  /** The signing request for the next certificate, when one is due. */
  renewalCsr(): Promise<Uint8Array | undefined>;
  takeRenewal(renewal: Renewal): void;
  /** The newest token this exchange database worked under; 0n for none. */
  lastToken(): bigint;
  keepToken(token: bigint): void;
  /** The newest token of this node that a receiver said it has seen; 0n for none. */
  heardToken(): bigint;
  /** What was heard led nowhere: the hub, which alone gives tokens, has given another. */
  forgetHeardToken(): void;
  /** Lanes this node sends on, so that a restored hub learns their epochs again. */
  sending(): LaneEpoch[];
  readonly version: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Pause between two questions once the first was answered, milliseconds. */
  readonly everyMs: number;
  /** Woken when the bus came back or somebody misses a lane: asks at once instead of at the next turn. */
  readonly wakeup: Wakeup;
}

/** Highest delivery format this agent reads. */
export const READS_FORMAT = 1;
/**
 * A question that reaches the bus before a hub that was started again listens there is lost without a word: the first waits this
 * long for its answer, and each that follows an unanswered one twice as long, for a hub that has much to do. What a slow hub costs: an
 * answer that comes after its time is lost. Each start so lost took a token, an entry of the audit and a word to every peer, so it
 * is asked again as a start; a hub that needs more than `MOST_TIMEOUT_MS` for an answer lets no node begin to send.
 */
const FIRST_TIMEOUT_MS = 1_000;
const MOST_TIMEOUT_MS = 16_000;
/** Between starts for the sake of a token that a receiver has seen. A hub that was restored gives one above them all at the first. */
const OUTBID_PAUSES = { firstMs: 2_000, mostMs: 10 * 60_000 };
/** While the bus is away: whoever sees it come back wakes this part. */
const BUS_AWAY_MS = 5_000;
const LEAST_PAUSE_MS = 1_000;

/** Asks until the first answer (the supervisor sets the pace), then now and then. */
export function helloPart(ports: HelloPorts): Part {
  let timeoutMs = FIRST_TIMEOUT_MS;
  // Outlives a question without an answer: the hub may have given the token of a start and its word be lost. Asked then as no
  // start, it would name a token that this process never had, as if another one lived.
  let isOutbid = false;
  let outbidAfterMs = 0;
  const pauses = createBackoff(OUTBID_PAUSES);
  const ask = async (request: Uint8Array): Promise<Uint8Array> => {
    try {
      const answer = await ports.ask(request, timeoutMs);
      timeoutMs = FIRST_TIMEOUT_MS;
      return answer;
    } catch (error) {
      if (hasCode(error, 'REQUEST_TIMED_OUT')) timeoutMs = Math.min(2 * timeoutMs, MOST_TIMEOUT_MS);
      throw error;
    }
  };
  return {
    name: 'hello',
    // Nothing is sent before the hub has answered.
    mostPauseMs: 5_000,
    async run(signal) {
      while (!signal.aborted) {
        try {
          const wasOutbid = isOutbid;
          isOutbid = await hello({ ...ports, ask }, isOutbid);
          // Whoever receives may say it of every delivery; each start costs all the others their places on the bus.
          if (isOutbid && !wasOutbid) {
            isOutbid = ports.clock.elapsedMs() >= outbidAfterMs;
            if (isOutbid) outbidAfterMs = ports.clock.elapsedMs() + pauses.next();
          }
        } catch (error) {
          if (!hasCode(error, 'BUS_UNREACHABLE')) throw error;
          await ports.wakeup.wait(BUS_AWAY_MS, signal);
          continue;
        }
        if (isOutbid) ports.wakeup.wake();
        // Many may miss the same snapshot at once; the hub is asked once.
        await ports.clock.sleep(LEAST_PAUSE_MS, signal);
        await ports.wakeup.wait(ports.everyMs, signal);
      }
    },
  };
}

type Asking = Omit<HelloPorts, 'ask'> & { ask(request: Uint8Array): Promise<Uint8Array> };

/**
 * One question. True when the hub knows no newer start than this one, and yet a receiver has seen a newer token: the hub was
 * restored from a backup, and a token past that one is to be asked for. Only the hub's word tells this from a copy of the node.
 */
async function hello(ports: Asking, isOutbid: boolean, everything = false): Promise<boolean> {
  const token = ports.fence.token();
  const heard = ports.heardToken();
  // A clone that asked again would take the token back, and the two would take turns for ever.
  const isStart = !ports.fence.isLost && (token === undefined || isOutbid);
  const request = HelloRequest.fromPartial({
    nodeId: parseId(ports.nodeId),
    exchangeDatabaseId: ports.exchangeDatabaseId(),
    readsFormat: READS_FORMAT,
    version: ports.version.slice(0, 32),
    sending: ports.sending(),
    isStart,
    // At a start: past what receivers have seen. Otherwise: whose word this is.
    fencingToken: isStart ? max(heard, ports.lastToken()) : (token ?? ports.lastToken()),
    clockMs: BigInt(ports.clock.nowMs()),
    knows: ports.knows(everything),
    renewalCsr: (await ports.renewalCsr()) ?? new Uint8Array(),
  });
  const reply = readHelloReply(await ports.ask(HelloRequest.encode(request).finish()));
  if (reply.tellEverything && !everything) return await hello(ports, isOutbid, true);
  crashPoint('hello.answered');
  if (reply.problem !== undefined) {
    throw new QiaoError(reply.problem.code, reply.problem.message, { hint: reply.problem.hint, fate: 'transient' });
  }
  if (reply.renewal !== undefined) {
    ports.takeRenewal(reply.renewal);
    crashPoint('renewal.written');
  }
  const isLost = !isStart && token !== undefined && reply.fencingToken > token;
  // Before the snapshot: what the other process did to the lanes is nothing for this one to answer.
  if (isLost) ports.fence.lose();
  // Snapshot before token: with the token sending starts, and it shall start on the newest state.
  if (reply.snapshot !== undefined) ports.door.take(reply.snapshot);
  if (isLost) {
    ports.log.error({ code: 'FENCED' }, 'another process runs under this node’s identity: this one sends nothing more');
    return false;
  }
  if (!isStart) return token !== undefined && reply.fencingToken === token && heard > token;
  if (reply.fencingToken === 0n) {
    throw new QiaoError('FENCING_TOKEN_MISSING', 'the hub answered the hello without a fencing token', {
      hint: 'compare the versions of hub and agent',
      fate: 'transient',
    });
  }
  // It was named, and the hub has not gone past it: no token that it ever gave.
  if (reply.fencingToken <= heard) ports.forgetHeardToken();
  if (reply.fencingToken <= ports.lastToken()) {
    // Receivers have seen the higher one and would refuse every delivery: each ask gives the next, until one is higher.
    ports.log.warn('the hub gave an older fencing token than before, asking again: was it restored from a backup?');
    ports.wakeup.wake();
    return isOutbid;
  }
  ports.keepToken(reply.fencingToken);
  crashPoint('hello.kept');
  ports.fence.give(reply.fencingToken);
  // The token itself stays out of the log: the redaction list would hide it anyway.
  ports.log.info('the hub knows this start; sending may begin');
  return false;
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof QiaoError && error.code === code;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
