/** Where rows land, with the mark that makes it exactly once (M1–M6, R1–R10, L1–L4, A1–A5, N1). */
import type { ColumnType, ConflictPolicy, Filter, Kind, OutcomeCell, Section } from '@qiao/exchange';
import type { TableRef } from './dataSource.ts';

/** Names of a journal's own columns (操作标识、批次号、来源部门、入库时间、处理标志). */
export interface JournalColumns {
  /** 'I', 'U' or 'D'. Text. */
  readonly operation: string;
  /** `ApplyWork.batchNo`. Text. */
  readonly batchNo: string;
  /** `ApplyWork.sourceDepartment`. Text. */
  readonly sourceDepartment: string;
  /** `ApplyWork.appliedAtMs` in UTC. Timestamp, timestamptz or text. */
  readonly appliedAt: string;
  /** '0' when it lands; the department's own programs change it. Text, integer or boolean. */
  readonly processed: string;
}

export const defaultJournalColumns: JournalColumns = {
  operation: 'qiao_operation',
  batchNo: 'qiao_batch_no',
  sourceDepartment: 'qiao_source_department',
  appliedAt: 'qiao_applied_at',
  processed: 'qiao_processed',
};

/** Where one table of a bridge lands. */
export interface TargetTable {
  /** The source table's label, as sections name it. */
  readonly table: string;
  readonly ref: TableRef;
  /** Key columns as named at the target. */
  readonly key: readonly string[];
  /**
   * Columns the bridge sends, key included. `type` is the type of the text as sent: `createTable` uses it. `apply` does not rely on it: it
   * reads the target's own columns.
   */
  readonly columns: readonly { readonly name: string; readonly type: ColumnType }[];
  readonly ownership: 'whole' | 'none' | Filter;
  readonly landing: 'mirror' | 'journal';
  readonly onDelete: 'delete' | 'mark';
  /** Needed with onDelete 'mark'. Boolean ('t'/'f'), integer (1/0) or text ('1'/'0'); any value but the first means "not deleted". */
  readonly markColumn?: string | undefined;
  readonly journalColumns: JournalColumns;
  /** R9. Default sourceWins. */
  readonly conflict?: ConflictPolicy | undefined;
}

