/**
 * A receiver says where a lane stands with it. One that was put back together with its target remembers nothing of what it answered, and
 * nobody but its sender knows; a sender that was put back remembers nothing of what it sent, and nobody but the receiver knows.
 *
 * What a receiver says may be old when it is heard. So nothing is sent at a word: the newest settled delivery is asked about, and a receiver
 * that does not have it asks for what it lacks.
 */
import { ControlMessage, type KnownReceipt, type ResendRequest } from '@qiao/contract/control';
import { idText, sameBytes } from '@qiao/exchange';
import type { LaneOut } from '../exchange-database/index.ts';
import type { ResendAnswer, SendPorts } from './ports.ts';
import { stickForked } from './settle.ts';

type PlacePorts = Pick<SendPorts, 'database' | 'desired' | 'clock'>;

/** Compares what a receiver said with what this end knows. Call it inside a transaction. */
export function hearPlace(
  ports: PlacePorts,
  lane: LaneOut,
  { epoch, firstSequence }: Pick<ResendRequest, 'epoch' | 'firstSequence'>,
): ResendAnswer {
  const isPresent = epoch?.ordinal === lane.epoch && sameBytes(epoch.nonce, lane.nonce);
  if (!isPresent && (epoch === undefined || epoch.ordinal >= lane.epoch)) return { kind: 'otherEpoch' };
  if (isPresent && firstSequence > lane.lastSequence + 1n) {
    stickForked(
      ports,
      lane,
      `the destination has deliveries up to ${epoch.ordinal}/${firstSequence - 1n}, which were never sent from here`,
    );
    return { kind: 'forked' };
  }
  const isThere = isPresent && lane.settledThrough < firstSequence;
  if (lane.settledThrough < 0n || isThere) return { kind: 'known' };
  askAbout(ports, lane, [{ sequence: lane.settledThrough, revision: 1, settled: true }], `place:${idText(lane.lane)}`);
  return { kind: 'asked' };
}

/** Asks the receiver of a lane about deliveries of its present epoch; a later question under one topic takes an earlier one's place. */
export function askAbout(
  { database, clock }: Pick<SendPorts, 'database' | 'clock'>,
  { lane, epoch, nonce, receiver }: LaneOut,
  known: readonly KnownReceipt[],
  topic: string,
): void {
  const value = { laneId: lane, epoch: { ordinal: epoch, nonce }, known: [...known] };
  const message = ControlMessage.encode({ toNodeId: receiver, body: { $case: 'receiptsWanted', value } }).finish();
  database.controlOut.add(message, clock.nowMs(), topic);
}
