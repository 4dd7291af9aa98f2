/**
 * Lands one piece of a section, already in a stage, with set-based statements that count every row's outcome exactly.
 * A failure of one row fails the whole statement: isolating it belongs to `../isolate.ts`.
 */

import { type Filter, filterSql, type Outcome } from '@qiao/exchange';
import { type IsolatedLine, type Landed, nothingDeleted, type Piece, partsForJournal } from '../sectionPort.ts';
import { type JournalValues, schemaError } from '../targetServer.ts';
import { leaveToTarget, type Meeting, takesPlace } from './conflict.ts';
import { columnOf, type Layout } from './layout.ts';
import type { Session } from './session.ts';
import { identifier, identifiers } from './sql.ts';
import type { Stage } from './stage.ts';

/**
 * Lands the piece that the stage holds. `isMostlyEqual`: the table is likely to have the rows as they are, which pays for a look
 * before anything is written; outcomes are the same either way. Throws RowError when a row is refused, classified QiaoErrors otherwise.
 */
export async function land(
  session: Session,
  layout: Layout,
  stage: Stage,
  piece: Piece,
  journal: JournalValues,
  isMostlyEqual = false,
): Promise<Landed> {
  if (layout.target.landing === 'journal') return landJournal(session, layout, stage, piece, journal);
  if (layout.hasNotes) await takeOutOfNotes(session, layout, stage);
  if (piece.kind === 'delete') return landDelete(session, layout, stage, piece);
  return piece.kind === 'update' && !piece.wholeRows
    ? landPartialUpdate(session, layout, stage, piece)
    : landWholeRows(session, layout, stage, piece, isMostlyEqual);
}

/** The source has the keys of the stage: the end of the load must not remove their rows. */
export async function takeOutOfNotes(session: Session, layout: Layout, stage: Stage): Promise<void> {
  await session.run(`DELETE FROM ${layout.notes} n USING ${stage.sql} s WHERE ${sameKey(layout.target.key, 'n', 's')}`);
}

/** Sets these columns of the lane's rows of the stage to null; gives back of how many rows. */
export function giveUpValues(
  session: Session,
  layout: Layout,
  stage: Stage,
  columns: readonly string[],
): Promise<number> {
  const owned = ownedBy(layout, 't');
  return session.run(
    `UPDATE ${layout.sql} t SET ${columns.map((name) => `${identifier(name)} = NULL`).join(', ')} FROM ${stage.sql} s
      WHERE ${sameKey(layout.target.key, 't', 's')} AND ${owned.sql}`,
    owned.parameters,
  );
}

/** Whether a section needs its lines numbered in the stage, because some of them may have to be named. */
export function needsOrdinal(layout: Layout, piece: Pick<Piece, 'kind' | 'wholeRows'>): boolean {
  if (layout.target.landing === 'journal' || piece.kind === 'delete') return false;
  return typeof layout.target.ownership === 'object' || (piece.kind === 'update' && !piece.wholeRows);
}

/** `t.k = s.k AND …`. */
export function sameKey(key: readonly string[], left: string, right: string): string {
  return key.map((name) => `${left}.${identifier(name)} = ${right}.${identifier(name)}`).join(' AND ');
}

/** A condition with the parameters that it binds from $1 on. */
export interface Condition {
  readonly sql: string;
  readonly parameters: readonly string[];
}

const ALWAYS: Condition = { sql: 'true', parameters: [] };

/** True for rows of the lane: the ownership filter over columns qualified by `of`; true without a filter. Never null. */
export function ownedBy(layout: Layout, of: string | ((column: string) => string)): Condition {
  const { ownership } = layout.target;
  if (typeof ownership !== 'object') return ALWAYS;
  const parameters: string[] = [];
  const bound = (text: string) => `$${parameters.push(text)}`;
  const compared = (name: string) => {
    const text = `${typeof of === 'string' ? of : of(name)}.${identifier(name)}`;
    // Filters compare by code point everywhere, whatever the column's collation sorts like.
    return columnOf(layout, name).isCollatable ? `${text} COLLATE "C"` : text;
  };
  const sql = filterSql(ownership satisfies Filter, {
    column: compared,
    literal: (name, text) => {
      const { baseType, sqlType } = columnOf(layout, name);
      return `CAST(${bound(text)} AS ${literalType(baseType, sqlType)})`;
    },
    like: (name, pattern) => `${compared(name)} LIKE ${bound(pattern)} ESCAPE '\\'`,
  });
  return { sql: `((${sql}) IS TRUE)`, parameters };
}

