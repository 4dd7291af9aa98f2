/** The capturing side of an agent, put together: one supervised scanner per bridge that is captured here. */
import { BridgeState, ServiceCondition, ServiceLeg, type ServiceState } from '@qiao/contract/node';
import { parseId, QiaoError } from '@qiao/exchange';
import { createWakeup, describeError, type Part, supervise, type Wakeup } from '@qiao/runtime';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import { bridgeCapturePart } from './bridgeCapture.ts';
import { isCaptured, isSourceOf } from './captured.ts';
import { forgetBridge } from './plan.ts';
import type { CapturePorts, CaptureService } from './ports.ts';

interface RunningCapture {
  readonly wakeup: Wakeup;
  readonly room: Wakeup;
  readonly stop: AbortController;
  readonly done: Promise<void>;
  retries: number;
  failure: { code: string; message: string; hint: string } | undefined;
}

const LOOK_AGAIN_MS = 60_000;

export function createCaptureParts(ports: CapturePorts): CaptureService {
  const running = new Map<string, RunningCapture>();
  return {
    parts: [capturePart(ports, running)],
    states() {
      const desired = ports.desired.current();
      if (desired === undefined) return [];
      return [...desired.bridges.values()]
        .filter((bridge) => isSourceOf(desired, bridge) && bridge.state !== BridgeState.RETIRED)
        .map((bridge) => stateOf(ports, desired, bridge, running.get(bridge.bridgeId)));
    },
    wake() {
      for (const { room, wakeup } of running.values()) {
        room.wake();
        // A lane that was answered may load now.
        wakeup.wake();
      }
    },
  };
}

function capturePart(ports: CapturePorts, running: Map<string, RunningCapture>): Part {
  return {
    name: 'capture',
    async run(signal) {
      const changed = createWakeup();
      const unsubscribe = ports.desired.onChange(() => changed.wake());
      try {
        while (!signal.aborted) {
          await startAndStop(ports, running, signal);
          await changed.wait(LOOK_AGAIN_MS, signal);
        }
      } finally {
        unsubscribe();
        for (const { stop } of running.values()) stop.abort();
        await Promise.all([...running.values()].map(({ done }) => done));
        running.clear();
      }
    },
  };
}

async function startAndStop(
  ports: CapturePorts,
  running: Map<string, RunningCapture>,
  signal: AbortSignal,
): Promise<void> {
  const desired = ports.desired.current();
  if (desired === undefined) return;
  for (const [id, one] of running) {
    const bridge = desired.bridges.get(id);
    if (bridge !== undefined && isCaptured(desired, bridge)) {
      one.wakeup.wake();
      continue;
    }
    one.stop.abort();
    await one.done;
    running.delete(id);
  }
  for (const bridge of desired.bridges.values()) {
    if (bridge.state === BridgeState.RETIRED) await forgetBridge(ports.database, parseId(bridge.bridgeId));
    else if (isCaptured(desired, bridge) && !running.has(bridge.bridgeId)) {
      running.set(bridge.bridgeId, startCapture(ports, bridge, signal));
    }
  }
}

function startCapture(ports: CapturePorts, bridge: DesiredBridge, signal: AbortSignal): RunningCapture {
  const wakeup = createWakeup();
  const room = createWakeup();
  const stop = new AbortController();
  const one: RunningCapture = { wakeup, room, stop, done: Promise.resolve(), retries: 0, failure: undefined };
  const part = bridgeCapturePart(ports, bridge.bridgeId, {
    wakeup,
    room,
    onSettled() {
      one.failure = undefined;
    },
  });
  const done = supervise([part], {
    signal: AbortSignal.any([signal, stop.signal]),
    clock: ports.clock,
    log: ports.log.child({ bridge: bridge.name }),
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
): ServiceState {
  const bridgeId = parseId(bridge.bridgeId);
  const state = ports.database.captures.get(bridgeId);
  const isOn = isCaptured(desired, bridge);
  const waiting = running?.failure ?? deletesHeld(ports, bridgeId);
  const cause = state?.stuck ?? waiting;
  return {
    bridgeId,
    laneId: new Uint8Array(0),
    leg: ServiceLeg.CAPTURE,
    condition: conditionOf(isOn, state?.stuck !== undefined, waiting !== undefined),
    code: isOn ? (cause?.code ?? '') : '',
    message: isOn ? (cause?.message ?? '') : '',
    hint: isOn ? (cause?.hint ?? '') : '',
    waitingDeliveries: 0n,
    waitingBytes: 0n,
    lastRunAtMs: BigInt(state?.lastRunAtMs ?? 0),
    openRows: 0n,
    decidedRows: 0n,
    retries: BigInt(running?.retries ?? 0),
  };
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
    code: 'DELETES_HELD',
    message: `deletes are held: ${each.join('; ')}`,
    hint: 'mend those rows at the source, or the dictionary of the key in the bridge; a column that cannot travel: leave it out (columns:)',
  };
}

function conditionOf(isOn: boolean, isStuck: boolean, isWaiting: boolean): ServiceCondition {
  if (!isOn) return ServiceCondition.STOPPED;
  if (isStuck) return ServiceCondition.STUCK;
  return isWaiting ? ServiceCondition.RETRYING : ServiceCondition.RUNNING;
}
