/** What is read of a data source’s log (G1–G9). */
import type { Kind, Problem } from '@qiao/exchange';
import type { SnapshotTable } from './snapshot.ts';

/** What is read of the log, for every bridge of one data source together. */
export interface LogPlan {
  /** Of what is made in the database for it: `[a-z][a-z0-9_]{0,62}`. */
  readonly name: string;
  /** A table may be in it more than once, with other columns. Without `cursor`. */
  readonly tables: readonly SnapshotTable[];
}

/**
 * The database's own log of committed changes, kept for us under a name, or for everybody by the server's own time.
 *
 * G1 `prepare` makes what is missing and changes no row: afterwards the log carries these tables, but for the unfit. Throws
 *    LOG_RIGHTS (hint = the statements for the DBA), LOG_OFF (the server writes no log that can be read), and what a connection throws.
 * G2 A table that cannot be followed without hurting its writers or losing a change is `unfit`, with its problem, and is left out:
 *    LOG_NO_IDENTITY (its deletes could not be named; the server would refuse its writers' updates), LOG_KIND (a view, unlogged,
 *    foreign, one that others inherit from, a partition beside its whole, an engine without transactions), LOG_COLUMN (not in the log, as what is generated,
 *    or not in a form that is read exactly), LOG_CASCADE (the engine changes its rows with those of another table, and logs only those),
 *    LOG_FILTERED (what a DBA set up hides rows, columns or the database).
 * G3 Transactions come in the order of their commits, whole, their changes in the order they were made; what was rolled back never
 *    comes. A transaction of any size is handed over in pieces, in bounded memory: who does not take them is not sent more.
 * G4 A value is the same bytes as in a snapshot. What the log does not carry (a large value that did not change) is named in `missing`,
 *    never null. A row that cannot be carried comes all the same, `refused` under the code that a snapshot counts it by (S3).
 * G5 An update that changes the key carries the key before; a delete carries the key.
 * G6 A table whose columns are not those of the plan, or whose rows the log names by others than the key, comes as 'reshaped', an emptied
 *    one as 'truncate', one of which rows changed that the log does not give as 'untold'. What the log does not say of a table (another one has its name, a partition was emptied, the DBA left it out) is
 *    found by `isCurrent`, and shows in the `identity` that the next `prepare` gives.
 * G7 `read` from a position that was not confirmed past gives everything behind it again, the same changes under the same numbers. Where the log is
 *    kept for us, the database may forget what was confirmed, and nothing else; where by time, `oldest` tells what was forgotten.
 * G8 `isSeen` is true exactly for the transactions that the snapshot sees, and false for those that commit after it.
 * G9 Where nothing of ours happens, positions come all the same: an idle table does not keep the log of a busy database.
 */
export interface SourceLog {
  prepare(plan: LogPlan): Promise<PreparedLog>;
  /** Whether every transaction that was open when the horizon was given has ended. */
  isPast(horizon: string): Promise<boolean>;
  /** What is kept for us; undefined when there is nothing of the name. */
  kept(name: string): Promise<KeptLog | undefined>;
  /** Ends the keeping and removes what `prepare` made. Nobody may read it at the time. */
  remove(name: string): Promise<void>;
  /** Negative when the first position lies before the second. Throws LOG_POSITION_INVALID. */
  compare(a: string, b: string): number;
}

export interface KeptLog {
  /** Bytes on the database's disk that it keeps for us. */
  readonly bytes: number;
  /** The database has thrown away what it should have kept. */
  readonly isLost: boolean;
}

export interface PreparedLog {
  /** Changes when this is not the server, the timeline or the database that it was. */
  readonly identity: string;
  /** Whoever has a position before this one has lost changes. */
  readonly oldest: string;
  /** The database's end of the log. Whoever has a position behind it was at another database, or at a later state of this one. */
  readonly newest: string;
  /** A table can be followed from `newest` on when it is read by a snapshot taken once this is past (`isPast`). */
  readonly horizon: string;
  /** In the order of the plan. */
  readonly tables: readonly LogTableState[];
  /** Whether the catalog says the same of the tables as it did then; else they are to be planned and prepared anew. */
  isCurrent(): Promise<boolean>;
  /**
   * One at a time. Throws SOURCE_BUSY (transient) while another reads, SOURCE_UNAVAILABLE, and now or while it is read LOG_LOST: this log does not go on
   * where the position was taken.
   */
  read(from: string, signal: AbortSignal): Promise<LogReading>;
}

export type LogTableState =
  /** `identity` changes when it is another table, has other columns or partitions, or was left out of the log meanwhile. */
  { readonly identity: string } | { readonly unfit: Problem };

/** Gives pieces until it is disposed of; several at a time when several are there. */
export interface LogReading extends AsyncIterable<readonly LogPiece[]>, AsyncDisposable {
  /** Everything up to the position is durable here. */
  confirm(position: string): void;
  /** Lets the loop over the pieces look round once, with what there is, be it nothing. */
  nudge(): void;
}

/** A part of a transaction, or the news that nothing of ours lies before `position`. */
export interface LogPiece {
  readonly transaction: LogTransaction | undefined;
  readonly changes: readonly LogChange[];
  /** Set with the last piece of a transaction: where to go on when it is durable. */
  readonly position: string | undefined;
}

export interface LogTransaction {
  /** Its place in the log: it is behind a position `p` when compare(at, p) >= 0. */
  readonly at: string;
  readonly committedAtMs: number;
  /** G8. */
  isSeen(seen: string): boolean;
}

export interface LogChange {
  /** Index of the table in the plan. */
  readonly table: number;
  /** Of the change in its transaction, rising. */
  readonly number: number;
  readonly kind: Kind | 'truncate' | 'reshaped' | 'untold';
  /**
   * One line of row text with its LF: the row as in the plan; of a delete, and of a refused row, the key columns. Empty for what is no row, and for a
   * refused one whose key cannot be carried either.
   */
  readonly line: Buffer;
  /** The key columns before, when an update changed them. */
  readonly oldKey: Buffer | undefined;
  /** Columns of the plan that the log does not carry; their field in `line` is `\\N`. */
  readonly missing: readonly number[] | undefined;
  /** Why the row cannot be carried: a code of S3. */
  readonly refused?: string | undefined;
}
