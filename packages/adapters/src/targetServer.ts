/**
 * What a kind of database server brings to the road of a delivery (`serverTarget.ts`): one port of small steps, in the order in which they
 * are taken. Each adapter's `target.ts` is one of it.
 */

import { QiaoError, type Section } from '@qiao/exchange';
import type { AppliedPoint, ApplyWork, StoredAnswer, TargetTable } from './adapter.ts';
import type { ReferredTable } from './cascades.ts';
import type { UniqueValues } from './circle.ts';
import type { Landed, Piece, Savepoints } from './sectionPort.ts';

/** One connection; what its server refuses is thrown with its fate. */
export interface ServerSession {
  /** The connection is gone; open another. */
  readonly isBroken: boolean;
  run(statement: string): Promise<unknown>;
  close(): Promise<void>;
  abandon(): void;
}

/** One target table as it is now. */
export interface ServerLayout extends ReferredTable {
  /** A load is under way that found rows in this table. */
  readonly hasNotes: boolean;
}

/** Columns of a table that lines bring: those of a section, or its key alone. */
export interface StageShape<Layout> {
  readonly layout: Layout;
  readonly columns: readonly string[];
  /** Undefined for the key alone. */
  readonly section: Section | undefined;
}

export interface JournalValues {
  readonly batchNo: string;
  readonly sourceDepartment: string;
  readonly appliedAtMs: number;
}

/** Lines on their way into a table. */
export interface Landing<Layout, Stage> {
  readonly layout: Layout;
  readonly stage: Stage;
  readonly piece: Piece;
  /** The section was not cut: the fast way is allowed. */
  readonly isWhole: boolean;
  readonly journal: JournalValues;
}

/** The mark table, in the transaction of the session. */
export interface Mark<Session> {
  prepare(session: Session): Promise<{ targetId: string; created: boolean }>;
  points(session: Session, laneId: string): Promise<AppliedPoint[]>;
  /** The points that decide about a place: that place, and the lane's highest as the last. */
  deciding(session: Session, at: Pick<ApplyWork, 'laneId' | 'epoch' | 'sequence'>): Promise<AppliedPoint[]>;
  /** Begins a transaction. Until it ends nobody else applies this lane. */
  begin(session: Session, laneId: string): Promise<void>;
  /** False when the place is taken. */
  insert(session: Session, work: ApplyWork, answer: StoredAnswer): Promise<boolean>;
  answer(
    session: Session,
    at: Pick<ApplyWork, 'laneId' | 'epoch' | 'sequence'>,
    answer: StoredAnswer,
  ): Promise<unknown>;
  purge(session: Session, work: ApplyWork): Promise<void>;
  purgeOlderEpochs(session: Session, laneId: string, closed: bigint): Promise<void>;
  forget(session: Session, laneId: string): Promise<void>;
}

/** Keys of rows that a load found in a table and has not met yet. */
export interface Noted {
  readonly rows: number;
  /** At the beginning of the load. */
  readonly of: number;
}

/** What a kind of server brings to the road. Whatever it knows of tables is of the session that it opened last. */
export interface TargetServer<Session extends ServerSession, Layout extends ServerLayout, Stage> {
  readonly mark: Mark<Session>;
  /** Of tables that name none. */
  readonly schema: string;
  open(): Promise<Session>;
  savepoints(session: Session): Savepoints;
  /** By label. Throws TARGET_SCHEMA for a missing table, column or key. */
  layouts(session: Session, laneId: string, tables: Iterable<TargetTable>): Promise<Map<string, Layout>>;
  /** Called outside a transaction. */
  stages(session: Session, shapes: ReadonlyMap<string, StageShape<Layout>>): Promise<Map<string, Stage>>;
  land(session: Session, landing: Landing<Layout, Stage>): Promise<Landed>;
  /** Undefined where more would follow an update than is known: a trigger, a key that is not seen. */
  uniqueValues(session: Session, layout: Layout): Promise<UniqueValues | undefined>;
  /** Sets these columns of the lane's rows of the piece to null; gives back of how many rows. */
  giveUpValues(
    session: Session,
    layout: Layout,
    stage: Stage,
    piece: Piece,
    columns: readonly string[],
  ): Promise<number>;
  /** Whether a row that goes takes nothing with it, triggers none, and has no column but these. */
  mayReplace(session: Session, layout: Layout, columns: readonly string[]): Promise<boolean>;
  /** Labels of tables, parents before children; cycles in any order. */
  parentsFirst(session: Session, layouts: readonly Layout[]): Promise<string[]>;
  beginNotes(session: Session, layouts: Iterable<Layout>): Promise<void>;
  /** Takes one key, as a line of row text, out of the notes of a table. */
  takeOutOfNotes(session: Session, layout: Layout, stage: Stage, key: Uint8Array): Promise<void>;
  countNoted(session: Session, layout: Layout): Promise<Noted>;
  /** How many rows went: those that others still point to stay. */
  removeNoted(session: Session, layout: Layout): Promise<number>;
  forgetNoted(session: Session, layout: Layout): Promise<void>;
  dropNotes(session: Session, laneId: string): Promise<void>;
  /** A transaction ended, either way. */
  ended(): void;
}

/** The permanent error for a target that is not what the bridge was checked against. */
export function schemaError(found: string): QiaoError {
  return new QiaoError('TARGET_SCHEMA', found, {
    hint: 'the target no longer is what the bridge was checked against: qiao bridge check -f FILE',
  });
}
