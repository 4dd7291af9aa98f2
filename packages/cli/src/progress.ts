// Waiting for long work: what is waited for, where it stands, and rows that have their outcome, of the rows sent. It is told on standard error:
// as it changes where a person watches, and as a line now and then where a script keeps its log.

import type { Board, BoardLane } from '@qiao/contract/monitor';
import { ServiceCondition, ServiceLeg, type ServiceState } from '@qiao/contract/node';
import { QiaoError } from '@qiao/exchange';
import { type Clock, systemClock } from '@qiao/runtime';
import type { Command } from 'commander';
import { withMonitor } from './context.ts';
import { grouped, moment, remark } from './output.ts';

/** For the help of every verb that waits so. */
export const WAIT_LIMIT = 'it waits without limit, Ctrl-C ends the waiting alone';

const LOOK_EVERY_MS = 500;
/** Where nobody watches. */
const LINE_EVERY_MS = 10_000;
/** What was stuck before the run was asked for may be mended: its node is given time to try. */
const TRY_MS = 20_000;

/** What the nodes have told takes a moment to reach the books. */
const BOOKS_MS = 20_000;

/**
 * Waits until a run that began after `sinceMs` (milliseconds since 1970 UTC) is over. Throws SERVICE_STUCK when a person must act first,
 * BOOKS_INCOMPLETE when only the books do not show its end.
 */
export async function waitForExchange(command: Command, bridge: string, sinceMs: number): Promise<void> {
  const tell = teller();
  const triesUntilMs = systemClock.elapsedMs() + TRY_MS;
  let before: string | undefined;
  let lacking = '';
  let lackingUntilMs = 0;
  await withMonitor(command, async (monitor) => {
    for (;;) {
      const stand = standOf(await monitor.getBoard({}), bridge, sinceMs);
      before ??= stand.stuck?.message ?? '';
      if (stand.isDone) return;
      if (stand.stuck !== undefined && (stand.stuck.message !== before || systemClock.elapsedMs() > triesUntilMs)) {
        throw stand.stuck;
      }
      if (stand.isLacking !== true || stand.text !== lacking) {
        lacking = stand.text;
        lackingUntilMs = systemClock.elapsedMs() + BOOKS_MS;
      } else if (systemClock.elapsedMs() > lackingUntilMs) throw incomplete(bridge, stand.text);
      tell(`${bridge}: ${stand.text}`);
      await systemClock.sleep(LOOK_EVERY_MS);
    }
  });
}

/** Tells where long work stands: each change on a terminal; elsewhere a line at once, and no more than one in ten seconds, also of what stays as it is. */
export function teller(clock: Pick<Clock, 'elapsedMs'> = systemClock): (text: string) => void {
  let told = '';
  let toldAtMs = Number.NEGATIVE_INFINITY;
  return (text) => {
    const isDue = process.stderr.isTTY ? text !== told : clock.elapsedMs() - toldAtMs >= LINE_EVERY_MS;
    if (!isDue) return;
    remark(text);
    told = text;
    toldAtMs = clock.elapsedMs();
  };
}

export interface Stand {
  /** The run is finished at the source, and every row of the bridge has its outcome. */
  readonly isDone: boolean;
  /** What is waited for, and where it stands. */
  readonly text: string;
  /** A service that goes on when a person has acted. */
  readonly stuck?: QiaoError | undefined;
  /** Nothing waits at either end any more: what is not settled is missing in the books alone. */
  readonly isLacking?: boolean;
}

function incomplete(bridge: string, stand: string): QiaoError {
  return new QiaoError(
    'BOOKS_INCOMPLETE',
    `${bridge}: nothing waits at its nodes any more, and the monitor’s books lack outcomes: ${stand}`,
    { hint: `qiao reconcile ${bridge} --deliveries --verdict deviation` },
  );
}

