/**
 * Rows that a conflict policy leaves to the target (R9 of port/target.ts): which they are, in SQL, and taking them out of the stage before
 * anything lands.
 */

import { decidingColumns } from '@qiao/exchange';
import type { Piece } from '../sectionPort.ts';
import { schemaError } from '../targetServer.ts';
import { columnOf, type Layout, type LayoutColumn } from './layout.ts';
import type { Session } from './session.ts';
import { identifier } from './sql.ts';

/** Conditions over the row `t` of the target and the row `s` of the stage. */
export interface Meeting {
  readonly sameKey: string;
  /** The row `t` is not marked as deleted. */
  readonly alive: string;
  /** The two are stored otherwise in the columns that are written. */
  readonly differs: string;
}

/**
 * Takes the rows that are the target's out of the stage, and says how many. The rows they meet stay locked. Call it after lines were
 * isolated: what is isolated is named by its place in the stage.
 */
export async function leaveToTarget(
  session: Session,
  layout: Layout,
  stage: string,
  piece: Pick<Piece, 'kind' | 'columns'>,
  { sameKey, alive, differs }: Meeting,
): Promise<number> {
  const { conflict = 'sourceWins' } = layout.target;
  if (conflict === 'sourceWins') return 0;
  const isDelete = piece.kind === 'delete';
  // Deletes have no time: they go through.
  if (isDelete && conflict !== 'targetWins') return 0;
  await session.rows(
    `SELECT count(*) FROM (SELECT 1 FROM ${layout.sql} t JOIN ${stage} s ON ${sameKey} FOR UPDATE OF t) r`,
  );
  const loses = isDelete ? 'true' : `${differs} AND NOT ${takesPlace(layout, piece.columns, 's')}`;
  const left = await session.run(
    `DELETE FROM ${stage} s USING ${layout.sql} t WHERE ${sameKey} AND ${alive} AND ${loses}`,
  );
  if (piece.kind !== 'update' || conflict === 'targetWins') return left;
  const isThere = `EXISTS (SELECT 1 FROM ${layout.sql} t WHERE ${sameKey} AND ${alive})`;
  return left + (await session.run(`DELETE FROM ${stage} s WHERE NOT ${isThere}`));
}

/** True where the row `other` may take the place of the row `t`, from which it differs. Never null. */
export function takesPlace(layout: Layout, columns: readonly string[], other: string): string {
  const { conflict = 'sourceWins' } = layout.target;
  if (typeof conflict === 'string') return conflict === 'sourceWins' ? 'true' : 'false';
  if (!columns.includes(conflict.newestWins)) {
    throw schemaError(`conflict: newestWins goes by column ${conflict.newestWins}, which the rows do not carry`);
  }
  return decidingColumns(conflict.newestWins, columns).reduceRight((otherwise, name) => {
    const column = columnOf(layout, name);
    const [theirs, here] = [ordered(column, `${other}.${identifier(name)}`), ordered(column, `t.${identifier(name)}`)];
    return `CASE WHEN ${theirs} IS NOT DISTINCT FROM ${here} THEN ${otherwise} ELSE COALESCE(${theirs} > ${here}, ${here} IS NULL) END`;
  }, 'false');
}

/** A value as it is compared: everything but numbers and times by the bytes of its text, which every database has alike. */
function ordered({ baseType }: LayoutColumn, at: string): string {
  if (/^(int[248]|numeric|float[48]|date|time|timestamp|timestamptz)$/.test(baseType)) return at;
  return `(${at}::text COLLATE "C")`;
}
