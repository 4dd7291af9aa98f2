/**
 * The notes of a load: at its beginning the keys of rows that the target already had go into a table, every delivery takes its keys
 * out, and what is left at the end the source does not have. Tables without rows get no notes.
 */

import { loadTablePrefix } from '../mark.ts';
import type { Noted } from '../targetServer.ts';
import { RowError } from './errno.ts';
import { deleteUnreferenced } from './landing.ts';
import type { Layout } from './layout.ts';
import { NOTES_TABLE } from './markDdl.ts';
import { keyText, markOf, presentRows } from './rowsSql.ts';
import type { Session } from './session.ts';
import { literal, qualified } from './sql.ts';

/** Drops what an earlier load of the lane left behind. */
export async function dropNotes(session: Session, laneId: string): Promise<void> {
  const prefix = loadTablePrefix(laneId);
  await session.run(
    `DELETE FROM ${notesTable(session)} WHERE load_name BETWEEN ${literal(prefix)} AND ${literal(`${prefix}~`)}`,
  );
}

/** Notes the rows that each mirrored table has now. */
export async function beginNotes(session: Session, layouts: Iterable<Layout>): Promise<void> {
  for (const layout of layouts) {
    layout.hasNotes = false;
    if (layout.target.landing !== 'mirror') continue;
    const name = literal(layout.notesName);
    const into = `INSERT INTO ${notesTable(session)} (load_name, key_text, noted)`;
    const noted = await session.run(
      `${into} SELECT ${name}, ${keyText(layout, 't')}, NULL FROM ${layout.sql} t WHERE ${presentRows(layout)}`,
    );
    if (noted === 0) continue;
    // How many there were, for deleteGuard: the keys themselves go one by one.
    await session.run(`${into} VALUES (${name}, '', ${Math.trunc(noted)})`);
    layout.hasNotes = true;
  }
}

/** How many rows are still noted and there, and how many were noted at the beginning. */
export async function countNoted(session: Session, layout: Layout): Promise<Noted> {
  const { tables, where } = notedRows(session, layout);
  const [counted] = await session.rows(`SELECT COUNT(*) FROM ${tables} WHERE ${where}`);
  const [header] = await session.rows(
    `SELECT noted FROM ${notesTable(session)} WHERE load_name = ${literal(layout.notesName)} AND key_text = ''`,
  );
  const rows = Number(counted?.[0]);
  return { rows, of: Number(header?.[0] ?? rows) };
}

/** Drops the notes of one table. */
export async function forgetNoted(session: Session, layout: Layout): Promise<void> {
  await session.run(`DELETE FROM ${notesTable(session)} WHERE load_name = ${literal(layout.notesName)}`);
  layout.hasNotes = false;
}

/**
 * Takes away the rows that are still noted; how many went. Rows that other tables of the department still point to stay: constraints are
 * never switched off (DESIGN section 12).
 */
export async function removeNoted(session: Session, layout: Layout): Promise<number> {
  const { tables, where } = notedRows(session, layout);
  const mark = markOf(layout);
  if (mark !== undefined) return session.store(`UPDATE ${tables} SET t.${mark.column} = ${mark.set} WHERE ${where}`);
  const from = `FROM ${tables} WHERE ${where}`;
  await session.run('SAVEPOINT qiao_notes');
  try {
    const removed = await session.run(`DELETE t ${from}`);
    await session.run('RELEASE SAVEPOINT qiao_notes');
    return removed;
  } catch (error) {
    if (!(error instanceof RowError)) throw error;
    await session.run('ROLLBACK TO SAVEPOINT qiao_notes');
  }
  let removed = 0;
  for (let round = 1; round > 0; removed += round) round = await deleteUnreferenced(session, from);
  return removed;
}

/** The rows `t` still noted. */
function notedRows(session: Session, layout: Layout): { tables: string; where: string } {
  const isNoted = `n.load_name = ${literal(layout.notesName)} AND n.key_text = ${keyText(layout, 't')}`;
  return { tables: `${layout.sql} t JOIN ${notesTable(session)} n ON ${isNoted}`, where: presentRows(layout) };
}

function notesTable(session: Session): string {
  return qualified(session.database, NOTES_TABLE);
}