/** Where a run of the bridge that began after the moment stands. */
export function standOf(board: Board, bridge: string, sinceMs: number): Stand {
  const lanes = board.lanes.filter(({ books }) => books?.bridge === bridge);
  const [first] = lanes;
  if (first === undefined) return { isDone: false, text: 'waits until the monitor has heard of the bridge' };
  const sent = sum(lanes, ({ books }) => books?.sent?.total ?? 0n);
  const settled = sum(lanes, ({ books }) => (books?.outcomes ?? []).reduce((rows, cell) => rows + cell.rows, 0n));
  const forgotten = sum(lanes, ({ books }) => books?.forgottenRows ?? 0n);
  const capture = servicesOf(board, first).find(({ leg }) => leg === ServiceLeg.CAPTURE);
  const isRun = Number(capture?.lastRunAtMs ?? 0n) >= sinceMs;
  const waits = [
    ...(isRun ? [] : [`waits until ${first.books?.sourceNode} has finished the run${troubleOf(capture)}`]),
    ...lanes.flatMap((lane) => laneWaits(board, lane)),
    ...board.nodes.filter(({ code, silent }) => silent && isEnd(lanes, code)).map(silence),
  ];
  const rows = `${grouped(settled)} of ${grouped(sent)} rows sent have their outcome`;
  return {
    isDone: isRun && sent === settled + forgotten && lanes.every(({ books }) => books?.inFlightDeliveries === 0n),
    text: [...(isRun ? ['the run is finished at the source'] : []), ...waits, rows].join('; '),
    stuck: stuckOf(board, bridge, lanes),
    isLacking: isRun && lanes.every(({ waitingDeliveries }) => waitingDeliveries === 0n),
  };
}

function laneWaits(board: Board, lane: BoardLane): string[] {
  const inFlight = lane.books?.inFlightDeliveries ?? 0n;
  if (inFlight === 0n) return [];
  const apply = servicesOf(board, lane).find(({ leg }) => leg === ServiceLeg.APPLY);
  return [`waits for ${grouped(inFlight)} receipts of ${lane.books?.destinationNode}${troubleOf(apply)}`];
}

function troubleOf(service: ServiceState | undefined): string {
  return service === undefined || service.code === '' ? '' : ` (${service.code}: ${service.message})`;
}

function silence({ code, lastHeartbeatAtMs }: Board['nodes'][number]): string {
  const since = moment(lastHeartbeatAtMs);
  return since === '' ? `${code} was never heard` : `${code} is silent since ${since}`;
}

function isEnd(lanes: readonly BoardLane[], node: string): boolean {
  return lanes.some(({ books }) => books?.sourceNode === node || books?.destinationNode === node);
}

function stuckOf(board: Board, bridge: string, lanes: readonly BoardLane[]): QiaoError | undefined {
  const lane = lanes.find((each) => [each.capture, each.send, each.apply].includes(ServiceCondition.STUCK));
  if (lane === undefined) return undefined;
  const service = servicesOf(board, lane).find(({ condition }) => condition === ServiceCondition.STUCK);
  const { code, message } = service ?? lane;
  const hint = service?.hint ?? '';
  return new QiaoError('SERVICE_STUCK', `${bridge} to ${lane.books?.destinationNode}: ${code}: ${message}`, {
    hint: hint === '' ? 'qiao alert list' : hint,
  });
}

/** What the nodes tell of a lane, and of the capture that feeds it. */
function servicesOf({ nodes }: Board, { books }: BoardLane): ServiceState[] {
  const isSame = (a: Uint8Array, b: Uint8Array = new Uint8Array()) => Buffer.compare(a, b) === 0;
  return nodes
    .flatMap(({ heartbeat }) => heartbeat?.services ?? [])
    .filter(
      ({ bridgeId, laneId }) =>
        isSame(bridgeId, books?.bridgeId) && (laneId.length === 0 || isSame(laneId, books?.laneId)),
    );
}

function sum(lanes: readonly BoardLane[], of: (lane: BoardLane) => bigint): number {
  return Number(lanes.reduce((total, lane) => total + of(lane), 0n));
}
