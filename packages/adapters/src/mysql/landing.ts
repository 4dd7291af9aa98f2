/**
 * Lands one piece of a section, already in a stage, with set-based statements that count every row's outcome exactly. Never by
 * ON DUPLICATE KEY UPDATE or REPLACE, which take a row with the same value under any unique index for the row. A failure of one row
 * fails the whole statement: isolating it belongs to `../isolate.ts`.
 */

import type { Outcome } from '@qiao/exchange';
import { type IsolatedLine, type Landed, nothingDeleted, type Piece, partsForJournal } from '../sectionPort.ts';
import { type JournalValues, schemaError } from '../targetServer.ts';
import { leaveToTarget, takesPlace } from './conflict.ts';
import { columnOf, type Layout, selfReferences } from './layout.ts';
import { NOTES_TABLE } from './markDdl.ts';
import { aliveOf, imagesDiffer, keyText, markOf, ownedBy, sameKey } from './rowsSql.ts';
import type { Session } from './session.ts';
import { identifier, identifiers, literal, qualified } from './sql.ts';
import { fillTyped, type Stage, takeLines } from './stage.ts';

const OUTSIDE = {
  outcome: 'quarantined',
  code: 'OUTSIDE_OWNERSHIP',
  reason: "the row does not satisfy the lane's ownership condition",
} as const;

const MISSING = {
  outcome: 'held',
  code: 'MISSING_BASE',
  reason: 'the update does not carry every column and the target has no such row',
} as const;

const NOT_WHOLE = {
  outcome: 'held',
  code: 'MISSING_BASE',
  reason: 'the update does not carry every column, and conflict: newestWins judges whole rows',
} as const;

/** Lands the piece that the raw stage holds. Throws RowError when a row is refused, classified QiaoErrors otherwise. */
export async function land(
  session: Session,
  layout: Layout,
  stage: Stage,
  piece: Piece,
  journal: JournalValues,
): Promise<Landed> {
  if (layout.target.landing === 'journal') return landJournal(session, layout, stage, piece, journal);
  await fillTyped(session, stage);
  if (layout.hasNotes) await takeOutOfNotes(session, layout, stage);
  if (piece.kind === 'delete') return landDelete(session, layout, stage, piece);
  return piece.kind === 'update' && !piece.wholeRows
    ? landPartialUpdate(session, layout, stage, piece)
    : landWholeRows(session, layout, stage, piece);
}

/** Puts the raw lines straight into the table: right where no row with their keys is there, and a UNIQUE RowError where one is. */
export async function landStraight(session: Session, layout: Layout, stage: Stage): Promise<number> {
  return session.store(
    `INSERT INTO ${layout.sql} (${identifiers(stage.columns)}) SELECT ${stage.stored.join(', ')} FROM ${stage.raw.name} r ORDER BY r.line`,
    { isByLine: true },
  );
}

/** The source has the keys of the typed stage: the end of the load must not remove their rows. */
export async function takeOutOfNotes(session: Session, layout: Layout, stage: Stage): Promise<void> {
  await session.run(
    `DELETE n FROM ${stage.typed.name} s STRAIGHT_JOIN ${qualified(session.database, NOTES_TABLE)} n
      ON n.load_name = ${literal(layout.notesName)} AND n.key_text = ${keyText(layout, 's')}`,
  );
}

/** Sets these columns of the lane's rows of the typed stage to null; gives back of how many rows. */
export async function giveUpValues(
  session: Session,
  layout: Layout,
  stage: Stage,
  columns: readonly string[],
): Promise<number> {
  const owned = ownedBy(layout, 't') ?? '1';
  const join = `${stage.typed.name} s STRAIGHT_JOIN ${layout.sql} t ON ${sameKey(layout, 't', 's')}`;
  // What the statement itself counts are rows that were not null before.
  const [found = 0] = await counts(session, `SELECT COUNT(*) FROM ${join} WHERE ${owned} FOR UPDATE`);
  await session.run(
    `UPDATE ${join} SET ${columns.map((name) => `t.${identifier(name)} = NULL`).join(', ')} WHERE ${owned}`,
  );
  return found;
}

