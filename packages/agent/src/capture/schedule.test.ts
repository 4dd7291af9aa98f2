import type { BridgeDefinition, Schedule } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import type { CaptureState } from '../exchange-database/index.ts';
import { dueScan, type ScheduleFacts } from './schedule.ts';

const NOON = Date.UTC(2026, 0, 5, 4, 0, 0); // 12:00 in Shanghai

function facts(
  schedule: Schedule,
  over: Partial<ScheduleFacts> = {},
  definition: Partial<BridgeDefinition> = {},
): ScheduleFacts {
  return {
    bridge: {
      definition: { schedule, ...definition } as BridgeDefinition,
      version: 1,
      runNumber: 0n,
      allowedDeletes: 0n,
    },
    state: undefined,
    hasLoading: false,
    hasLanes: true,
    triedAtMs: undefined,
    owesScan: undefined,
    startedAtMs: NOON,
    nowMs: NOON,
    realtimeEveryMs: 5_000,
    timeZone: 'Asia/Shanghai',
    ...over,
  };
}

function state(over: Partial<CaptureState> = {}): CaptureState {
  return {
    bridge: new Uint8Array(16),
    version: 1,
    startedScan: 1,
    finishedScan: 1,
    runNumber: 0n,
    lastRunAtMs: NOON - 1_000,
    stuck: undefined,
    ...over,
  };
}

const stuck = { code: 'TABLE_MISSING', message: '', hint: '' };

describe('a scan is due', () => {
  test('at once when a frequent bridge never ran or a destination waits for its load', () => {
    expect(dueScan(facts({ kind: 'realtime' })).kind).toBe('now');
    expect(dueScan(facts({ kind: 'realtime' }, { state: state() }))).toEqual({ kind: 'at', atMs: NOON + 4_000 });
    expect(dueScan(facts({ kind: 'interval', everyMs: 3_600_000 }, { state: state(), hasLoading: true })).kind).toBe(
      'now',
    );
  });

  test('at once when the clock was set back behind the last run', () => {
    const late = state({ lastRunAtMs: NOON + 24 * 3_600_000 });
    expect(dueScan(facts({ kind: 'realtime' }, { state: late })).kind).toBe('now');
    const nightly: Schedule = { kind: 'cron', cron: '0 2 * * *', timeZone: 'Asia/Shanghai' };
    expect(dueScan(facts(nightly, { state: late }))).toEqual({ kind: 'at', atMs: NOON + 14 * 3_600_000 });
  });

  test('at the hours of its own zone, and once for those that were missed', () => {
    const nightly: Schedule = { kind: 'cron', cron: '0 2 * * *', timeZone: 'Asia/Shanghai' };
    expect(dueScan(facts(nightly))).toEqual({ kind: 'at', atMs: NOON + 14 * 3_600_000 });
    expect(dueScan(facts(nightly, { state: state({ lastRunAtMs: NOON - 24 * 3_600_000 }) })).kind).toBe('now');
  });

  test('never by itself when it is manual, and once per run that a person asked for', () => {
    const manual = facts({ kind: 'manual' }, { state: state({ runNumber: 2n }) });
    expect(dueScan(manual).kind).toBe('waits');
    const asked = { ...manual, bridge: { ...manual.bridge, runNumber: 3n, allowedDeletes: 50n } };
    expect(dueScan(asked)).toEqual({ kind: 'now', runNumber: 3n, allowedDeletes: 50n });
  });

  test('only inside the window of its bridge', () => {
    const night = { limits: { window: '20:00-06:00' } };
    expect(dueScan(facts({ kind: 'realtime' }, {}, night)).kind).toBe('at');
    expect(dueScan(facts({ kind: 'realtime' }, { nowMs: NOON + 9 * 3_600_000 }, night)).kind).toBe('now');
  });

  test('for a stuck capture at its next run, never at once, whatever was due before it stuck', () => {
    const tried = { state: state({ stuck, lastRunAtMs: 0 }), triedAtMs: NOON };
    const at = (schedule: Schedule) => dueScan(facts(schedule, tried));
    expect(at({ kind: 'realtime' })).toEqual({ kind: 'at', atMs: NOON + 15_000 });
    expect(at({ kind: 'interval', everyMs: 3_600_000 })).toEqual({ kind: 'at', atMs: NOON + 3_600_000 });
    expect(at({ kind: 'cron', cron: '0 2 * * *', timeZone: 'Asia/Shanghai' })).toEqual({
      kind: 'at',
      atMs: NOON + 14 * 3_600_000,
    });
    expect(at({ kind: 'manual' }).kind).toBe('waits');
    expect(dueScan(facts({ kind: 'realtime' }, { ...tried, nowMs: NOON + 15_000 })).kind).toBe('now');
    const setBack = { ...tried, triedAtMs: NOON + 3_600_000 };
    expect(dueScan(facts({ kind: 'realtime' }, setBack)).kind).toBe('now');
    expect(dueScan(facts({ kind: 'realtime' }, { ...tried, owesScan: true }))).toMatchObject({ atMs: NOON + 15_000 });
    expect(dueScan(facts({ kind: 'realtime' }, { ...tried, owesScan: false })).kind).toBe('waits');
  });

  test('for a stuck capture at once after a person acted: a run, a newer version, a new start', () => {
    const waiting = facts({ kind: 'realtime' }, { state: state({ stuck, lastRunAtMs: 0 }), triedAtMs: NOON });
    expect(dueScan({ ...waiting, triedAtMs: undefined }).kind).toBe('now');
    expect(dueScan({ ...waiting, bridge: { ...waiting.bridge, version: 2 } }).kind).toBe('now');
    expect(dueScan({ ...waiting, bridge: { ...waiting.bridge, runNumber: 1n } }).kind).toBe('now');
  });

  test('for a capture whose deletes are held as for any that is stuck: what else changes goes on', () => {
    const guarded = facts(
      { kind: 'realtime' },
      { triedAtMs: NOON, state: state({ stuck: { ...stuck, code: 'DELETE_GUARD' } }) },
    );
    expect(dueScan(guarded)).toEqual({ kind: 'at', atMs: NOON + 15_000 });
    // By log the rest goes on as it comes, and a person asks for the next scan.
    expect(dueScan({ ...guarded, owesScan: false }).kind).toBe('waits');
  });

  test('for nobody when no destination takes rows', () => {
    expect(dueScan(facts({ kind: 'realtime' }, { hasLanes: false })).kind).toBe('waits');
  });
});