/**
 * The apply side: one connection, one transaction at a time (calls queue up behind each other).
 *
 * Mark
 * M1 `prepare` makes `qiao_mark` and a random target id when missing, and else changes nothing; the id is the same for ever after. Without
 *    the right to create it throws MARK_REFUSED whose hint is the DDL.
 * M2 `points` lists the lane's stored mark rows, ordered by (epoch, sequence), newest last; it never changes anything.
 * M3 Rows and mark are one transaction: after any throw neither has changed.
 * M4 A delivery at the right place is applied once; asked again it answers `alreadyApplied` with the stored answer and hash (with an empty
 *    answer once it was purged). Ahead of its place: `gap` with the sequence expected (0 when the epoch's opening is missing). A known
 *    place with another hash, chain or nonce, or a closed epoch's unknown place: `fork`. See `mark.ts`, which decides for all adapters.
 * M5 Rows of the mark at or below `settledThrough`, and those of `settled`, are removed; the lane's highest always stays.
 * M6 `forgetLane` leaves nothing of that lane in the mark and no note of its loads, and every other lane as it was.
 *
 * Rows
 * R1 Sections apply in order; within a section a key occurs once. Outcomes per row, exactly:
 *    | sent   | no row with the key                       | identical | other values          | existing row outside ownership |
 *    | insert | inserted                                  | unchanged | updatedInsteadOfInsert | keptTarget |
 *    | update | wholeRows ? insertedInsteadOfUpdate : held | unchanged | updated                | keptTarget |
 *    | delete | deletedNothing                            |     deleted (with onDelete 'mark': marked)  | keptTarget |
 *    Identical compares the stored image of the columns sent, never an equality that a collation blurs. Columns not sent keep their value.
 * R2 The matrix adds up to the rows of the sections per table and sent kind, always; open rows included.
 * R3 A row the database or its type refuses (integrity, data, OUTSIDE_OWNERSHIP) is isolated: counted `quarantined`, handed out whole in
 *    `quarantined`, and nothing of it stays; every other row is applied. Before a row is given up other orders are tried (parents first,
 *    children first for deletes, failing rows last); rows that hold the unique values of each other then give them up together by null,
 *    where a column takes it, no trigger runs and no key that acts refers to it, or are taken out and put in again, where nothing refers to
 *    them with a key that acts, no trigger runs and every column is sent; counted as updates. A partial update without its row is handed out the same way, as outcome 'held' with
 *    code MISSING_BASE. Later rows of the same delivery with the key of an isolated row are handed out as 'held' with code HELD: what
 *    comes later never overtakes what waits. More than `mostIsolated` rows throw QUARANTINE_LIMIT (permanent).
 * R4 With isolated rows `beforeCommit` is called (and awaited) inside the transaction just before COMMIT; when it throws, nothing is
 *    committed. Without isolated rows it is not called.
 * R5 Failures that are not one row's throw: TARGET_UNAVAILABLE, TARGET_BUSY, TARGET_FULL (transient), TARGET_SCHEMA, TARGET_RIGHTS
 *    (permanent). No row is quarantined for them.
 * R6 Ownership {where}: an existing row outside is never updated nor deleted; an incoming row outside is isolated (OUTSIDE_OWNERSHIP).
 *    'none' and 'whole' let a lane's own inserts, updates and deletes through; they differ only at the end of a load.
 * R7 onDelete 'mark': a delete sets the mark column ('deleted'; already marked: 'deletedNothing'). A marked row counts as absent: an insert
 *    on it is 'inserted', a whole update 'insertedInsteadOfUpdate', both writing the values and clearing the mark.
 * R8 Journal: every row lands as a new row with the journal columns; outcome = what was intended. Deletes carry the key only. No key is
 *    compared, nothing is ever updated or removed, loads remove nothing. An update that does not carry every column is handed out as
 *    'held' with code MISSING_BASE: NULL in a journal says that a value is NULL.
 * R9 Conflict: 'targetWins' keeps every row that is there (insert and update with other values, delete: keptTarget). 'newestWins' writes a whole
 *    row over another only when it is newer: by the named column, then by `decidingColumns`; NULL before every value, numbers and times by
 *    the database's order, all else by the bytes of its text; else keptTarget. A delete removes the row whatever its time; an update
 *    whose row is not there is keptTarget (it was deleted here); a partial update of a row that is there is held (MISSING_BASE). A
 *    marked row (R7) counts as absent; identical is `unchanged` under every policy.
 * R10 Where a foreign key of another table would delete or change rows that the bridge does not own together with those that land (see
 *    cascades.ts), nothing lands: TARGET_SCHEMA.
 *
 * Load
 * L1 At `load.begins` the keys of rows already in each mirrored target table are noted (marked rows and, with {where}, rows outside are not).
 *    Notes of an earlier unfinished load of the lane are dropped first. Each delivery until the end takes its keys out of the notes, those
 *    of `load.held` too: what the source has is never removed, whether it could be written or not.
 * L2 At `load.ends` the rows still noted are removed (ownership 'whole' or {where}; `extras.deleted`) or left ('none'; `extras.kept`), and the
 *    notes are gone. A delivery may begin and end a load at once. The opening of an epoch drops notes of the lane, and so does a void
 *    (`load.isBroken`): rows it cancelled were never named, so that the load's end removes nothing.
 * L3 deleteGuard: when one table's removals are more than `deleteGuard.rows` AND more than `deleteGuard.share` of the rows the table has before the removal,
 *    and more than `load.allowedDeletes`, nothing at all is committed and the answer is `guard`.
 *
 * L4 Tables in `load.incomplete` remove nothing at the end of a load: some row of the source was not named; `extras.kept` says how many stay.
 *
 * Amend
 * A1 Rows, counts, open rows and revision of the stored answer move in one transaction; after any throw nothing has changed.
 * A2 Every row of `sections` and `givenUp` must be open in the stored answer, or the answer is `unknown` and nothing has changed.
 * A3 Rows of `sections` land as in R1 and R3. Those refused again stay open, under what the target says now; the others leave the open rows.
 * A4 The revision rises by one, and above `revisionAbove`, when anything moved or when it was not above it.
 * A5 `beforeCommit` is called (and awaited) inside the transaction just before COMMIT, always.
 *
 * N1 Names of tables and columns may be any text the database can store: Chinese, reserved words, quotes, blanks.
 */