async function landWholeRows(session: Session, layout: Layout, stage: Stage, piece: Piece): Promise<Landed> {
  const { key, conflict = 'sourceWins' } = layout.target;
  const isolated = await takeOutside(session, layout, stage, ownedBy(layout, 's'));
  const left = await leaveToTarget(session, layout, stage, piece);
  const count = piece.rowCount - isolated.length - left;
  const owned = ownedBy(layout, 't') ?? '1';
  const mark = markOf(layout);
  const join = `${stage.typed.name} s STRAIGHT_JOIN ${layout.sql} t ON ${sameKey(layout, 't', 's')}`;
  const [met = 0, revived = 0, kept = 0] = await counts(
    session,
    `SELECT COUNT(*), SUM(${mark === undefined ? '0' : `${mark.isMarked} AND ${owned}`}), SUM(NOT (${owned})) FROM ${join} FOR UPDATE`,
  );
  const fresh = met === count ? 0 : await insertFresh(session, layout, stage, met > 0);

  const written = piece.columns.filter((name) => !key.includes(name));
  const assignments = written.map((name) => `t.${identifier(name)} = s.${identifier(name)}`);
  if (mark !== undefined) assignments.push(`t.${mark.column} = IF(${mark.isMarked}, ${mark.clear}, t.${mark.column})`);
  const differs = imagesDiffer(layout, written);
  const changes = `((${differs}) AND ${takesPlace(layout, piece.columns)})${mark === undefined ? '' : ` OR ${mark.isMarked}`}`;
  const changed =
    met === kept || assignments.length === 0
      ? 0
      : await session.store(`UPDATE ${join} SET ${assignments.join(', ')} WHERE (${changes}) AND ${owned}`);
  // Of these some may be rows that somebody else put into the table since the policy was asked, and that it leaves to the target.
  const rest = count - fresh - changed - kept;
  const mayBeLate = rest > 0 && conflict !== 'sourceWins';
  const [late = 0] = mayBeLate ? await counts(session, `SELECT COUNT(*) FROM ${join} WHERE ${differs}`) : [];
  const isInsert = piece.kind === 'insert';
  return {
    counts: [
      [isInsert ? 'inserted' : 'insertedInsteadOfUpdate', fresh + revived],
      [isInsert ? 'updatedInsteadOfInsert' : 'updated', changed - revived],
      ['keptTarget', kept + left + late],
      // What was not met and not inserted makes this negative: somebody else changed the rows meanwhile.
      ['unchanged', rest - late],
    ],
    isolated,
  };
}

/** Inserts the rows of the stage that the table does not have. */
async function insertFresh(session: Session, layout: Layout, stage: Stage, someAreThere: boolean): Promise<number> {
  const { columns } = stage;
  const mark = markOf(layout);
  const into = `INSERT INTO ${layout.sql} (${identifiers(columns)}${mark === undefined ? '' : `, ${mark.column}`})
    SELECT ${identifiers(columns, 's.')}${mark === undefined ? '' : `, ${mark.clear}`} FROM ${stage.typed.name} s`;
  const key = identifier(layout.target.key[0] ?? '');
  const isAbsent = ` LEFT JOIN ${layout.sql} t ON ${sameKey(layout, 't', 's')} WHERE t.${key} IS NULL`;
  const order = ` ORDER BY s.${stage.ordinal}`;
  const selves = selfReferences(layout).filter(({ columns: from }) => from.every((name) => columns.includes(name)));
  if (selves.length === 0) return session.store(`${into}${someAreThere ? isAbsent : ''}${order}`);
  // A table that refers to itself is filled from the roots on; what is left then misses its parent, and says so.
  const hasParents = selves
    .map(({ columns: from, toColumns }) => {
      const isNone = from.map((name) => `s.${identifier(name)} IS NULL`).join(' OR ');
      const isSelf = from
        .map((name, place) => `s.${identifier(name)} = s.${identifier(toColumns[place] ?? '')}`)
        .join(' AND ');
      const isThere = from
        .map((name, place) => `p.${identifier(toColumns[place] ?? '')} = s.${identifier(name)}`)
        .join(' AND ');
      const mayBeSelf = toColumns.every((name) => columns.includes(name)) ? ` OR (${isSelf})` : '';
      return `(${isNone}${mayBeSelf} OR EXISTS (SELECT 1 FROM ${layout.sql} p WHERE ${isThere}))`;
    })
    .join(' AND ');
  let fresh = 0;
  for (let level = 1; level > 0; fresh += level) {
    level = await session.store(`${into}${isAbsent} AND ${hasParents}${order}`);
  }
  return fresh + (await session.store(`${into}${isAbsent}${order}`));
}

async function landPartialUpdate(session: Session, layout: Layout, stage: Stage, piece: Piece): Promise<Landed> {
  const alive = aliveOf(layout);
  const join = `${stage.typed.name} s STRAIGHT_JOIN ${layout.sql} t ON ${sameKey(layout, 't', 's')}`;
  await counts(session, `SELECT COUNT(*) FROM ${join} FOR UPDATE`);
  const isThere = (condition: string) =>
    `EXISTS (SELECT 1 FROM ${layout.sql} t WHERE ${sameKey(layout, 't', 's')} AND ${condition})`;
  if (typeof layout.target.conflict === 'object') {
    const judged = (await takeLines(session, stage, isThere(alive))).map((index) => ({ ...NOT_WHOLE, index }));
    return { counts: [['keptTarget', piece.rowCount - judged.length]], isolated: judged };
  }
  const missing = (await takeLines(session, stage, `NOT ${isThere(alive)}`)).map((index) => ({ ...MISSING, index }));
  // Columns that the change does not carry keep the value of the target's row.
  const after = ownedBy(layout, (name) => (piece.columns.includes(name) ? 's' : 't'));
  const outside = after === undefined ? [] : await takeOutside(session, layout, stage, isThere(after));
  const isolated = [...missing, ...outside];
  const owned = ownedBy(layout, 't') ?? '1';
  const written = piece.columns.filter((name) => !layout.target.key.includes(name));
  const left = await leaveToTarget(session, layout, stage, piece);
  const count = piece.rowCount - isolated.length - left;
  const [kept = 0] = await counts(session, `SELECT SUM(NOT (${owned})) FROM ${join}`);
  const updated =
    written.length === 0
      ? 0
      : await session.store(
          `UPDATE ${join} SET ${written.map((name) => `t.${identifier(name)} = s.${identifier(name)}`).join(', ')}
            WHERE ${imagesDiffer(layout, written)} AND ${owned}`,
        );
  return {
    counts: [
      ['updated', updated],
      ['keptTarget', kept + left],
      ['unchanged', count - updated - kept],
    ],
    isolated,
  };
}

