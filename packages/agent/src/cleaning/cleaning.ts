// Forgetting what is over: lanes that ended or left the snapshot, with everything that was kept for them, bridges captured here
// no more, definitions that no delivery can name any more. Nothing goes before its retention: a snapshot of a hub that was
// restored from a backup may lack for a while what still lives.

import { type Clock, crashPoint, type Log, type Part } from '@qiao/runtime';
import { forgetBridge } from '../capture/plan.ts';
import type { DesiredState } from '../control/desired.ts';
import type { ExchangeDatabase } from '../exchange-database/index.ts';
import { endLane, type LanePorts } from '../send/lanes.ts';
import { type CancelPorts, cancelOpenReceipts } from './cancelOpen.ts';
import type { Named } from './named.ts';

export interface CleaningPorts extends LanePorts {
  readonly database: ExchangeDatabase;
  readonly desired: Pick<DesiredState, 'current' | 'onChange'>;
  readonly cancel: CancelPorts;
  /** What the newest snapshot names; undefined before the first. */
  named(): Named | undefined;
  /** How long what is over stays, milliseconds. */
  readonly retentionMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

const EVERY_MS = 60_000;
/** Deliveries of an older version of a bridge may wait this long at a sender; afterwards they are voided and brought again. */
const VERSIONS_KEPT_MS = 90 * 86_400_000;

export function cleaningPart(ports: CleaningPorts): Part {
  const everyMs = Math.min(EVERY_MS, Math.max(ports.retentionMs, 1_000));
  return {
    name: 'cleaning',
    async run(signal) {
      while (!signal.aborted) {
        await ports.clock.sleep(everyMs, signal);
        if (signal.aborted) return;
        await clean(ports);
      }
    },
  };
}

/** One round. Safe at any time; a crash anywhere in it is finished by the next. */
export async function clean(ports: CleaningPorts): Promise<void> {
  const named = ports.named();
  if (named === undefined || ports.desired.current() === undefined) return;
  const nowMs = ports.clock.nowMs();
  cleanLanesOut(ports, named, nowMs);
  cleanLanesIn(ports, named, nowMs);
  for (const bridge of ports.database.captures.bridges()) {
    // Its lanes are ended first: a lane that comes back would want its digests.
    const isOver = !named.bridges.has(hex(bridge)) && ports.database.lanesOut.ofBridge(bridge).length === 0;
    if (isOver) await forgetBridge(ports.database, bridge);
  }
  ports.database.bridgeVersions.forgetBefore(nowMs - VERSIONS_KEPT_MS);
  for (const bridge of ports.database.bridgeVersions.bridges()) {
    if (
      !named.landing.has(hex(bridge)) &&
      !ports.database.lanesIn.all().some((lane) => hex(lane.bridge) === hex(bridge))
    ) {
      ports.database.bridgeVersions.remove(bridge);
    }
  }
}

function cleanLanesOut(ports: CleaningPorts, named: Named, nowMs: number): void {
  const { database, log } = ports;
  for (const lane of database.lanesOut.all()) {
    const laneId = hex(lane.lane);
    if (lane.phase !== 'ended' && named.lanes.has(laneId)) {
      if (lane.goneAtMs !== 0) database.lanesOut.clearGone(lane.lane);
      continue;
    }
    if (lane.goneAtMs === 0) {
      database.lanesOut.setGone(lane.lane, nowMs);
      continue;
    }
    if (!isPast(lane.goneAtMs, ports.retentionMs, nowMs)) continue;
    if (lane.phase !== 'ended') endLane(ports, { laneId });
    // Its parcels go with the purge, when their own retention has passed.
    if (database.deliveriesOut.hasParcels(lane.lane)) continue;
    database.transaction(() => {
      database.deliveriesOut.removeOfLane(lane.lane);
      database.receiptsIn.removeLane(lane.lane);
      database.jobs.forgetLosses(lane.lane);
      database.resendsTaken.removeLane(lane.lane);
      database.lanesOut.remove(lane.lane);
    });
    log.info({ lane: laneId }, 'a lane that ended here is forgotten');
  }
}

function cleanLanesIn(ports: CleaningPorts, named: Named, nowMs: number): void {
  const { database, log } = ports;
  for (const lane of database.lanesIn.all()) {
    const laneId = hex(lane.lane);
    if (named.lanes.has(laneId) && !lane.ended) {
      if (lane.goneAtMs !== 0) database.lanesIn.setGone(lane.lane, 0);
      continue;
    }
    if (lane.goneAtMs === 0) {
      database.lanesIn.setGone(lane.lane, nowMs);
      continue;
    }
    if (!isPast(lane.goneAtMs, ports.retentionMs, nowMs)) continue;
    const cancelled = database.transaction(() => {
      const rows = cancelOpenReceipts(lane, ports.cancel);
      forgetKept(database, lane.lane);
      // The target still holds its mark: apply removes that, and then this row.
      if (lane.targetId === undefined) database.lanesIn.remove(lane.lane);
      return rows;
    });
    crashPoint('cleaning.laneForgotten');
    if (cancelled > 0) log.warn({ lane: laneId, rows: cancelled }, 'open rows of a lane that ended were cancelled');
  }
}

/** What was kept for a lane that ended here, but for the row that says how far its target is. Call it inside a transaction. */
export function forgetKept(
  { inbox, quarantine, receiptsOut }: Pick<ExchangeDatabase, 'inbox' | 'quarantine' | 'receiptsOut'>,
  lane: Uint8Array,
): void {
  inbox.removeLane(lane);
  quarantine.removeLane(lane);
  receiptsOut.removeLane(lane);
}

/** Past its retention, or further off than it could be: the clock was set back since. */
export function isPast(sinceMs: number, retentionMs: number, nowMs: number): boolean {
  return nowMs - sinceMs >= retentionMs || sinceMs - nowMs > retentionMs;
}

function hex(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('hex');
}
