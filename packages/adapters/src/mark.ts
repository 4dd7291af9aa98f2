/**
 * What all adapters share about the mark: its names, the text form of an answer, and the decision whether a delivery is next in its lane.
 * Pure; each adapter stores and reads the rows itself, the insert of the new row being the first write of its transaction.
 */
import { createHash } from 'node:crypto';
import { type Kind, Matrix, type OutcomeCell, QiaoError } from '@qiao/exchange';
import type {
  AmendWork,
  AppliedPoint,
  ApplyWork,
  ExtraRows,
  OpenPlace,
  QuarantinedRow,
  RowPlace,
  StoredAnswer,
} from './adapter.ts';

/** One per target database. Columns: lane, epoch, nonce, sequence, chain, content_hash, answer, applied_at_ms; key (lane, epoch, sequence). */
export const MARK_TABLE = 'qiao_mark';

/** The row with this lane, epoch 0 and sequence 0 keeps the target id (16 random bytes) in `nonce`. */
export const TARGET_LANE = 'target';

/** Every table Qiao keeps in a target begins so. */
export const OWN_PREFIX = 'qiao_';

/** What is known of a delivery whose mark was purged: nothing, not even a revision. */
export const EMPTY_ANSWER: StoredAnswer = { outcomes: [], extras: [], revision: 0, open: [] };

/** Rows isolated in one delivery past which the failure is not the rows', unless the work says otherwise (DESIGN section 9). */
export const MOST_ISOLATED = 1000;

/** What the stored points of a lane say about a delivery. */
export type MarkDecision =
  | { readonly kind: 'apply' }
  | { readonly kind: 'alreadyApplied'; readonly answer: StoredAnswer; readonly contentHash: Uint8Array }
  | { readonly kind: 'gap'; readonly expected: bigint }
  | { readonly kind: 'fork'; readonly why: string };

/**
 * Decides whether a delivery is next. `points` are all stored rows of the lane, newest last (M2).
 * Throws DELIVERY_INVALID for an opening whose sequence is not 0.
 */
export function decide(
  points: readonly AppliedPoint[],
  work: Pick<ApplyWork, 'epoch' | 'nonce' | 'sequence' | 'previousChain' | 'chain' | 'contentHash' | 'opensEpoch'>,
): MarkDecision {
  if (work.opensEpoch !== (work.sequence === 0n)) {
    throw new QiaoError(
      'DELIVERY_INVALID',
      `sequence ${work.sequence} ${work.opensEpoch ? 'opens' : 'does not open'} an epoch; sequence 0, and only it, does`,
    );
  }
  const highest = points.at(-1);
  if (!highest || work.epoch > highest.epoch) {
    return work.opensEpoch ? { kind: 'apply' } : { kind: 'gap', expected: 0n };
  }
  const same = points.find((point) => point.epoch === work.epoch && point.sequence === work.sequence);
  if (work.epoch < highest.epoch) {
    if (same) return known(same, work);
    return { kind: 'fork', why: `epoch ${work.epoch} was closed by epoch ${highest.epoch}` };
  }
  if (!equal(work.nonce, highest.nonce)) {
    return { kind: 'fork', why: `epoch ${work.epoch} was opened with another nonce` };
  }
  if (work.sequence > highest.sequence + 1n) return { kind: 'gap', expected: highest.sequence + 1n };
  if (work.sequence === highest.sequence + 1n) {
    return equal(work.previousChain, highest.chain)
      ? { kind: 'apply' }
      : { kind: 'fork', why: `sequence ${work.sequence} does not continue the chain of sequence ${highest.sequence}` };
  }
  // Below the highest and no longer stored: settled long ago, the sender holds its receipt.
  return same ? known(same, work) : { kind: 'alreadyApplied', answer: EMPTY_ANSWER, contentHash: work.contentHash };
}

function known(
  point: AppliedPoint,
  work: Pick<ApplyWork, 'epoch' | 'nonce' | 'sequence' | 'chain' | 'contentHash'>,
): MarkDecision {
  if (!equal(point.nonce, work.nonce))
    return { kind: 'fork', why: `epoch ${work.epoch} was opened with another nonce` };
  if (!equal(point.contentHash, work.contentHash) || !equal(point.chain, work.chain)) {
    return { kind: 'fork', why: `sequence ${work.sequence} was applied with another content` };
  }
  return { kind: 'alreadyApplied', answer: point.answer, contentHash: point.contentHash };
}

/** What a delivery is answered when it is applied: the rows that landed, and those that wait. */
export function firstAnswer(
  work: Pick<ApplyWork, 'held' | 'placeOf' | 'revisionAbove'>,
  landed: { readonly cells: readonly OutcomeCell[]; readonly isolated: readonly QuarantinedRow[] },
  extras: readonly ExtraRows[],
): StoredAnswer {
  const matrix = Matrix.from(landed.cells);
  for (const { table, kind, rowCount } of work.held?.sections ?? []) matrix.add(table, kind, 'held', rowCount);
  const placeOf = work.placeOf?.bind(work) ?? ((section: number, index: number): RowPlace => ({ section, index }));
  const open = [...(work.held?.open ?? []), ...landed.isolated.map((row) => openPlace(row, placeOf))];
  return { outcomes: matrix.cells(), extras, revision: (work.revisionAbove ?? 0) + 1, open };
}

