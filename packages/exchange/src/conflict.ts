/**
 * Conflict policies: which row stays when a change meets another row of its key at the destination. What is a conflict, for each kind of
 * change, stands in docs/bridges.md; adapters carry it out beside the rows.
 */
import { compareTexts } from './compareValues.ts';

/** `newestWins` names a column, as the destination names it, whose larger value is the newer row. */
export type ConflictPolicy = 'sourceWins' | 'targetWins' | { newestWins: string };

/** A policy as people read it; empty where the source's rows win. */
export function conflictText(conflict: ConflictPolicy = 'sourceWins'): string {
  if (conflict === 'sourceWins') return '';
  return conflict === 'targetWins' ? conflict : `newestWins by ${conflict.newestWins}`;
}

/**
 * The columns by which two rows of a key are told apart under `newestWins`: the named one, then all others by name, so that rows of one
 * time come out the same at both ends whatever the order of their columns.
 */
export function decidingColumns(newest: string, columns: readonly string[]): string[] {
  return [newest, ...columns.filter((name) => name !== newest).toSorted(compareTexts)];
}