export interface Target {
  prepare(): Promise<{ readonly targetId: string; readonly created: boolean }>;
  points(laneId: string): Promise<AppliedPoint[]>;
  apply(work: ApplyWork): Promise<ApplyResult>;
  /** Forgets a lane that is over: its rows of the mark and the notes of an unfinished load. Rows of the business tables stay. */
  forgetLane(laneId: string): Promise<void>;
  /** Moves open rows of an applied delivery (A1–A5). */
  amend(work: AmendWork): Promise<AmendResult>;
  close(): Promise<void>;
}

/** One stored row of the mark. */
export interface AppliedPoint {
  readonly epoch: bigint;
  readonly nonce: Uint8Array;
  readonly sequence: bigint;
  readonly chain: Uint8Array;
  /** Empty for an opening. */
  readonly contentHash: Uint8Array;
  readonly answer: StoredAnswer;
  readonly appliedAtMs: number;
}

/** What the target answers for one delivery; the receipt is made from it. */
export interface StoredAnswer {
  /** Sorted, without zero cells. */
  readonly outcomes: readonly OutcomeCell[];
  /** Only tables with extra rows, at the end of a load. */
  readonly extras: readonly ExtraRows[];
  /** 1 when the delivery was applied, one more each time its open rows moved. The receipt's revision follows from it. */
  readonly revision: number;
  /** Every row counted quarantined or held, by its place in the delivery as it was sent. */
  readonly open: readonly OpenPlace[];
}

/** Where a row stands in the delivery as it was sent: section of the content and line of the section, both from 0. */
export interface RowPlace {
  readonly section: number;
  readonly index: number;
}

/** A row that waits. */
export interface OpenPlace extends RowPlace {
  readonly table: string;
  readonly kind: Kind;
  readonly outcome: 'quarantined' | 'held';
  readonly code: string;
  /** Never a value. */
  readonly reason: string;
}

export interface ExtraRows {
  readonly table: string;
  readonly deleted: number;
  readonly kept: number;
}

/** One delivery, checked and decoded: to be applied whole or not at all. */
export interface ApplyWork {
  readonly laneId: string;
  readonly epoch: bigint;
  /** 16 bytes. */
  readonly nonce: Uint8Array;
  readonly sequence: bigint;
  /** 32 bytes; zeros for an opening. */
  readonly previousChain: Uint8Array;
  readonly chain: Uint8Array;
  readonly contentHash: Uint8Array;
  readonly settledThrough: bigint;
  /** Runs of deliveries above `settledThrough` whose settled receipt the sender holds too. */
  readonly settled?: readonly { readonly first: bigint; readonly last: bigint }[] | undefined;
  /** The receipt's revision that the sender holds already; the stored answer begins above it. Default 0. */
  readonly revisionAbove?: number | undefined;
  /** Rows that may be isolated before the failure counts as the delivery's. Default 1,000. */
  readonly mostIsolated?: number | undefined;
  /** Where a row of `sections` stands in the delivery as it was sent. Default: at the same place. */
  placeOf?(section: number, index: number): RowPlace;
  /** Rows of the delivery that wait behind open rows: counted 'held', not written, and named by a load (L1). */
  readonly held?: HeldRows | undefined;
  /** Every table of the bridge at this destination, by label; more than the sections name. */
  readonly tables: ReadonlyMap<string, TargetTable>;
  /** Empty for openings and voids. */
  readonly sections: readonly Section[];
  readonly opensEpoch: boolean;
  readonly load: {
    readonly begins: boolean;
    readonly ends: boolean;
    readonly allowedDeletes: number;
    /** Tables (labels) of which the load did not name every row of the source (L4). */
    readonly incomplete?: readonly string[] | undefined;
    /** A void: it may have taken a part of a load away (L2). */
    readonly isBroken?: boolean | undefined;
  };
  readonly batchNo: string;
  readonly sourceDepartment: string;
  readonly appliedAtMs: number;
  readonly deleteGuard: { readonly rows: number; readonly share: number };
  /** See R4. Keep it short: the target's transaction is open. */
  beforeCommit(quarantined: readonly QuarantinedRow[]): void | Promise<void>;
}

