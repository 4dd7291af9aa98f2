// The totals of a campaign, for a person and as JSON: docs/reliability.md copies its figures from here.

import { CAPTURES, type Capture, type ChangeKind, kindsOf } from './changes.ts';
import { FAULT_KINDS, type FaultKind } from './faultPlan.ts';
import type { SeedResult } from './runner.ts';

export interface Failure {
  readonly seed: number;
  readonly broken: readonly string[];
  readonly faults: readonly string[];
  /** Numbers of the faults that are enough; undefined when it was not tried. */
  readonly shrunk: readonly number[] | undefined;
  readonly logs: string;
}

export interface Campaign {
  readonly seeds: number;
  readonly faults: Readonly<Partial<Record<FaultKind, number>>>;
  readonly faultsTotal: number;
  /** What the sources did, by capture and kind. */
  readonly changes: Readonly<Record<Capture, Readonly<Partial<Record<ChangeKind, number>>>>>;
  /** Kinds of faults, and of changes by capture, that came in no seed. */
  readonly never: readonly string[];
  readonly rows: number;
  readonly failures: readonly Failure[];
  readonly minutes: number;
  readonly secondsPerSeed: number;
  /** From the last heal until everything was at rest, seconds. */
  readonly rest: { readonly median: number; readonly most: number };
  readonly text: string;
}

export function report(results: readonly SeedResult[], failures: readonly Failure[], tookMs: number): Campaign {
  const faults: Partial<Record<FaultKind, number>> = {};
  for (const { injected } of results) {
    for (const [kind, times] of injected) faults[kind] = (faults[kind] ?? 0) + times;
  }
  const changes: Record<Capture, Partial<Record<ChangeKind, number>>> = {
    compare: {},
    cursor: {},
    trigger: {},
    log: {},
  };
  for (const result of results) {
    for (const [what, times] of result.changes) {
      const [capture, kind] = what.split(' ') as [Capture, ChangeKind];
      changes[capture][kind] = (changes[capture][kind] ?? 0) + times;
    }
  }
  const never = [
    ...FAULT_KINDS.filter((kind) => faults[kind] === undefined),
    ...CAPTURES.flatMap((capture) =>
      kindsOf(capture)
        .filter((kind) => changes[capture][kind] === undefined)
        .map((kind) => `${kind} by ${capture}`),
    ),
  ];
  const rests = results.flatMap(({ restMs }) => (restMs === undefined ? [] : [restMs / 1000])).sort((a, b) => a - b);
  const faultsTotal = Object.values(faults).reduce((sum, times) => sum + times, 0);
  const rows = results.reduce((sum, result) => sum + result.rows, 0);
  const rest = { median: rounded(rests[Math.floor(rests.length / 2)] ?? 0), most: rounded(rests.at(-1) ?? 0) };
  const secondsPerSeed = rounded(tookMs / 1000 / Math.max(1, results.length));
  const text = [
    `${results.length} seeds in ${rounded(tookMs / 60_000)} minutes (${secondsPerSeed} s each), ${faultsTotal} faults, ${rows} rows, ${failures.length} failed`,
    `at rest after: median ${rest.median} s, longest ${rest.most} s`,
    `faults: ${counted(faults)}`,
    ...CAPTURES.map((capture) => `changes, ${capture}: ${counted(changes[capture])}`),
    ...(never.length === 0 ? [] : [`in no seed: ${never.join(', ')}`]),
    ...(failures.length === 0 ? [] : [`failed: ${failures.map(({ seed }) => seed).join(', ')}`]),
  ].join('\n');
  return {
    seeds: results.length,
    faults,
    faultsTotal,
    changes,
    never,
    rows,
    failures,
    minutes: rounded(tookMs / 60_000),
    secondsPerSeed,
    rest,
    text,
  };
}

function counted(times: Readonly<Partial<Record<string, number>>>): string {
  return Object.entries(times)
    .sort(([, a = 0], [, b = 0]) => b - a)
    .map(([what, count]) => `${what} ${count}`)
    .join(', ');
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}
