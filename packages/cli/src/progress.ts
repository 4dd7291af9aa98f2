// Waiting for long work: what is waited for, and rows that have their outcome, of the rows sent. It is told on standard error and only
// where a person watches; scripts just wait.

import type { BoardLane, NodeState } from '@qiao/contract/monitor';
import { ServiceCondition, ServiceLeg } from '@qiao/contract/node';
import { QiaoError } from '@qiao/exchange';
import { systemClock } from '@qiao/runtime';
import type { Command } from 'commander';
import { withMonitor } from './context.ts';
import { grouped, remark } from './output.ts';

/** For the help of every verb that waits so. */
export const WAIT_LIMIT = 'it waits without limit, Ctrl-C ends the waiting alone';

const LOOK_EVERY_MS = 500;

/**
 * Waits until a run that began after `sinceMs` (milliseconds since 1970 UTC) is finished at the source and every row of the
 * bridge has its outcome. Throws SERVICE_STUCK when a person must act first.
 */
export async function waitForExchange(command: Command, bridge: string, sinceMs: number): Promise<void> {
  let told = '';
  const tell = (text: string) => {
    if (text !== told && process.stderr.isTTY) remark(text);
    told = text;
  };
  await withMonitor(command, async (monitor) => {
    for (;;) {
      const board = await monitor.getBoard({});
      const lanes = board.lanes.filter(({ books }) => books?.bridge === bridge);
      requireNoneStuck(bridge, lanes);
      const sent = sum(lanes, ({ books }) => books?.sent?.total ?? 0n);
      const settled = sum(lanes, ({ books }) => (books?.outcomes ?? []).reduce((rows, cell) => rows + cell.rows, 0n));
      const isQuiet = lanes.length > 0 && lanes.every(({ books }) => books?.inFlightDeliveries === 0n);
      const isRun = hasRun(board.nodes, lanes, sinceMs);
      if (isQuiet && sent === settled && isRun) return;
      const source = isRun ? 'the run is finished at the source' : 'the source has not told that the run is finished';
      tell(`${bridge}: ${source}; ${grouped(settled)} of ${grouped(sent)} rows sent have their outcome`);
      await systemClock.sleep(LOOK_EVERY_MS);
    }
  });
}

function requireNoneStuck(bridge: string, lanes: readonly BoardLane[]): void {
  const stuck = lanes.find((lane) => [lane.capture, lane.send, lane.apply].includes(ServiceCondition.STUCK));
  if (stuck === undefined) return;
  throw new QiaoError(
    'SERVICE_STUCK',
    `${bridge} to ${stuck.books?.destinationNode}: ${stuck.code}: ${stuck.message}`,
    {
      hint: 'qiao alert list',
    },
  );
}

/** Whether the source's node tells of a run of this bridge that ended after the moment. */
function hasRun(nodes: readonly NodeState[], lanes: readonly BoardLane[], sinceMs: number): boolean {
  const bridgeId = lanes[0]?.books?.bridgeId ?? new Uint8Array();
  const captures = nodes
    .flatMap(({ heartbeat }) => heartbeat?.services ?? [])
    .filter((service) => service.leg === ServiceLeg.CAPTURE && Buffer.compare(service.bridgeId, bridgeId) === 0);
  return captures.some(({ lastRunAtMs }) => Number(lastRunAtMs) >= sinceMs);
}

function sum(lanes: readonly BoardLane[], of: (lane: BoardLane) => bigint): number {
  return Number(lanes.reduce((total, lane) => total + of(lane), 0n));
}
