/** What one bridge's share of the log holds of a table until its next delivery: by key, the last change. */
import type { Kind } from '@qiao/exchange';
import type { CaptureTable } from '../exchange-database/index.ts';
import type { HeardTable } from './otherEnd.ts';
import type { PlannedTable } from './plan.ts';
import type { Refusals } from './refusals.ts';

export interface FollowedTable {
  readonly table: PlannedTable;
  readonly held: CaptureTable;
  /** Where its changes come from as well. */
  readonly heard: HeardTable | undefined;
  /** Every destination can lay a part of a row over the row that it has. */
  readonly takesParts: boolean;
}

/** What a key is after the changes so far. */
export type After =
  | { readonly standing: 'row'; readonly line: Buffer }
  /** A row of which only these columns (indexes of the layout) came; the key is among them. */
  | { readonly standing: 'part'; readonly line: Buffer; readonly columns: readonly number[] }
  | { readonly standing: 'filtered'; readonly line: Buffer; readonly digest: string }
  | {
      readonly standing: 'refused';
      readonly line: Buffer;
      readonly digest: string;
      readonly code: string;
      readonly column: string;
    }
  | { readonly standing: 'deleted'; readonly line: Buffer }
  /** The log does not say enough: to be read by its key, the line of which this is as the source has it. */
  | { readonly standing: 'unread'; readonly line: Buffer };

export interface KeyChanges {
  /** As the source did it, last. */
  kind: Kind;
  after: After;
  /** Nothing is known to have happened to it here: it is looked at for what another node said of it. */
  readonly look: Look | undefined;
}

export interface Look {
  /** The row stayed here against this word. Undefined: the word landed, and its change was not found. */
  readonly against: string | undefined;
}

export interface TableChanges extends FollowedTable {
  readonly keys: Map<string, KeyChanges>;
  readonly folded: Record<Kind, number>;
  /** Refused rows that no key names. */
  readonly nameless: Record<Kind, number>;
  /** Since they were last written down. */
  refusals: Refusals;
}
