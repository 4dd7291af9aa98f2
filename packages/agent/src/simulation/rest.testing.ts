// Whether anything of a run still moves, and how its nodes stand, for a person who reads a failed one.

import { idText } from '@qiao/exchange';
import type { SimulatedQueue } from './bus.testing.ts';
import type { SimulatedReceiver } from './receiver.testing.ts';
import type { SimulatedSender } from './sender.testing.ts';

export interface Standing {
  readonly queues: readonly SimulatedQueue[];
  readonly sender: SimulatedSender;
  readonly receivers: readonly SimulatedReceiver[];
}

/** What still moves, or never will; empty when the run is at rest. */
export function restless({ queues, sender, receivers }: Standing): string[] {
  const found: string[] = [];
  if (queues.some(({ length }) => length > 0)) found.push('messages on the bus');
  if (!sender.isCaptured) found.push('changes not captured');
  const lanes = sender.database.lanesOut.all();
  if (lanes.length < receivers.length) found.push('a lane was never opened');
  for (const { lane, epoch, phase, stuck } of lanes) {
    if (stuck !== undefined) found.push(`sender stuck: ${stuck.code} ${stuck.message}`);
    if (phase !== 'streaming') found.push(`lane ${phase}`);
    const awaited = sender.database.deliveriesOut
      .unsettledAfter(lane, epoch, -1n, 1_000)
      .filter(({ answer }) => answer === 'awaited');
    if (awaited.length > 0) found.push(`${awaited.length} deliveries await a receipt (first ${awaited[0]?.sequence})`);
    // Also what has its receipt: a target that was put back asked for it in the last of the calm rounds.
    if (sender.database.deliveriesOut.nextRecorded(lane, epoch, 1).length > 0) found.push('deliveries wait to be sent');
  }
  for (const { database } of receivers) {
    for (const { stuck } of database.lanesIn.all()) {
      if (stuck !== undefined) found.push(`receiver stuck: ${stuck.code} ${stuck.message}`);
    }
    if (database.inbox.total().deliveries > 0) found.push('an inbox holds deliveries');
  }
  for (const { database } of [sender, ...receivers]) {
    if (database.controlOut.count() > 0) found.push('control messages queued');
  }
  return found;
}

/** One line per lane end. */
export function standing({ sender, receivers }: Standing): string[] {
  const out = sender.database.lanesOut.all().map((lane) => {
    const open = sender.database.deliveriesOut
      .unsettledAfter(lane.lane, lane.epoch, -1n, 50)
      .map(({ sequence, role, bus, answer, attempts }) => `${sequence} ${role} ${bus} ${answer} ×${attempts}`);
    return `sender ${short(lane.lane)}: epoch ${lane.epoch} ${short(lane.nonce)} ${lane.phase}, last ${lane.lastSequence}; ${open.join(', ')}`;
  });
  const into = receivers.flatMap(({ database }) =>
    database.lanesIn.all().map((lane) => {
      const lowest = database.inbox.lowestFrom(lane.lane, lane.epoch, 0n);
      const newest = database.inbox.firstOfNewestEpoch(lane.lane, lane.epoch);
      const held = [lowest, newest].flatMap((one) => (one === undefined ? [] : [`${one.epoch}/${one.sequence}`]));
      return `receiver ${short(lane.lane)}: epoch ${lane.epoch} ${short(lane.nonce)}, applied ${lane.appliedSequence}, owed ${lane.owed.epoch}/${lane.owed.sequence}; inbox ${held.join(' … ')}`;
    }),
  );
  return [...out, ...into];
}

function short(id: Uint8Array): string {
  return id.length === 16 ? idText(id).slice(0, 4) : '-';
}