/** The mark column's texts and the condition that a row `t` is marked as deleted; undefined without onDelete 'mark'. */
export function markOf(layout: Layout): { column: string; set: string; clear: string; isMarked: string } | undefined {
  const { onDelete, markColumn, landing } = layout.target;
  if (onDelete !== 'mark' || landing !== 'mirror') return undefined;
  const { baseType, sqlType } = columnOf(layout, markColumn ?? '');
  const column = identifier(markColumn ?? '');
  if (baseType === 'bool') return { column, set: 'true', clear: 'false', isMarked: `(t.${column} IS TRUE)` };
  if (/^(int[248]|numeric)$/.test(baseType)) {
    return { column, set: '1', clear: '0', isMarked: `(COALESCE(t.${column} = 1, false))` };
  }
  if (/^(text|varchar|bpchar)$/.test(baseType)) {
    return { column, set: "'1'", clear: "'0'", isMarked: `(COALESCE(t.${column} = '1', false))` };
  }
  throw schemaError(`column ${markColumn} of table ${layout.sql} is ${sqlType}; expected boolean, integer or text`);
}

/** The row `t` counts as there. */
function aliveOf(layout: Layout): string {
  const mark = markOf(layout);
  return mark === undefined ? 'true' : `NOT ${mark.isMarked}`;
}

function meeting(layout: Layout, written: readonly string[]): Meeting {
  return {
    sameKey: sameKey(layout.target.key, 't', 's'),
    alive: aliveOf(layout),
    differs: imagesDiffer(written, 's'),
  };
}

async function landWholeRows(
  session: Session,
  layout: Layout,
  stage: Stage,
  piece: Piece,
  isMostlyEqual: boolean,
): Promise<Landed> {
  const { key, conflict = 'sourceWins' } = layout.target;
  const isolated = await isolateOutside(session, layout, stage, ownedBy(layout, 's'));
  const owned = ownedBy(layout, 't');
  const mark = markOf(layout);
  // A key that is equal may still be stored otherwise (1.0 and 1.00): types whose equality is loose are compared too.
  const written = piece.columns.filter((name) => !key.includes(name) || hasLooseEquality(layout, name));
  const differs = (other: string) => imagesDiffer(written, other);
  const left = await leaveToTarget(session, layout, stage.sql, piece, meeting(layout, written));
  const count = piece.rowCount - isolated.length - left;
  const assignments = written.map((name) => `${identifier(name)} = EXCLUDED.${identifier(name)}`);
  if (mark !== undefined)
    assignments.push(`${mark.column} = CASE WHEN ${mark.isMarked} THEN ${mark.clear} ELSE t.${mark.column} END`);
  if (assignments.length === 0) assignments.push(`${identifier(key[0] ?? '')} = EXCLUDED.${identifier(key[0] ?? '')}`);

  const join = `${layout.sql} t JOIN ${stage.sql} s ON ${sameKey(key, 't', 's')}`;
  const revived =
    mark === undefined
      ? 0
      : await countOf(
          session,
          `SELECT count(*) FROM (SELECT 1 FROM ${join} WHERE ${mark.isMarked} AND ${owned.sql} FOR UPDATE OF t) r`,
          owned.parameters,
        );
  const due = layout.hasRowTriggers
    ? await countOf(session, `SELECT count(*) FROM ${join} WHERE ${differs('s')} AND ${owned.sql}`, owned.parameters)
    : 0;
  // ON CONFLICT locks a row that it leaves as it is, and a lock is a write: of the row's page and to the log.
  const looksFirst = isMostlyEqual && owned === ALWAYS && mark === undefined && !layout.hasRowTriggers;
  const unequal = looksFirst
    ? `WHERE NOT EXISTS (SELECT 1 FROM ${layout.sql} t WHERE ${sameKey(key, 't', 's')} AND NOT ${differs('s')})`
    : '';
  const upsert = `
    INSERT INTO ${layout.sql} AS t (${identifiers(piece.columns)}${mark === undefined ? '' : `, ${mark.column}`})
    SELECT ${identifiers(piece.columns, 's.')}${mark === undefined ? '' : `, ${mark.clear}`} FROM ${stage.sql} s ${unequal}
    ON CONFLICT (${identifiers(key)}) DO UPDATE SET ${assignments.join(', ')}
    WHERE ((${differs('EXCLUDED')} AND ${takesPlace(layout, piece.columns, 'EXCLUDED')})${mark === undefined ? '' : ` OR ${mark.isMarked}`})
      AND ${owned.sql}`;
  const [row] = await session.rows(
    layout.isPartitioned
      ? // A partitioned table shows no xmax: what its snapshot had before the statement was there.
        `WITH landed AS (${upsert} RETURNING 1), earlier AS (SELECT count(*) AS n FROM ${join})
         SELECT ${count} - earlier.n, (SELECT count(*) FROM landed) - (${count} - earlier.n) FROM earlier`
      : `WITH landed AS (${upsert} RETURNING (t.xmax = 0) AS is_new)
         SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM landed`,
    owned.parameters,
  );
  const fresh = Number(row?.[0]);
  const changed = Number(row?.[1]);
  // ON CONFLICT locked every row it met, so what is outside now was outside then.
  const kept =
    owned === ALWAYS
      ? 0
      : await countOf(session, `SELECT count(*) FROM ${join} WHERE NOT ${owned.sql}`, owned.parameters);
  // Of these some may be rows that somebody else put into the table since the policy was asked, and that it leaves to the target.
  const rest = count - fresh - changed - kept;
  const late =
    rest > 0 && conflict !== 'sourceWins'
      ? await countOf(session, `SELECT count(*) FROM ${join} WHERE ${differs('s')}`, [])
      : 0;
  if (layout.hasRowTriggers) {
    const present = await countOf(session, `SELECT count(*) FROM ${join}`, []);
    if (present < count || changed < due) throw swallowed(layout);
  }
  const isInsert = piece.kind === 'insert';
  return {
    counts: [
      [isInsert ? 'inserted' : 'insertedInsteadOfUpdate', fresh + revived],
      [isInsert ? 'updatedInsteadOfInsert' : 'updated', changed - revived],
      ['keptTarget', kept + left + late],
      ['unchanged', rest - late],
    ],
    isolated,
  };
}

