/**
 * The notes of a load: at its beginning the keys of rows that the target already had go into a side table, every delivery
 * takes its keys out, and what is left at the end the source does not have. Tables without rows get no notes.
 */

import { loadTablePrefix } from '../mark.ts';
import type { Noted } from '../targetServer.ts';
import { markOf, ownedBy, sameKey } from './landing.ts';
import type { Layout } from './layout.ts';
import type { Session } from './session.ts';
import { identifier, identifiers, qualified } from './sql.ts';
import { RowError } from './sqlstate.ts';

/** Drops what an earlier load of the lane left behind. */
export async function dropNotes(session: Session, schema: string, laneId: string): Promise<void> {
  const prefix = loadTablePrefix(laneId);
  const rows = await session.rows(
    `SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = $1 AND left(c.relname, length($2)) = $2 AND c.relkind = 'r'`,
    [schema, prefix],
  );
  for (const [name] of rows) await session.run(`DROP TABLE ${qualified(schema, name ?? '')}`);
}

/** Notes the rows that each mirrored table has now. */
export async function beginNotes(session: Session, layouts: Iterable<Layout>): Promise<void> {
  for (const layout of layouts) {
    layout.hasNotes = false;
    if (layout.target.landing !== 'mirror') continue;
    const present = presentRows(layout);
    const some = await session.rows(`SELECT 1 FROM ${layout.sql} t WHERE ${present.sql} LIMIT 1`, present.parameters);
    if (some.length === 0) continue;
    const key = layout.target.key;
    await session.run(`CREATE TABLE ${layout.notes} AS SELECT ${identifiers(key)} FROM ${layout.sql} WITH NO DATA`);
    const noted = await session.run(
      `INSERT INTO ${layout.notes} SELECT ${identifiers(key, 't.')} FROM ${layout.sql} t WHERE ${present.sql}`,
      present.parameters,
    );
    await session.run(`ALTER TABLE ${layout.notes} ADD PRIMARY KEY (${identifiers(key)})`);
    await session.run(`ANALYZE ${layout.notes}`);
    // How many there were, for deleteGuard: the keys themselves go one by one.
    await session.run(`COMMENT ON TABLE ${layout.notes} IS '${Math.trunc(noted)}'`);
    layout.hasNotes = true;
  }
}

/** How many rows are still noted and there, and how many were noted at the beginning. */
export async function countNoted(session: Session, layout: Layout): Promise<Noted> {
  const present = presentRows(layout);
  const [row] = await session.rows(
    `SELECT (SELECT count(*) FROM ${layout.notes} n JOIN ${layout.sql} t ON ${sameKey(layout.target.key, 't', 'n')} WHERE ${present.sql}),
            pg_catalog.obj_description(pg_catalog.to_regclass($${present.parameters.length + 1})::oid, 'pg_class')`,
    [...present.parameters, layout.notes],
  );
  const rows = Number(row?.[0]);
  return { rows, of: Number(row?.[1] ?? rows) };
}

/** Drops the notes of one table. */
export async function forgetNoted(session: Session, layout: Layout): Promise<void> {
  await session.run(`DROP TABLE ${layout.notes}`);
  layout.hasNotes = false;
}

/**
 * Takes away the rows that are still noted; how many went. Rows that other tables of the department still point to stay: constraints are
 * never switched off (DESIGN section 12).
 */
export async function removeNoted(session: Session, layout: Layout): Promise<number> {
  await session.run('SAVEPOINT qiao_notes');
  try {
    const removed = await remove(session, layout, undefined);
    await session.run('SET CONSTRAINTS ALL IMMEDIATE; RELEASE qiao_notes');
    return removed;
  } catch (error) {
    if (!(error instanceof RowError)) throw error;
    await session.run('ROLLBACK TO qiao_notes; RELEASE qiao_notes');
  }
  const numbered = identifier('qiao_ordinal');
  await session.run(`ALTER TABLE ${layout.notes} ADD COLUMN ${numbered} bigint GENERATED ALWAYS AS IDENTITY`);
  const [row] = await session.rows(`SELECT max(${numbered}) FROM ${layout.notes}`);
  const halve = async (from: number, to: number): Promise<number> => {
    await session.run('SAVEPOINT qiao_notes');
    try {
      const removed = await remove(session, layout, [from, to]);
      await session.run('SET CONSTRAINTS ALL IMMEDIATE; RELEASE qiao_notes');
      return removed;
    } catch (error) {
      if (!(error instanceof RowError)) throw error;
      await session.run('ROLLBACK TO qiao_notes; RELEASE qiao_notes');
    }
    if (from === to) return 0;
    const middle = Math.floor((from + to) / 2);
    return (await halve(from, middle)) + (await halve(middle + 1, to));
  };
  return halve(1, Number(row?.[0] ?? 1));
}

function remove(session: Session, layout: Layout, range: readonly [number, number] | undefined): Promise<number> {
  const present = presentRows(layout);
  const mark = markOf(layout);
  const next = present.parameters.length + 1;
  const within = range === undefined ? '' : ` AND n.qiao_ordinal BETWEEN $${next}::bigint AND $${next + 1}::bigint`;
  const match = `${sameKey(layout.target.key, 't', 'n')} AND ${present.sql}${within}`;
  return session.run(
    mark === undefined
      ? `DELETE FROM ${layout.sql} t USING ${layout.notes} n WHERE ${match}`
      : `UPDATE ${layout.sql} t SET ${mark.column} = ${mark.set} FROM ${layout.notes} n WHERE ${match}`,
    [...present.parameters, ...(range ?? []).map(String)],
  );
}

/** Rows `t` that count as the lane's and as there. */
function presentRows(layout: Layout): { sql: string; parameters: readonly string[] } {
  const owned = ownedBy(layout, 't');
  const mark = markOf(layout);
  return mark === undefined ? owned : { sql: `${owned.sql} AND NOT ${mark.isMarked}`, parameters: owned.parameters };
}
