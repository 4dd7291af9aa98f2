/**
 * Lands one piece of a section, already in a stage, with set-based statements that count every row's outcome exactly.
 * A failure of one row fails the whole statement: isolating it belongs to `isolate.ts`.
 */

import { type Filter, filterSql, type Kind, type Outcome } from '@qiao/exchange';
import type { QuarantinedRow } from '../adapter.ts';
import { columnOf, type Layout, schemaError } from './layout.ts';
import type { Session } from './session.ts';
import { identifier, identifiers } from './sql.ts';
import type { Stage } from './stage.ts';

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

type IsolatedLine = Pick<QuarantinedRow, 'index' | 'outcome' | 'code' | 'reason'>;

/** What a journal writes beside the row. */
export interface JournalValues {
  readonly batchNo: string;
  readonly sourceDepartment: string;
  readonly appliedAtMs: number;
}

/** Lands the piece that the stage holds. Throws RowError when a row is refused, classified QiaoErrors otherwise. */
export async function land(
  session: Session,
  layout: Layout,
  stage: Stage,
  piece: Piece,
  journal: JournalValues,
): Promise<Landed> {
  if (layout.target.landing === 'journal') return landJournal(session, layout, stage, piece, journal);
  if (layout.hasNotes) {
    await session.run(
      `DELETE FROM ${layout.notes} n USING ${stage.sql} s WHERE ${sameKey(layout.target.key, 'n', 's')}`,
    );
  }
  if (piece.kind === 'delete') return landDelete(session, layout, stage, piece);
  return piece.kind === 'update' && !piece.wholeRows
    ? landPartialUpdate(session, layout, stage, piece)
    : landWholeRows(session, layout, stage, piece);
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
  const { sql, parameters } = filterSql(ownership satisfies Filter, {
    identifier: (name) => {
      const column = columnOf(layout, name);
      const text = `${typeof of === 'string' ? of : of(name)}.${identifier(name)}`;
      // Filters compare by code point everywhere, whatever the column's collation sorts like.
      return column.isCollatable ? `${text} COLLATE "C"` : text;
    },
    parameter: (index) => `$${index}`,
    literalType: (name) => literalType(columnOf(layout, name).baseType, columnOf(layout, name).sqlType),
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

async function landWholeRows(session: Session, layout: Layout, stage: Stage, piece: Piece): Promise<Landed> {
  const { key } = layout.target;
  const isolated = await isolateOutside(session, layout, stage, ownedBy(layout, 's'));
  const count = piece.rowCount - isolated.length;
  const owned = ownedBy(layout, 't');
  const mark = markOf(layout);
  // A key that is equal may still be stored otherwise (1.0 and 1.00): types whose equality is loose are compared too.
  const written = piece.columns.filter((name) => !key.includes(name) || hasLooseEquality(layout, name));
  const differs = (other: string) => imagesDiffer(written, other);
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
  const upsert = `
    INSERT INTO ${layout.sql} AS t (${identifiers(piece.columns)}${mark === undefined ? '' : `, ${mark.column}`})
    SELECT ${identifiers(piece.columns, 's.')}${mark === undefined ? '' : `, ${mark.clear}`} FROM ${stage.sql} s
    ON CONFLICT (${identifiers(key)}) DO UPDATE SET ${assignments.join(', ')}
    WHERE (${differs('EXCLUDED')}${mark === undefined ? '' : ` OR ${mark.isMarked}`}) AND ${owned.sql}`;
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
  if (layout.hasRowTriggers) {
    const present = await countOf(session, `SELECT count(*) FROM ${join}`, []);
    if (present < count || changed < due) throw swallowed(layout);
  }
  const isInsert = piece.kind === 'insert';
  return {
    counts: [
      [isInsert ? 'inserted' : 'insertedInsteadOfUpdate', fresh + revived],
      [isInsert ? 'updatedInsteadOfInsert' : 'updated', changed - revived],
      ['keptTarget', kept],
      ['unchanged', count - fresh - changed - kept],
    ],
    isolated,
  };
}

async function landPartialUpdate(session: Session, layout: Layout, stage: Stage, piece: Piece): Promise<Landed> {
  const { key } = layout.target;
  const mark = markOf(layout);
  const alive = mark === undefined ? 'true' : `NOT ${mark.isMarked}`;
  const hasBase = `EXISTS (SELECT 1 FROM ${layout.sql} t WHERE ${sameKey(key, 't', 's')} AND ${alive})`;
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
  const count = piece.rowCount - isolated.length;
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
      ['keptTarget', kept],
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
  const deleted = await session.run(
    mark === undefined
      ? `DELETE FROM ${layout.sql} t USING ${stage.sql} s WHERE ${match}`
      : `UPDATE ${layout.sql} t SET ${mark.column} = ${mark.set} FROM ${stage.sql} s WHERE ${match} AND NOT ${mark.isMarked}`,
    owned.parameters,
  );
  let kept = 0;
  if (owned !== ALWAYS || layout.hasRowTriggers) {
    const alive = mark === undefined ? 'true' : `NOT ${mark.isMarked}`;
    kept = await countOf(
      session,
      `SELECT count(*) FROM ${layout.sql} t JOIN ${stage.sql} s ON ${sameKey(key, 't', 's')} WHERE ${alive}`,
      [],
    );
    if (owned === ALWAYS && kept > 0) throw swallowed(layout);
  }
  return {
    counts: [
      ['deleted', deleted],
      ['keptTarget', kept],
      ['deletedNothing', piece.rowCount - deleted - kept],
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
