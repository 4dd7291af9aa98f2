/**
 * Rows that a conflict policy leaves to the target (R9 of port/target.ts): which they are, in SQL, and taking them out of the stage before
 * anything lands.
 */

import { decidingColumns } from '@qiao/exchange';
import type { Piece } from '../sectionPort.ts';
import { schemaError } from '../targetServer.ts';
import type { MysqlColumn } from './describe.ts';
import { columnOf, type Layout } from './layout.ts';
import { aliveOf, imagesDiffer, sameKey } from './rowsSql.ts';
import type { Session } from './session.ts';
import { bytesOf, identifier } from './sql.ts';
import type { Stage } from './stage.ts';
import { fieldSql, textSql } from './texts.ts';

/** Takes the rows that are the target's out of the typed stage, and says how many. The rows they meet stay locked; others may still come. */
export async function leaveToTarget(session: Session, layout: Layout, stage: Stage, piece: Piece): Promise<number> {
  const { conflict = 'sourceWins', key } = layout.target;
  if (conflict === 'sourceWins') return 0;
  const isDelete = piece.kind === 'delete';
  // Deletes have no time: they go through.
  if (isDelete && conflict !== 'targetWins') return 0;
  const alive = aliveOf(layout);
  const match = sameKey(layout, 't', 's');
  const join = `${stage.typed.name} s STRAIGHT_JOIN ${layout.sql} t ON ${match}`;
  await session.rows(`SELECT COUNT(*) FROM ${join} FOR UPDATE`);
  const written = piece.columns.filter((name) => !key.includes(name));
  const loses = isDelete ? '1' : `${imagesDiffer(layout, written)} AND NOT ${takesPlace(layout, piece.columns)}`;
  const left = await session.run(`DELETE s FROM ${join} WHERE ${alive} AND ${loses}`);
  if (piece.kind !== 'update' || conflict === 'targetWins') return left;
  const isThere = `EXISTS (SELECT 1 FROM ${layout.sql} t WHERE ${match} AND ${alive})`;
  return left + (await session.run(`DELETE s FROM ${stage.typed.name} s WHERE NOT ${isThere}`));
}

/** True where the row `s` may take the place of the row `t`, from which it differs. Never null. */
export function takesPlace(layout: Layout, columns: readonly string[]): string {
  const { conflict = 'sourceWins' } = layout.target;
  if (typeof conflict === 'string') return conflict === 'sourceWins' ? '1' : '0';
  if (!columns.includes(conflict.newestWins)) {
    throw schemaError(`conflict: newestWins goes by column ${conflict.newestWins}, which the rows do not carry`);
  }
  return decidingColumns(conflict.newestWins, columns).reduceRight((otherwise, name) => {
    const column = columnOf(layout, name);
    const [theirs, here] = [ordered(column, `s.${identifier(name)}`), ordered(column, `t.${identifier(name)}`)];
    return `CASE WHEN ${theirs} <=> ${here} THEN ${otherwise} ELSE COALESCE(${theirs} > ${here}, ${here} IS NULL) END`;
  }, '0');
}

/** A value as it is compared: everything but numbers and times by the bytes of its text, which every database has alike. */
function ordered({ type, catalog }: MysqlColumn, at: string): string {
  if ('type' in type && /^(integer|decimal|float|boolean|date|time|timestamp|timestamptz)$/.test(type.type)) return at;
  return bytesOf(catalog.charset === undefined ? fieldSql(catalog, at) : textSql(catalog, at));
}
