import type { Outcome as ContractOutcome, OutcomeCount } from '@qiao/contract/counts';
import type { Kind } from './kind.ts';
export type Outcome =
  | 'inserted'
  | 'updated'
  | 'deleted'
  | 'unchanged'
  | 'insertedInsteadOfUpdate'
  | 'updatedInsteadOfInsert'
  | 'deletedNothing'
  | 'keptTarget'
  | 'abandoned'
  | 'cancelled'
  | 'quarantined'
  | 'held';
export function isFinal(outcome: Outcome): boolean {
  return !isOpen(outcome);
}
export function isOpen(outcome: Outcome): boolean {
  return outcome === 'quarantined' || outcome === 'held';
}
export function intended(kind: Kind): Outcome {
  throw new Error(kind);
}
export function outcomeOf(outcome: ContractOutcome): Outcome {
  throw new Error(outcome);
}
export function contractOutcome(outcome: Outcome): ContractOutcome {
  throw new Error(outcome);
}
export interface OutcomeCell {
  table: string;
  sent: Kind;
  outcome: Outcome;
  rows: number;
}
export function cellsOf(outcomes: readonly OutcomeCount[]): OutcomeCell[] {
  throw new Error(String(outcomes));
}