async function landPartialUpdate(session: Session, layout: Layout, stage: Stage, piece: Piece): Promise<Landed> {
  const { key, conflict } = layout.target;
  const hasBase = `EXISTS (SELECT 1 FROM ${layout.sql} t WHERE ${sameKey(key, 't', 's')} AND ${aliveOf(layout)})`;
  if (typeof conflict === 'object') {
    const judged = await isolate(session, stage, { sql: `NOT ${hasBase}`, parameters: [] }, NOT_WHOLE);
    return { counts: [['keptTarget', piece.rowCount - judged.length]], isolated: judged };
  }
  const missing = await isolate(
    session,
    stage,
    { sql: hasBase, parameters: [] },
    {
      outcome: 'held',
      code: 'MISSING_BASE',
      reason: 'the update does not carry every column and the target has no such row',
    },
  );
  // Columns that the change does not carry keep the value of the target's row.
  const after = ownedBy(layout, (name) => (piece.columns.includes(name) ? 's' : 't'));
  const outside =
    after === ALWAYS
      ? []
      : await isolate(
          session,
          stage,
          {
            sql: `EXISTS (SELECT 1 FROM ${layout.sql} t WHERE ${sameKey(key, 't', 's')} AND ${after.sql})`,
            parameters: after.parameters,
          },
          OUTSIDE,
        );
  const isolated = merged(missing, outside);
  const owned = ownedBy(layout, 't');
  const written = piece.columns.filter((name) => !key.includes(name));
  const left = await leaveToTarget(session, layout, stage.sql, piece, meeting(layout, written));
  const count = piece.rowCount - isolated.length - left;
  const kept =
    owned === ALWAYS
      ? 0
      : await countOf(
          session,
          `SELECT count(*) FROM (SELECT 1 FROM ${layout.sql} t JOIN ${stage.sql} s ON ${sameKey(key, 't', 's')}
            WHERE NOT ${owned.sql} FOR UPDATE OF t) r`,
          owned.parameters,
        );
  const updated =
    written.length === 0
      ? 0
      : await session.run(
          `UPDATE ${layout.sql} t SET ${written.map((name) => `${identifier(name)} = s.${identifier(name)}`).join(', ')}
             FROM ${stage.sql} s
            WHERE ${sameKey(key, 't', 's')} AND ${owned.sql}
              AND ${imagesDiffer(written, 's')}`,
          owned.parameters,
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
  const { key } = layout.target;
  const owned = ownedBy(layout, 't');
  const mark = markOf(layout);
  const match = `${sameKey(key, 't', 's')} AND ${owned.sql}`;
  const left = await leaveToTarget(session, layout, stage.sql, piece, meeting(layout, []));
  if (layout.target.conflict === 'targetWins') return nothingDeleted(piece, left);
  const deleted = await session.run(
    mark === undefined
      ? `DELETE FROM ${layout.sql} t USING ${stage.sql} s WHERE ${match}`
      : `UPDATE ${layout.sql} t SET ${mark.column} = ${mark.set} FROM ${stage.sql} s WHERE ${match} AND NOT ${mark.isMarked}`,
    owned.parameters,
  );
  let kept = 0;
  if (owned !== ALWAYS || layout.hasRowTriggers) {
    kept = await countOf(
      session,
      `SELECT count(*) FROM ${layout.sql} t JOIN ${stage.sql} s ON ${sameKey(key, 't', 's')} WHERE ${aliveOf(layout)}`,
      [],
    );
    if (owned === ALWAYS && kept > 0) throw swallowed(layout);
  }
  return {
    counts: [
      ['deleted', deleted],
      ['keptTarget', kept + left],
      ['deletedNothing', piece.rowCount - deleted - kept - left],
    ],
    isolated: [],
  };
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
  const own: [string, string][] = [
    [names.operation, { insert: 'I', update: 'U', delete: 'D' }[piece.kind]],
    [names.batchNo, journal.batchNo],
    [names.sourceDepartment, journal.sourceDepartment],
    [names.appliedAt, `${new Date(journal.appliedAtMs).toISOString().replace('T', ' ').replace('Z', '')}+00`],
    [names.processed, '0'],
  ];
  const values = own.map(([name], index) => `CAST($${index + 1} AS ${columnOf(layout, name).sqlType})`);
  const landed = await session.run(
    `INSERT INTO ${layout.sql} (${identifiers(piece.columns)}, ${identifiers(own.map(([name]) => name))})
     SELECT ${identifiers(piece.columns, 's.')}, ${values.join(', ')} FROM ${stage.sql} s`,
    own.map(([, value]) => value),
  );
  if (landed !== piece.rowCount) throw swallowed(layout);
  const outcome: Outcome = ({ insert: 'inserted', update: 'updated', delete: 'deleted' } as const)[piece.kind];
  return { counts: [[outcome, piece.rowCount]], isolated: [] };
}

const OUTSIDE = {
  outcome: 'quarantined',
  code: 'OUTSIDE_OWNERSHIP',
  reason: "the row does not satisfy the lane's ownership condition",
} as const;

const NOT_WHOLE = {
  outcome: 'held',
  code: 'MISSING_BASE',
  reason: 'the update does not carry every column, and conflict: newestWins judges whole rows',
} as const;

async function isolateOutside(
  session: Session,
  layout: Layout,
  stage: Stage,
  inside: Condition,
): Promise<IsolatedLine[]> {
  return typeof layout.target.ownership === 'object' ? isolate(session, stage, inside, OUTSIDE) : [];
}

/** Takes the lines that do not satisfy the condition out of the stage and names them. */
async function isolate(
  session: Session,
  stage: Stage,
  condition: Condition,
  as: Omit<IsolatedLine, 'index'>,
): Promise<IsolatedLine[]> {
  if (stage.ordinal === undefined) throw schemaError('a stage without numbers cannot name its lines');
  // Numbers may start anywhere; lines taken out before leave holes, which `merged` accounts for.
  const rows = await session.rows(
    `SELECT q.place FROM (SELECT row_number() OVER (ORDER BY s.${stage.ordinal}) - 1 AS place, ${condition.sql} AS fits FROM ${stage.sql} s) q
      WHERE q.fits IS NOT TRUE ORDER BY q.place`,
    condition.parameters,
  );
  if (rows.length > 0) {
    await session.run(`DELETE FROM ${stage.sql} s WHERE (${condition.sql}) IS NOT TRUE`, condition.parameters);
  }
  return rows.map(([place]) => ({ ...as, index: Number(place) }));
}

/** Indices of the second were counted among the lines that the first left over. */
function merged(first: readonly IsolatedLine[], second: readonly IsolatedLine[]): IsolatedLine[] {
  const gone = first.map((line) => line.index);
  const shifted = second.map((line) => {
    let index = line.index;
    for (const earlier of gone) if (earlier <= index) index += 1;
    return { ...line, index };
  });
  return [...first, ...shifted];
}

/**
 * The stored images differ: exact for json, xml, points, numeric scale and minus zero, where `IS DISTINCT FROM` is either
 * missing or blind. The function of `*<>`, because the operator between two ROW(…) compares column by column.
 */
function imagesDiffer(columns: readonly string[], other: string): string {
  if (columns.length === 0) return 'false';
  return `pg_catalog.record_image_ne(ROW(${identifiers(columns, 't.')}), ROW(${identifiers(columns, `${other}.`)}))`;
}

/** Types whose `=` holds between values that are stored otherwise. */
function hasLooseEquality(layout: Layout, name: string): boolean {
  return !/^(int[248]|uuid|text|varchar|date|time|timestamp|timestamptz|bool|bytea|bpchar)$/.test(
    columnOf(layout, name).baseType,
  );
}

function literalType(baseType: string, sqlType: string): string {
  if (/^(int[248]|numeric)$/.test(baseType)) return 'numeric';
  if (/^float[48]$/.test(baseType)) return 'double precision';
  return /^(text|varchar|bpchar)$/.test(baseType) ? 'text' : sqlType;
}

async function countOf(session: Session, text: string, values: readonly string[]): Promise<number> {
  return Number((await session.rows(text, values))[0]?.[0]);
}

function swallowed(layout: Layout) {
  return schemaError(`a trigger or rule of table ${layout.sql} keeps rows from being written`);
}
