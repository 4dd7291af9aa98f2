// Where a lane stands when a target was opened: the target's mark is the truth, lane_in only remembers it. A mark ahead of the
// memory is a crash before the receipt; a mark behind it is a database restored from a backup; another target id is another
// database, and the lane stops.

import type { AppliedPoint, Target } from '@qiao/adapters';
import { idText } from '@qiao/exchange';
import { type Clock, crashPoint, type Log } from '@qiao/runtime';
import type { ExchangeDatabase } from '../exchange-database/index.ts';
import type { Answers } from '../receive/answer.ts';
import type { Asker } from '../receive/ask.ts';
import type { LaneConditions } from './laneConditions.ts';
import { cancelEarlierEpochs } from './openRows.ts';
import { followMark } from './settleRows.ts';

export interface RecoverPorts {
  readonly database: Pick<
    ExchangeDatabase,
    'lanesIn' | 'inbox' | 'transaction' | 'quarantine' | 'rowDecisions' | 'rowLines' | 'receiptsOut'
  >;
  readonly answers: Answers;
  readonly ask: Asker;
  readonly conditions: LaneConditions;
  readonly clock: Clock;
  readonly log: Log;
}

export interface LaneEnd {
  readonly lane: Uint8Array;
  readonly bridge: Uint8Array;
  readonly senderId: string;
  readonly sender: Uint8Array;
  readonly bridgeVersion: number;
  /** It has ended for good: what left no mark is not taken up again. */
  readonly isOver: boolean;
}

/** Compares memory and mark and mends the memory. False when the lane stops here (TARGET_REPLACED). */
export async function recoverLane(
  target: Pick<Target, 'points' | 'amend'>,
  targetId: string,
  end: LaneEnd,
  ports: RecoverPorts,
): Promise<boolean> {
  const { database, ask, conditions, clock, log } = ports;
  const isForgotten = end.isOver && database.lanesIn.get(end.lane) === undefined;
  if (isForgotten && (await target.points(idText(end.lane))).length === 0) return false;
  database.lanesIn.ensure(end.lane, end.bridge, end.sender);
  const state = database.lanesIn.get(end.lane);
  if (state === undefined) return false;
  if (state.targetId !== undefined && state.targetId !== targetId && state.epoch > 0n) {
    conditions.stick(end.lane, end.bridgeVersion, {
      code: 'TARGET_REPLACED',
      message: `the target database is another one: its id is ${targetId}, this lane wrote into ${state.targetId}`,
      hint: 'restore the right database, or bind the destination anew: qiao bridge unbind NAME NODE, then qiao bridge bind NAME -f FILE',
    });
    return false;
  }
  if (state.stuck?.code === 'TARGET_REPLACED') conditions.progress(end.lane);
  // A forked lane remembers the epoch that forked, which the mark may not know: only a later one goes on.
  if (state.stuck?.code === 'FORK') return true;
  const points = await target.points(idText(end.lane));
  const newest = points.at(-1);
  const nowMs = clock.nowMs();
  const isBehind =
    state.epoch > 0n &&
    (newest === undefined ||
      newest.epoch < state.epoch ||
      (newest.epoch === state.epoch && newest.sequence < state.appliedSequence));
  database.transaction(() => {
    // One request may be lost, and settled deliveries are nobody's to send again: it is asked for until it is there.
    if (isBehind)
      database.lanesIn.owe(end.lane, { epoch: state.epoch, nonce: state.nonce, sequence: state.appliedSequence });
    if (state.targetId !== targetId) database.lanesIn.setTargetId(end.lane, targetId);
    if (newest !== undefined) {
      const { epoch, nonce, sequence, chain } = newest;
      database.lanesIn.setPoint(end.lane, { epoch, nonce, sequence, chain }, newest.appliedAtMs);
      database.inbox.removeBefore({ lane: end.lane, epoch, sequence: 0n });
    } else if (isBehind) {
      database.lanesIn.setPoint(
        end.lane,
        { epoch: 0n, nonce: new Uint8Array(0), sequence: -1n, chain: new Uint8Array(0) },
        nowMs,
      );
    }
  });
  if (isBehind) {
    log.warn(
      { lane: idText(end.lane), remembered: String(state.appliedSequence), mark: String(newest?.sequence ?? -1n) },
      'mark moved backwards: the target was restored; asking for what came after it',
    );
    const inEpoch = newest !== undefined && newest.epoch === state.epoch;
    ask.resend({
      lane: end.lane,
      senderId: end.senderId,
      epoch: state.epoch,
      nonce: state.nonce,
      first: inEpoch ? newest.sequence + 1n : 0n,
      last: 0n,
      reason: 'mark moved backwards',
    });
  } else if (state.epoch === 0n && newest !== undefined) {
    // The exchange database is new and the target is not: what was received and not applied is gone with the old inbox.
    ask.resend({
      lane: end.lane,
      senderId: end.senderId,
      epoch: newest.epoch,
      nonce: newest.nonce,
      first: newest.sequence + 1n,
      last: 0n,
      reason: 'inbox lost',
    });
  }
  if (newest !== undefined) cancelEarlierEpochs(end.lane, newest.epoch, nowMs, database);
  crashPoint('lane.recovered');
  for (const point of points) await recoverRows(target, point, end, ports);
  return true;
}

/**
 * Rows that wait, as the mark names them: a crash after they moved leaves receipt and quarantine behind the mark; a restored target
 * has rows waiting again that were settled, whose decisions are then carried out once more; a lost exchange database knows none of
 * them, so that the delivery is asked for.
 */
async function recoverRows(
  target: Pick<Target, 'amend'>,
  point: AppliedPoint,
  end: LaneEnd,
  ports: RecoverPorts,
): Promise<void> {
  const { database, ask, clock } = ports;
  const place = { lane: end.lane, epoch: point.epoch, sequence: point.sequence };
  const stored = database.receiptsOut.get(place);
  let { answer } = point;
  const isRevised = stored !== undefined && stored.revision !== answer.revision;
  if (answer.open.length === 0 && !isRevised) return;
  if (stored !== undefined && stored.revision > answer.revision) {
    const result = await target.amend({
      laneId: idText(end.lane),
      epoch: point.epoch,
      sequence: point.sequence,
      tables: new Map(),
      sections: [],
      placeOf: (section, index) => ({ section, index }),
      givenUp: [],
      revisionAbove: stored.revision,
      batchNo: '',
      sourceDepartment: '',
      appliedAtMs: clock.nowMs(),
      beforeCommit: () => undefined,
    });
    crashPoint('mark.lifted');
    if (result.kind === 'amended') answer = result.answer;
  }
  const { unknown } = database.transaction(() => followMark(place, answer, ports));
  // Without the receipt that was given nobody here knows its revision: its sender does.
  if (unknown === 0 && stored !== undefined) return;
  ask.resend({
    lane: end.lane,
    senderId: end.senderId,
    epoch: point.epoch,
    nonce: point.nonce,
    first: point.sequence,
    last: point.sequence,
    reason: 'open rows lost',
    isApart: true,
  });
}
