/** Chooses how the rows of a section are written. */

import type { TargetColumns } from './columns.ts';
import { type Journal, JournalPlan } from './journalPlan.ts';
import { MirrorPlan } from './mirrorPlan.ts';
import type { RowPlan } from './rowPlan.ts';

/** The plan for a section's columns. */
export function rowPlan(
  columns: TargetColumns,
  section: { readonly columns: readonly string[]; readonly keyColumns: number },
  journal: Journal,
): RowPlan {
  return columns.target.landing === 'journal'
    ? new JournalPlan(columns, section.columns, journal)
    : new MirrorPlan(columns, section.columns, section.keyColumns);
}
