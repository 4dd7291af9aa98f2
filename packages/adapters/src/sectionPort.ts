/** What landing the sections of a delivery asks of an adapter, and what it is told about pieces and rows. */

import type { Kind, Matrix, Outcome, Section } from '@qiao/exchange';
import type { QuarantinedRow } from './adapter.ts';

/** A failure that belongs to single rows: a value or a constraint. */
export abstract class RowRefusal extends Error {
  /** As `QuarantinedRow.code`; the message is its reason. */
  abstract readonly code: string;
  /** The 1-based line of the piece that the database stumbled over, when it says so. */
  abstract readonly line: number | undefined;
  /** Another order of the same rows may satisfy the constraint. */
  abstract readonly isIntegrity: boolean;
}

/** A run of lines of one section. */
export interface Piece {
  readonly kind: Kind;
  readonly columns: readonly string[];
  readonly keyColumns: number;
  readonly wholeRows: boolean;
  readonly rows: Uint8Array;
  readonly rowCount: number;
}

/** What became of a piece. `isolated` rows count in the matrix too; `index` is the line in the piece, from 0. */
export interface Landed {
  readonly counts: readonly (readonly [Outcome, number])[];
  readonly isolated: readonly IsolatedLine[];
}

/** Of an update that does not carry every column: NULL in a journal says that a value is NULL. */
export const NOT_TOLD_FROM_NULL = {
  code: 'MISSING_BASE',
  reason: 'the update does not carry every column, and a journal could not tell those from NULL',
} as const;

/** Parts of rows on their way into a journal: none lands. */
export function partsForJournal({ rowCount }: Pick<Piece, 'rowCount'>): Landed {
  const isolated = Array.from(
    { length: rowCount },
    (_, index) => ({ ...NOT_TOLD_FROM_NULL, outcome: 'held', index }) as const,
  );
  return { counts: [], isolated };
}

/** Deletes of which the target keeps `kept` rows; the others find none, or one that came a moment ago. */
export function nothingDeleted({ rowCount }: Pick<Piece, 'rowCount'>, kept: number): Landed {
  return {
    counts: [
      ['keptTarget', kept],
      ['deletedNothing', rowCount - kept],
    ],
    isolated: [],
  };
}

export type IsolatedLine = Pick<QuarantinedRow, 'index' | 'outcome' | 'code' | 'reason'>;

/** Savepoints of the transaction, by name. */
export interface Savepoints {
  set(name: string): Promise<unknown>;
  /** Undoes what was done since; the point stays. */
  undo(name: string): Promise<unknown>;
  /** Undoes what was done since, and forgets the point. */
  drop(name: string): Promise<unknown>;
  /** Keeps what was done since, and forgets the point. */
  release(name: string): Promise<unknown>;
  /** Keeps what was done since: the point is here from now on. */
  move(name: string): Promise<unknown>;
  /** When constraints that can wait speak up. Nothing where none can. */
  constraints(when: 'DEFERRED' | 'IMMEDIATE'): Promise<unknown>;
}

export interface SectionPort {
  readonly savepoints: Savepoints;
  readonly sections: readonly Section[];
  /** Rows that may be isolated before the failure counts as the delivery's; default 1,000. */
  readonly mostIsolated?: number | undefined;
  /** Lands the given lines of a section. `isWhole` allows the fast way for a section that was not cut. */
  land(section: Section, piece: Piece, isWhole: boolean): Promise<Landed>;
  /** Makes the unique values of these rows free by null, until they are written; gives back of how many, none where that cannot be. */
  giveUpValues(section: Section, piece: Piece): Promise<number>;
  /** Whether a row of the section may be deleted and inserted again: nothing goes with it, and every column of it comes back. */
  mayReplace(section: Section): Promise<boolean>;
  /** Labels of tables, parents before children. */
  parentsFirst(): Promise<readonly string[]>;
}

export interface LandedSections {
  readonly matrix: Matrix;
  readonly isolated: readonly QuarantinedRow[];
}

/** A line that a section was cut down to, and why it is refused. */
export interface FailedRow {
  readonly section: number;
  readonly index: number;
  readonly error: RowRefusal;
}
