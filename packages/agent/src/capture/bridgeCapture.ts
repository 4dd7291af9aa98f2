/**
 * One bridge's capture: waits for its next scan, runs it, and says when a person must act. One of these runs per bridge, so
 * two scans of a bridge never overlap.
 */
import { ProblemsError, parseId, QiaoError } from '@qiao/exchange';
import type { Part, Wakeup } from '@qiao/runtime';
import type { Desired, DesiredBridge } from '../control/desired.ts';
import { exposeProblems } from '../control/permissions.ts';
import { alignLanes } from '../send/lanes.ts';
import { BUDGET_LOOK_AGAIN_MS, isOverBudget } from './budget.ts';
import { capturedBridge, isByLog } from './captured.ts';
import type { LogScan } from './logScans.ts';
import type { CapturePorts } from './ports.ts';
import { scanBridge, waitsForSnapshot } from './scan.ts';
import { ScanCuts } from './scanCuts.ts';
import { type Due, dueScan } from './schedule.ts';

const LOOK_AGAIN_MS = 60_000;

export interface BridgeCaptureHooks {
  readonly wakeup: Wakeup;
  readonly room: Wakeup;
  /** With capture `log`: takes the bridge out of the log. */
  hold(bridge: DesiredBridge, signal: AbortSignal): Promise<LogScan | undefined>;
  /** A scan finished, or the capture stuck: earlier failures are history, but for what the next scan will meet again. */
  onSettled(trouble?: QiaoError): void;
}

/** Captures until stopped. Throws transient failures for its supervisor; permanent ones stick until a person has mended their cause. */
export function bridgeCapturePart(ports: CapturePorts, bridgeId: string, hooks: BridgeCaptureHooks): Part {
  const startedAtMs = ports.clock.nowMs();
  const cuts = new ScanCuts(ports.limits);
  let triedAtMs: number | undefined;
  return {
    name: `capture:${bridgeId.slice(0, 8)}`,
    async run(signal) {
      while (!signal.aborted) {
        const desired = ports.desired.current();
        const bridge = capturedBridge(desired, bridgeId);
        if (desired === undefined || bridge === undefined) {
          await hooks.wakeup.wait(LOOK_AGAIN_MS, signal);
          continue;
        }
        alignLanes(ports, desired, bridge);
        const due = dueOf(ports, desired, bridge, startedAtMs, triedAtMs);
        if (due.kind === 'now' && isOverBudget(ports, parseId(bridgeId), bridge.definition.limits?.retention?.bytes)) {
          // Scans that find little would otherwise add to a full outbox for ever.
          await hooks.room.wait(BUDGET_LOOK_AGAIN_MS, signal);
        } else if (due.kind === 'now') {
          await scan(ports, desired, bridge, due, hooks, cuts, signal);
          triedAtMs = ports.clock.nowMs();
        } else {
          const pauseMs = due.kind === 'at' ? Math.min(due.atMs - ports.clock.nowMs(), LOOK_AGAIN_MS) : LOOK_AGAIN_MS;
          await hooks.wakeup.wait(Math.max(pauseMs, 1), signal);
        }
      }
    },
  };
}

function dueOf(
  { database, clock, limits }: CapturePorts,
  desired: Desired,
  bridge: DesiredBridge,
  startedAtMs: number,
  triedAtMs: number | undefined,
): Due {
  const bridgeId = parseId(bridge.bridgeId);
  const state = database.captures.get(bridgeId);
  const log = database.logs.get(bridgeId);
  const lanes = database.lanesOut.ofBridge(bridgeId).filter((lane) => !waitsForSnapshot(lane, bridge));
  return dueScan({
    bridge,
    state,
    hasLoading: lanes.some((lane) => lane.phase === 'loading'),
    hasLanes: lanes.some((lane) => lane.phase === 'loading' || lane.phase === 'streaming'),
    triedAtMs,
    owesScan: isByLog(bridge)
      ? log === undefined || log.owes !== undefined || state?.version !== bridge.version
      : undefined,
    startedAtMs,
    nowMs: clock.nowMs(),
    realtimeEveryMs: limits.compareEveryMs,
    timeZone: desired.timeZone,
  });
}

async function scan(
  ports: CapturePorts,
  desired: Desired,
  bridge: DesiredBridge,
  due: Extract<Due, { kind: 'now' }>,
  hooks: BridgeCaptureHooks,
  cuts: ScanCuts,
  signal: AbortSignal,
): Promise<void> {
  const startedMs = ports.clock.nowMs();
  const before = ports.database.captures.get(parseId(bridge.bridgeId))?.stuck;
  const sayStuck = ({ code, message, hint }: QiaoError): void => {
    if (before?.code === code && before.message === message) return; // said before, and still so
    ports.log.error({ bridge: bridge.name, code, hint }, 'capture is stuck until a person acts');
  };
  oweNewVersion(ports, bridge);
  try {
    const problems = exposeProblems(bridge.definition, ports.permissions);
    if (problems.length > 0) throw new ProblemsError(problems);
    const { runNumber, allowedDeletes } = due;
    await using log = await hooks.hold(bridge, signal);
    const work = { desired, bridge, runNumber, allowedDeletes, signal, room: hooks.room, log };
    const result = await scanBridge(ports, work);
    if (result.guarded !== undefined) sayStuck(result.guarded);
    hooks.onSettled(cuts.ended(log?.isGivenUp === true ? 'logBudgetBytes' : undefined));
    ports.log.debug(
      { bridge: bridge.name, scannedRows: result.rows, tookMs: ports.clock.nowMs() - startedMs },
      'scan finished',
    );
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof QiaoError && error.code === 'SNAPSHOT_TOO_LONG') throw cuts.ended('snapshotMaxMs') ?? error;
    if (!(error instanceof QiaoError) || error.fate !== 'permanent') throw error;
    const { code, message, hint } = error;
    ports.database.captures.stick(parseId(bridge.bridgeId), bridge.version, due.runNumber, { code, message, hint });
    sayStuck(error);
    hooks.onSettled();
  }
}

/** Before anything of the new version is written: however its scan ends, the log does not go on without one. */
function oweNewVersion({ database }: CapturePorts, bridge: DesiredBridge): void {
  const id = parseId(bridge.bridgeId);
  if (!isByLog(bridge) || database.captures.get(id)?.version === bridge.version) return;
  database.transaction(() => database.logs.owe(id, { code: 'LOG_TABLES', message: 'the bridge has a new version' }));
}