/** Rows held back: as sections, and each by its place. */
export interface HeldRows {
  readonly sections: readonly Section[];
  readonly open: readonly OpenPlace[];
}

export type ApplyResult =
  | { readonly kind: 'applied'; readonly answer: StoredAnswer; readonly quarantined: readonly QuarantinedRow[] }
  | { readonly kind: 'alreadyApplied'; readonly answer: StoredAnswer; readonly contentHash: Uint8Array }
  | { readonly kind: 'gap'; readonly expected: bigint }
  | { readonly kind: 'fork'; readonly why: string }
  | { readonly kind: 'guard'; readonly table: string; readonly rows: number; readonly of: number };

/** A row that was isolated, whole. */
export interface QuarantinedRow {
  readonly table: string;
  readonly kind: Kind;
  /** Index of the section in the work, and of the line in the section, both from 0. */
  readonly section: number;
  readonly index: number;
  /** The line as sent, with its LF. */
  readonly line: Uint8Array;
  /** How the matrix counts it. */
  readonly outcome: 'quarantined' | 'held';
  /** NOT_NULL, UNIQUE, FOREIGN_KEY, CHECK, VALUE_INVALID, OUTSIDE_OWNERSHIP, MISSING_BASE, HELD, or the database's own code in capitals. */
  readonly code: string;
  /** A sentence naming constraint or column; never a value. */
  readonly reason: string;
}

/** Open rows of one applied delivery that a person, or a resent row, moves. With none of them only the revision is lifted (A4). */
export interface AmendWork {
  readonly laneId: string;
  readonly epoch: bigint;
  readonly sequence: bigint;
  readonly tables: ReadonlyMap<string, TargetTable>;
  /** Rows to try again (edited or not); those refused again stay open. */
  readonly sections: readonly Section[];
  /** Where a row of `sections` stands in the delivery as it was sent. */
  placeOf(section: number, index: number): RowPlace;
  /** Rows that are not written any more, and what they are counted as from now on. */
  readonly givenUp: readonly (RowPlace & { readonly outcome: 'abandoned' | 'cancelled' | 'keptTarget' })[];
  /** The receipt's revision that somebody holds already; the new one is above it. */
  readonly revisionAbove: number;
  readonly mostIsolated?: number | undefined;
  readonly batchNo: string;
  readonly sourceDepartment: string;
  readonly appliedAtMs: number;
  /** Called inside the transaction just before COMMIT, always. */
  beforeCommit(answer: StoredAnswer, quarantined: readonly QuarantinedRow[]): void | Promise<void>;
}

export type AmendResult =
  | { readonly kind: 'amended'; readonly answer: StoredAnswer; readonly quarantined: readonly QuarantinedRow[] }
  /** The mark has no such delivery, or a row is not open in it. */
  | { readonly kind: 'unknown'; readonly why: string };
