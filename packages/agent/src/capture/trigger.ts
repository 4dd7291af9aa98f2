/**
 * What follows from what triggers noted: which tables are read whole, and how noted changes and outcomes add up in the books. Pure;
 * triggerScan.ts asks the source and keeps what comes out.
 */
import type { Kind } from '@qiao/exchange';
import type { EntryCounts, TriggerReading } from '../exchange-database/index.ts';

export interface WholeFacts {
  readonly reading: TriggerReading | undefined;
  readonly plan: string;
  /** A destination loads, or a person asked for a run. */
  readonly isAsked: boolean;
  readonly everyMs: number;
  readonly nowMs: number;
}

/** Whether the table is read whole: it never was, something was lost or asked for, or what no trigger sees is looked for again. */
export function isWholeDue({ reading, plan, isAsked, everyMs, nowMs }: WholeFacts): boolean {
  if (isAsked || reading === undefined || reading.read === 0) return true;
  if (reading.owed > reading.read || reading.plan !== plan) return true;
  // A clock that was set back must not put it off.
  return nowMs - reading.wholeAtMs >= everyMs || nowMs < reading.wholeAtMs;
}

export type KindCounts = Record<Kind, number>;

/**
 * Noted changes that led to no outcome of their own, by kind: several of one row, those that were undone, and those whose row is as it was
 * sent. Together with the outcomes they are what was captured.
 */
export function foldedOf(entries: EntryCounts, outcomes: KindCounts): KindCounts {
  const noted: KindCounts = { insert: entries.inserts, update: entries.updates, delete: entries.deletes };
  const folded: KindCounts = { insert: 0, update: 0, delete: 0 };
  let more = 0;
  for (const kind of ['insert', 'update', 'delete'] as const) {
    folded[kind] = Math.max(0, noted[kind] - outcomes[kind]);
    // An outcome of another kind than what was noted stands for one of the others: an update of a row that was never sent is an insert.
    more += Math.max(0, outcomes[kind] - noted[kind]);
  }
  for (const kind of ['update', 'insert', 'delete'] as const) {
    const taken = Math.min(more, folded[kind]);
    folded[kind] -= taken;
    more -= taken;
  }
  return folded;
}
