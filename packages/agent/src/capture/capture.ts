/** The capturing side of an agent, put together: one supervised scanner per bridge that is captured here. */
import { BridgeState, ServiceCondition, ServiceLeg, type ServiceState } from '@qiao/contract/node';
import { parseId, QiaoError } from '@qiao/exchange';
import { createWakeup, describeError, type Part, supervise, type Wakeup } from '@qiao/runtime';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import { bridgeCapturePart } from './bridgeCapture.ts';
import { isByLog, isCaptured, isSourceOf } from './captured.ts';
import { LogReaders } from './logReaders.ts';
import { forgetBridge } from './plan.ts';
import type { CapturePorts, CaptureService } from './ports.ts';

interface RunningCapture {
  readonly wakeup: Wakeup;
  /** A person asked for a run: whatever failed is tried at once. */
  readonly asked: Wakeup;
  runNumber: bigint;
  readonly room: Wakeup;
  readonly stop: AbortController;
  readonly done: Promise<void>;
  retries: number;
  failure: { code: string; message: string; hint: string } | undefined;
}

const LOOK_AGAIN_MS = 60_000;
/** A transaction that is open for longer keeps a cursor's position for longer than is usual. */
const CURSOR_HELD_MS = 60 * 60_000;
/** Only a person mends the rows that they are held for. */
const DELETES_HELD = 'DELETES_HELD';
/** A gap is shown for so long, also when the scan that closed it took no time. */
const GAP_SHOWN_MS = 60 * 60_000;

export function createCaptureParts(ports: CapturePorts): CaptureService {
  const running = new Map<string, RunningCapture>();
  const readers = new LogReaders(ports, (bridgeId) => running.get(bridgeId)?.wakeup.wake());
  return {
    parts: [capturePart(ports, running, readers)],
    states() {
      const desired = ports.desired.current();
      if (desired === undefined) return [];
      return [...desired.bridges.values()]
        .filter((bridge) => isSourceOf(desired, bridge) && bridge.state !== BridgeState.RETIRED)
        .map((bridge) => stateOf(ports, desired, bridge, running.get(bridge.bridgeId), readers));
    },
    standing(bridgeId) {
      const bridge = ports.desired.current()?.bridges.get(bridgeId);
      if (bridge === undefined) return '';
      const { code, message } = standingOf(ports, bridge, running.get(bridgeId), readers) ?? { code: '', message: '' };
      return code === '' ? '' : `${code}: ${message}`;
    },
    wake() {
      for (const { room, wakeup } of running.values()) {
        room.wake();
        // A lane that was answered may load now.
        wakeup.wake();
      }
      readers.wake();
    },
  };
}

function capturePart(ports: CapturePorts, running: Map<string, RunningCapture>, readers: LogReaders): Part {
  return {
    name: 'capture',
    async run(signal) {
      const changed = createWakeup();
      const unsubscribe = ports.desired.onChange(() => changed.wake());
      try {
        while (!signal.aborted) {
          await startAndStop(ports, running, readers, signal);
          readers.start(signal);
          await changed.wait(LOOK_AGAIN_MS, signal);
        }
      } finally {
        unsubscribe();
        for (const { stop } of running.values()) stop.abort();
        await Promise.all([...[...running.values()].map(({ done }) => done), readers.stop()]);
        running.clear();
      }
    },
  };
}

async function startAndStop(
  ports: CapturePorts,
  running: Map<string, RunningCapture>,
  readers: LogReaders,
  signal: AbortSignal,
): Promise<void> {
  const desired = ports.desired.current();
  if (desired === undefined) return;
  for (const [id, one] of running) {
    const bridge = desired.bridges.get(id);
    if (bridge !== undefined && isCaptured(desired, bridge)) {
      if (bridge.runNumber > one.runNumber) {
        one.runNumber = bridge.runNumber;
        if (isByLog(bridge)) readers.ask(bridge);
        one.asked.wake();
      }
      one.wakeup.wake();
      continue;
    }
    one.stop.abort();
    await one.done;
    running.delete(id);
  }
  for (const bridge of desired.bridges.values()) {
    // What it had of a log keeps no database waiting.
    if (!isByLog(bridge) || !isSourceOf(desired, bridge)) ports.database.logs.remove(parseId(bridge.bridgeId));
    if (bridge.state === BridgeState.RETIRED) await forgetBridge(ports.database, parseId(bridge.bridgeId));
    else if (isCaptured(desired, bridge) && !running.has(bridge.bridgeId)) {
      running.set(bridge.bridgeId, startCapture(ports, bridge, readers, signal));
    }
  }
}