/** A row of the work that is not open in the stored answer (A2); undefined when all are. */
export function notOpen(before: StoredAnswer, work: AmendWork): RowPlace | undefined {
  const open = new Set(before.open.map(placeKey));
  return [...movedPlaces(work)].find((place) => !open.delete(placeKey(place)));
}

/** The stored answer after rows moved (A2 holds, see `notOpen`). */
export function amendedAnswer(
  before: StoredAnswer,
  work: AmendWork,
  landed: { readonly cells: readonly OutcomeCell[]; readonly isolated: readonly QuarantinedRow[] },
): StoredAnswer {
  const open = new Map(before.open.map((row) => [placeKey(row), row]));
  const matrix = Matrix.from(before.outcomes);
  const take = (place: RowPlace): OpenPlace => {
    const row = open.get(placeKey(place)) as OpenPlace;
    open.delete(placeKey(place));
    matrix.add(row.table, row.kind, row.outcome, -1);
    return row;
  };
  for (const place of triedPlaces(work)) take(place);
  for (const { outcome, ...place } of work.givenUp) {
    const { table, kind } = take(place);
    matrix.add(table, kind, outcome, 1);
  }
  for (const { table, sent, outcome, rows } of landed.cells) matrix.add(table, sent, outcome, rows);
  for (const row of landed.isolated) {
    const place = openPlace(row, work.placeOf.bind(work));
    open.set(placeKey(place), place);
  }
  const outcomes = matrix.cells();
  const hasMoved = JSON.stringify(outcomes) !== JSON.stringify(Matrix.from(before.outcomes).cells());
  const isLifted = hasMoved || before.revision < work.revisionAbove;
  const revision = isLifted ? Math.max(before.revision, work.revisionAbove) + 1 : before.revision;
  return { outcomes, extras: before.extras, revision, open: [...open.values()] };
}

function* movedPlaces(work: AmendWork): Generator<RowPlace> {
  yield* triedPlaces(work);
  yield* work.givenUp;
}

function* triedPlaces(work: AmendWork): Generator<RowPlace> {
  for (const [section, { rowCount }] of work.sections.entries()) {
    for (let index = 0; index < rowCount; index++) yield work.placeOf(section, index);
  }
}

function openPlace(row: QuarantinedRow, placeOf: (section: number, index: number) => RowPlace): OpenPlace {
  const { section, index } = placeOf(row.section, row.index);
  const { table, kind, outcome, code, reason } = row;
  return { section, index, table, kind, outcome, code, reason };
}

function placeKey({ section, index }: RowPlace): string {
  return `${section}/${index}`;
}

/** The answer as the mark stores it: JSON with sorted cells, the same text for the same answer. */
export function answerText(answer: StoredAnswer): string {
  const outcomes = Matrix.from(answer.outcomes).cells();
  const extras = answer.extras.toSorted((a, b) => (a.table < b.table ? -1 : 1));
  return JSON.stringify({
    outcomes: outcomes.map(({ table, sent, outcome, rows }) => ({ table, sent, outcome, rows })),
    extras: extras.map(({ table, deleted, kept }) => ({ table, deleted, kept })),
    revision: answer.revision,
    // Tuples: a thousand of these rows may wait in one delivery.
    open: answer.open
      .toSorted((a, b) => a.section - b.section || a.index - b.index)
      .map(({ section, index, table, kind, outcome, code, reason }) => [
        section,
        index,
        table,
        kind,
        outcome,
        code,
        reason,
      ]),
  });
}

/** Reads what `answerText` wrote. Throws MARK_UNREADABLE when somebody else wrote it. */
export function parseAnswer(text: string): StoredAnswer {
  try {
    const { outcomes, extras, revision, open } = JSON.parse(text) as StoredText;
    if (Array.isArray(outcomes) && Array.isArray(extras) && Number.isInteger(revision) && Array.isArray(open)) {
      return {
        outcomes,
        extras,
        revision,
        open: open.map(([section, index, table, kind, outcome, code, reason]) => ({
          section,
          index,
          table,
          kind,
          outcome,
          code,
          reason,
        })),
      };
    }
  } catch {
    // Falls through to the one error below.
  }
  throw new QiaoError('MARK_UNREADABLE', `an answer in ${MARK_TABLE} is not the JSON that Qiao writes`, {
    hint: `Find out who changed ${MARK_TABLE}, restore it from a backup, or open a new epoch: qiao bridge resync NAME`,
  });
}

interface StoredText {
  outcomes: OutcomeCell[];
  extras: ExtraRows[];
  revision: number;
  open: [number, number, string, Kind, OpenPlace['outcome'], string, string][];
}

/** Name of the side table that notes the keys a load found at the target: per lane and source table, at most 63 bytes. */
export function loadTableName(laneId: string, table: string): string {
  return `${loadTablePrefix(laneId)}${createHash('sha256').update(table).digest('hex').slice(0, 12)}`;
}

/** What the names of all load side tables of a lane begin with. */
export function loadTablePrefix(laneId: string): string {
  return `${OWN_PREFIX}load_${createHash('sha256').update(laneId).digest('hex').slice(0, 16)}_`;
}

/** True when removing `rows` of `of` rows must be asked for first (L3). */
export function guardStops(rows: number, of: number, work: Pick<ApplyWork, 'deleteGuard' | 'load'>): boolean {
  return rows > work.deleteGuard.rows && rows > of * work.deleteGuard.share && rows > work.load.allowedDeletes;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