async function landDelete(session: Session, layout: Layout, stage: Stage, piece: Piece): Promise<Landed> {
  const left = await leaveToTarget(session, layout, stage, piece);
  if (layout.target.conflict === 'targetWins') return nothingDeleted(piece, left);
  const owned = ownedBy(layout, 't');
  const mark = markOf(layout);
  const join = `${stage.typed.name} s STRAIGHT_JOIN ${layout.sql} t ON ${sameKey(layout, 't', 's')}`;
  const deleted =
    mark === undefined
      ? await deleteRows(session, layout, `FROM ${join} WHERE ${owned ?? '1'}`)
      : await session.store(
          `UPDATE ${join} SET t.${mark.column} = ${mark.set} WHERE ${owned ?? '1'} AND NOT ${mark.isMarked}`,
        );
  const alive = aliveOf(layout);
  const [kept = 0] = owned === undefined ? [] : await counts(session, `SELECT COUNT(*) FROM ${join} WHERE ${alive}`);
  return {
    counts: [
      ['deleted', deleted],
      ['keptTarget', kept + left],
      ['deletedNothing', piece.rowCount - deleted - kept - left],
    ],
    isolated: [],
  };
}

/** Deletes rows `t`. Where the table refers to itself, leaves go before what they hang on: MySQL checks row by row. */
export async function deleteRows(session: Session, layout: Layout, from: string): Promise<number> {
  let deleted = 0;
  if (selfReferences(layout).length > 0) {
    for (let level = 1; level > 0; deleted += level) level = await deleteUnreferenced(session, from);
  }
  return deleted + (await session.run(`DELETE t ${from}`));
}

/** Deletes the rows `t` that nothing refers to: IGNORE leaves the others, with a warning each. */
export function deleteUnreferenced(session: Session, from: string): Promise<number> {
  return session.run(`DELETE IGNORE t ${from}`);
}

async function landJournal(
  session: Session,
  layout: Layout,
  stage: Stage,
  piece: Piece,
  journal: JournalValues,
): Promise<Landed> {
  if (piece.kind === 'update' && !piece.wholeRows) return partsForJournal(piece);
  const names = layout.target.journalColumns;
  const appliedAt = new Date(journal.appliedAtMs).toISOString().replace('T', ' ').replace('Z', '');
  const appliedType = columnOf(layout, names.appliedAt).type;
  const isText = 'type' in appliedType && appliedType.type === 'text';
  const own: [string, string][] = [
    [names.operation, { insert: 'I', update: 'U', delete: 'D' }[piece.kind]],
    [names.batchNo, journal.batchNo],
    [names.sourceDepartment, journal.sourceDepartment],
    [names.appliedAt, isText ? `${appliedAt}+00` : appliedAt],
    [names.processed, '0'],
  ];
  const landed = await session.store(
    `INSERT INTO ${layout.sql} (${identifiers(piece.columns)}, ${identifiers(own.map(([name]) => name))})
     SELECT ${stage.stored.join(', ')}, ${own.map(([, value]) => literal(value)).join(', ')} FROM ${stage.raw.name} r ORDER BY r.line`,
    { isByLine: true },
  );
  if (landed !== piece.rowCount) throw schemaError(`table ${layout.sql} took ${landed} rows of ${piece.rowCount}`);
  const outcome: Outcome = ({ insert: 'inserted', update: 'updated', delete: 'deleted' } as const)[piece.kind];
  return { counts: [[outcome, piece.rowCount]], isolated: [] };
}

async function takeOutside(
  session: Session,
  layout: Layout,
  stage: Stage,
  inside: string | undefined,
): Promise<IsolatedLine[]> {
  if (inside === undefined || typeof layout.target.ownership !== 'object') return [];
  return (await takeLines(session, stage, `NOT ${inside}`)).map((index) => ({ ...OUTSIDE, index }));
}

/** The numbers of one row; a sum over nothing is 0. */
async function counts(session: Session, text: string): Promise<number[]> {
  const [row] = await session.rows(text);
  return (row ?? []).map(Number);
}