function startCapture(
  ports: CapturePorts,
  bridge: DesiredBridge,
  readers: LogReaders,
  signal: AbortSignal,
): RunningCapture {
  const wakeup = createWakeup();
  const room = createWakeup();
  const asked = createWakeup();
  const stop = new AbortController();
  const { runNumber } = bridge;
  const waits = { wakeup, room, asked };
  const one: RunningCapture = { ...waits, runNumber, stop, done: Promise.resolve(), retries: 0, failure: undefined };
  const part = bridgeCapturePart(ports, bridge.bridgeId, {
    wakeup,
    room,
    hold: async (now, scanning) => (isByLog(now) ? await readers.of(now).hold(now.bridgeId, scanning) : undefined),
    onSettled(trouble) {
      one.failure = trouble && { code: trouble.code, message: trouble.message, hint: trouble.hint };
    },
  });
  const done = supervise([part], {
    signal: AbortSignal.any([signal, stop.signal]),
    clock: ports.clock,
    log: ports.log.child({ bridge: bridge.name }),
    asked,
    onFailure(_part, error) {
      const { code, message } = describeError(error);
      one.retries += 1;
      one.failure = { code, message, hint: error instanceof QiaoError ? error.hint : '' };
    },
  });
  return Object.assign(one, { done });
}

function stateOf(
  ports: CapturePorts,
  desired: Desired,
  bridge: DesiredBridge,
  running: RunningCapture | undefined,
  readers: LogReaders,
): ServiceState {
  const bridgeId = parseId(bridge.bridgeId);
  const state = ports.database.captures.get(bridgeId);
  const isOn = isCaptured(desired, bridge);
  const waiting = running?.failure ?? owedGap(ports, bridge) ?? standingOf(ports, bridge, running, readers);
  // It goes on, and a person should know what was lost.
  const cause = state?.stuck ?? waiting ?? scannedGap(ports, bridge) ?? gaps(ports, bridge);
  return {
    bridgeId,
    laneId: new Uint8Array(0),
    leg: ServiceLeg.CAPTURE,
    condition: conditionOf(isOn, state?.stuck !== undefined || waiting?.code === DELETES_HELD, waiting !== undefined),
    code: isOn ? (cause?.code ?? '') : '',
    message: isOn ? (cause?.message ?? '') : '',
    hint: isOn ? (cause?.hint ?? '') : '',
    waitingDeliveries: 0n,
    waitingBytes: 0n,
    oldestWaitingAtMs: 0n,
    lastRunAtMs: BigInt(state?.lastRunAtMs ?? 0),
    openRows: BigInt(ports.database.refusals.ofBridge(bridgeId)),
    decidedRows: 0n,
    retries: BigInt(running?.retries ?? 0),
  };
}

/** What keeps rows from leaving. */
function standingOf(
  ports: CapturePorts,
  bridge: DesiredBridge,
  running: RunningCapture | undefined,
  readers: LogReaders,
): RunningCapture['failure'] {
  const bridgeId = parseId(bridge.bridgeId);
  return (
    ports.database.captures.get(bridgeId)?.stuck ??
    running?.failure ??
    deletesHeld(ports, bridgeId) ??
    cursorTrouble(ports, bridge) ??
    (isByLog(bridge) ? readers.of(bridge).troubleOf(bridge.bridgeId) : undefined)
  );
}

