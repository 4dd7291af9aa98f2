/**
 * The fate of one row at one destination: a closed set. Final outcomes never move again; open ones wait for a person or
 * another row. Which rows have which fate is counted by matrix.ts.
 */
import { Outcome as ContractOutcome } from '@qiao/contract/counts';
import { QiaoError } from './errors.ts';
import type { Kind } from './kind.ts';

export type Outcome =
  // The kind did what it was sent to do.
  | 'inserted'
  | 'updated'
  | 'deleted'
  // The identical row was there already.
  | 'unchanged'
  // An update found no row and carried every bridged column.
  | 'insertedInsteadOfUpdate'
  // An insert found a row with this key that differed.
  | 'updatedInsteadOfInsert'
  // A delete found no row.
  | 'deletedNothing'
  // Conflict policy or ownership kept the target's row.
  | 'keptTarget'
  // A person gave the row up, with a reason.
  | 'abandoned'
  // The delivery was voided or its epoch closed.
  | 'cancelled'
  // Open: refused by the destination, waits in quarantine.
  | 'quarantined'
  // Open: waits behind an open row of the same key, or for its full row.
  | 'held';

/** One cell of the receipt's matrix: rows of one table, sent as one kind, with one outcome. */
export interface OutcomeCell {
  table: string;
  sent: Kind;
  outcome: Outcome;
  /** 1 or more. */
  rows: number;
}

const CONTRACT: Readonly<Record<Outcome, ContractOutcome>> = {
  inserted: ContractOutcome.INSERTED,
  updated: ContractOutcome.UPDATED,
  deleted: ContractOutcome.DELETED,
  unchanged: ContractOutcome.UNCHANGED,
  insertedInsteadOfUpdate: ContractOutcome.INSERTED_INSTEAD_OF_UPDATE,
  updatedInsteadOfInsert: ContractOutcome.UPDATED_INSTEAD_OF_INSERT,
  deletedNothing: ContractOutcome.DELETED_NOTHING,
  keptTarget: ContractOutcome.KEPT_TARGET,
  abandoned: ContractOutcome.ABANDONED,
  cancelled: ContractOutcome.CANCELLED,
  quarantined: ContractOutcome.QUARANTINED,
  held: ContractOutcome.HELD,
};

/** Every outcome, in the order of the books. */
export const OUTCOMES: readonly Outcome[] = Object.keys(CONTRACT) as Outcome[];

const FROM_CONTRACT = new Map<ContractOutcome, Outcome>(OUTCOMES.map((outcome) => [CONTRACT[outcome], outcome]));

/** The row may still move: it waits for a person or another row. */
export function isOpen(outcome: Outcome): boolean {
  return outcome === 'quarantined' || outcome === 'held';
}

/** The row never moves again. */
export function isFinal(outcome: Outcome): boolean {
  return !isOpen(outcome);
}

/** What a kind is sent to do. */
export function intended(kind: Kind): Outcome {
  switch (kind) {
    case 'insert':
      return 'inserted';
    case 'update':
      return 'updated';
    case 'delete':
      return 'deleted';
    default:
      return kind satisfies never;
  }
}

/** Reads an outcome from the contract. Throws OUTCOME_UNKNOWN for what a newer peer may have written. */
export function outcomeOf(outcome: ContractOutcome): Outcome {
  const known = FROM_CONTRACT.get(outcome);
  if (known === undefined) {
    throw new QiaoError('OUTCOME_UNKNOWN', `Found outcome ${outcome}; expected one of ${OUTCOMES.join(', ')}.`, {
      hint: 'Upgrade this node: the other end may write a newer format.',
    });
  }
  return known;
}

/** Writes an outcome for the contract. */
export function contractOutcome(outcome: Outcome): ContractOutcome {
  return CONTRACT[outcome];
}