/** Rows that are gone at the source and stay at the destinations, because of rows that cannot be named. */
function deletesHeld({ database }: CapturePorts, bridgeId: Uint8Array): RunningCapture['failure'] {
  const tables = database.captures.holding(bridgeId);
  if (tables.length === 0) return undefined;
  const each = tables.map(
    ({ name, heldDeletes, nameless }) =>
      `${heldDeletes} row(s) of ${name} are missing, but ${nameless} row(s) without a usable key may be among them`,
  );
  return {
    code: DELETES_HELD,
    message: `deletes are held: ${each.join('; ')}`,
    hint: 'mend those rows at the source, or the dictionary of the key in the bridge; a column that cannot travel: leave it out (columns:)',
  };
}

/** History was lost, and the tables are not scanned yet. */
function owedGap({ database }: CapturePorts, bridge: DesiredBridge): RunningCapture['failure'] {
  const owes = database.logs.get(parseId(bridge.bridgeId))?.owes;
  if (owes?.code !== 'LOG_GAP') return undefined;
  return {
    code: 'LOG_GAP',
    message: `history was lost at the source: ${owes.message}`,
    hint: 'the tables are scanned as soon as they can be; nothing is to be done',
  };
}

/** History was lost not long ago, and nobody has said yet that they know. */
function scannedGap({ database, clock }: CapturePorts, bridge: DesiredBridge): RunningCapture['failure'] {
  const state = database.logs.get(parseId(bridge.bridgeId));
  if (state === undefined || clock.nowMs() - state.gapAtMs >= GAP_SHOWN_MS) return undefined;
  return {
    code: 'LOG_GAP',
    message:
      'history was lost at the source, and the tables were scanned: what the rows are now has been sent; what they were in between is lost',
    hint: `say that you know: qiao bridge run ${bridge.name}`,
  };
}

/** The source of a cursor was put back, or somebody's open transaction has kept its position for long. */
function cursorTrouble(
  { database, clock }: CapturePorts,
  { bridgeId, name }: DesiredBridge,
): RunningCapture['failure'] {
  const troubles = database.cursors.troubles(parseId(bridgeId), clock.nowMs() - CURSOR_HELD_MS);
  const tablesOf = (some: typeof troubles) => some.map((each) => each.name).join(', ');
  const back = troubles.filter(({ wentBack }) => wentBack);
  if (back.length > 0) {
    return {
      code: 'CURSOR_WENT_BACK',
      message: `the source lies behind what was captured of it (${tablesOf(back)}): put back from a backup, made anew, its newest rows deleted, or its clock set back. The tables were read whole; rows that are gone stay at the destinations`,
      hint: `compare both ends: qiao bridge resync ${name}; then say that you know: qiao bridge run ${name}`,
    };
  }
  if (troubles.length === 0) return undefined;
  const sinceMs = Math.min(...troubles.map(({ heldSinceMs }) => heldSinceMs ?? Number.POSITIVE_INFINITY));
  return {
    code: 'CURSOR_HELD',
    message: `a transaction of the source database has been open since before ${new Date(sinceMs).toISOString()}: each scan reads again what came after (${tablesOf(troubles)})`,
    hint: 'nothing is lost; find it (PostgreSQL: pg_stat_activity, pg_prepared_xacts; MySQL: information_schema.INNODB_TRX), and end it',
  };
}

/** Triggers were away, or what they noted did not suffice. */
function gaps({ database }: CapturePorts, { bridgeId, name }: DesiredBridge): RunningCapture['failure'] {
  const found = database.triggers.gaps(parseId(bridgeId));
  if (found.length === 0) return undefined;
  return {
    code: 'TRIGGER_GAP',
    message: `changes at the source were not noted: ${found.map(({ reason }) => reason).join('; ')}. The tables are read whole, so that both ends agree again; what came and went meanwhile is not known`,
    hint: `say that you know: qiao bridge run ${name}`,
  };
}

function conditionOf(isOn: boolean, isStuck: boolean, isWaiting: boolean): ServiceCondition {
  if (!isOn) return ServiceCondition.STOPPED;
  if (isStuck) return ServiceCondition.STUCK;
  return isWaiting ? ServiceCondition.RETRYING : ServiceCondition.RUNNING;
}
