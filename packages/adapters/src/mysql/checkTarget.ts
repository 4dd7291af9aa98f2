/**
 * The preflight of the writing end: the table by its description, types by pair, foreign keys, character sets, collations of the key,
 * engines, rights, triggers and the mark. Changes nothing.
 */

import { type Problem, QiaoError } from '@qiao/exchange';
import type { SourceShape, TargetTable } from '../adapter.ts';
import { foreignKeyProblems, type KeyedTable } from '../foreignKeys.ts';
import { MARK_TABLE } from '../mark.ts';
import { missingTableHint } from '../missingTable.ts';
import { pairProblems } from '../pairs.ts';
import { constraintProblems, ownColumns, type Report, reporter, retypes, targetProblems } from '../preflight.ts';
import { isOfCapture } from '../triggers.ts';
import { columnRights, quoted, remedies } from './check.ts';
import { createTableSql } from './createTable.ts';
import {
  currentUser,
  isTransactional,
  type MysqlTable,
  readConstraints,
  readTable,
  readTriggers,
  seesTriggers,
} from './describe.ts';
import { NOTES_TABLE, ownTables, ownTablesForDba } from './markDdl.ts';
import { readReferrers, unseenKeys } from './referrers.ts';
import type { Session } from './session.ts';
import { identifier, qualified } from './sql.ts';

/** Can these tables take the rows, exactly, without hurting others? */
export async function checkTarget(
  session: Session,
  tables: readonly TargetTable[],
  shapes: ReadonlyMap<string, SourceShape>,
): Promise<Problem[]> {
  const problems: Problem[] = [];
  const takesWrites = await checkMark(session, problems);
  const keyed: KeyedTable[] = [];
  let unseen: string | undefined;
  for (const target of tables) {
    const report = reporter(problems, target.table);
    const database = target.ref.schema ?? session.database;
    const table = await readTable(session, database, target.ref.name);
    if (table === undefined) {
      report('', 'TABLE_MISSING', `table ${database}.${target.ref.name} does not exist or cannot be seen`, {
        hint: missingTableHint(target, () => createTableSql(session.server, database, target)),
      });
      continue;
    }
    if (table.kind === 'view') {
      report('', 'TARGET_NOT_TABLE', `${database}.${target.ref.name} is a view`, {
        hint: 'rows can only land in a table',
      });
      continue;
    }
    if (!isTransactional(table)) {
      report('', 'ENGINE_WITHOUT_TRANSACTIONS', `${table.engine} cannot write rows and mark in one transaction`, {
        hint: `ALTER TABLE ${quoted(table)} ENGINE = InnoDB;`,
      });
    }
    const shape = shapes.get(target.table);
    const columnOf = (name: string) => table.columns.find((column) => column.name === name);
    const ways = remedies(table, session.server);
    targetProblems(report, target, table, shape, ways);
    problems.push(...pairProblems(target, shape, 'mysql', columnOf, retypes(columnOf, ways)));
    characterSets(report, shape, table);
    if (target.landing === 'mirror') keyCollations(report, target, table);
    await targetRights(session, report, target, table, takesWrites);
    await targetTriggers(session, report, table);
    constraintProblems(report, target, await readConstraints(session, table));
    const keys = table.foreignKeys.map((key) => ({
      ...key,
      isDeferrable: false,
      release: dropKey(table, key.constraint),
    }));
    const { referrers, areAll } = await readReferrers(session, database, target.ref.name);
    if (!areAll && target.landing === 'mirror' && target.onDelete === 'delete') unseen ??= target.table;
    keyed.push({ target, ref: table.ref, referrers, columns: table.columns, keys });
  }
  if (unseen !== undefined) problems.push(await unseenKeys(session, unseen));
  return [...problems, ...foreignKeyProblems(keyed)];
}

/** MySQL defers nothing. */
function dropKey(table: MysqlTable, constraint: string): string {
  return `ALTER TABLE ${quoted(table)} DROP FOREIGN KEY ${identifier(constraint)}; the source keeps such rows together`;
}

function characterSets(report: Report, shape: SourceShape | undefined, table: MysqlTable): void {
  for (const { name, type } of shape?.columns ?? []) {
    const charset = table.columns.find((column) => column.name === name)?.catalog.charset;
    if (type.type !== 'text' || charset === undefined || charset === 'utf8mb4') continue;
    report(
      name,
      'ENCODING_NARROW',
      `column ${name} stores ${charset}: rows with characters that it does not have will be quarantined`,
      {
        hint: `ALTER TABLE ${quoted(table)} CONVERT TO CHARACTER SET utf8mb4; if names of persons or places are shared`,
        warning: true,
      },
    );
  }
}

function keyCollations(report: Report, { key }: TargetTable, table: MysqlTable): void {
  for (const { name, catalog } of table.columns) {
    const { collation, charset = 'utf8mb4' } = catalog;
    if (!key.includes(name) || collation === undefined || isExact(collation)) continue;
    const isOnlyPadded = collation.endsWith('_bin');
    report(
      name,
      'KEY_COLLATION_COARSE',
      isOnlyPadded
        ? `key column ${name} (${collation}) takes keys for equal that differ only in blanks at the end`
        : `key column ${name} (${collation}) takes different texts for equal`,
      {
        hint: `ALTER TABLE ${quoted(table)} MODIFY ${identifier(name)} ${catalog.text} CHARACTER SET ${charset} COLLATE ${charset}_nopad_bin NOT NULL; (MySQL: utf8mb4_0900_bin)`,
        warning: isOnlyPadded,
      },
    );
  }
}

async function targetRights(
  session: Session,
  report: Report,
  target: TargetTable,
  table: MysqlTable,
  takesWrites: boolean,
): Promise<void> {
  const written = [...new Set([...target.columns.map((column) => column.name), ...ownColumns(target)])];
  const rights = await columnRights(session, table.database, table.ref.name);
  const needed = target.landing === 'journal' ? ['insert', 'select'] : ['insert', 'select', 'update'];
  const user = await currentUser(session);
  for (const right of needed) {
    const missing = written.filter((name) => rights.has(name) && rights.get(name)?.has(right) !== true);
    if (missing.length === 0) continue;
    report('', 'RIGHTS_MISSING', `${right.toUpperCase()} is missing on ${missing.join(', ')}`, {
      hint: `GRANT ${right.toUpperCase()} ON ${quoted(table)} TO ${user};`,
    });
  }
  const deletes = takesWrites && target.landing === 'mirror' && target.onDelete === 'delete';
  if (deletes && !(await mayDelete(session, quoted(table)))) {
    report('', 'RIGHTS_MISSING', 'DELETE is missing', { hint: `GRANT DELETE ON ${quoted(table)} TO ${user};` });
  }
}

async function targetTriggers(session: Session, report: Report, table: MysqlTable): Promise<void> {
  if (!(await seesTriggers(session, table))) {
    report('', 'TRIGGERS_UNSEEN', 'this account cannot see whether triggers of the table alter the rows that land', {
      hint: `GRANT TRIGGER ON ${quoted(table)} TO ${await currentUser(session)}; or ask the DBA whether there are any`,
      warning: true,
    });
  }
  for (const name of await readTriggers(session, table)) {
    if (isOfCapture(name)) continue;
    report('', 'TARGET_TRIGGER', `trigger ${name} runs for every row that lands and may change it`, {
      hint: 'rows that a trigger alters differ from the source when both ends are verified',
      warning: true,
    });
  }
}

/** False where the server takes no writes: who may delete there cannot be asked. */
async function checkMark(session: Session, problems: Problem[]): Promise<boolean> {
  const report = (code: string, message: string, hint: string) => problems.push({ code, path: 'mark', message, hint });
  const { database } = session;
  const user = await currentUser(session);
  const [state] = await session.rows('SELECT @@read_only');
  if (state?.[0] === '1') {
    report(
      'TARGET_READ_ONLY',
      'the server takes no writes at the moment',
      'point the data source to the primary server',
    );
    // Whatever asks for a right by trying is answered with this.
    return false;
  }
  for (const [name, ddl] of [MARK_TABLE, NOTES_TABLE].map(
    (table, place) => [table, ownTables(database)[place] ?? ''] as const,
  )) {
    const rights = await columnRights(session, database, name);
    if (rights.size === 0) {
      if (await mayCreate(session)) continue;
      report('MARK_REFUSED', `${name} cannot be made in database ${database}`, ownTablesForDba(database, user));
      continue;
    }
    const isWritable = [...rights.values()].every((each) =>
      ['select', 'insert', 'update'].every((right) => each.has(right)),
    );
    if (isWritable && (await mayDelete(session, qualified(database, name)))) continue;
    report(
      'MARK_REFUSED',
      `${name} exists but may not be written`,
      `${ddl};\nGRANT SELECT, INSERT, UPDATE, DELETE ON ${qualified(database, name)} TO ${user};`,
    );
  }
  if (!(await isAllowed(session, ['CREATE TEMPORARY TABLE qiao_check (x int)', 'DROP TEMPORARY TABLE qiao_check']))) {
    report(
      'RIGHTS_MISSING',
      'temporary tables may not be made',
      `GRANT CREATE TEMPORARY TABLES ON ${identifier(database)}.* TO ${user};`,
    );
  }
  return true;
}

/** EXPLAIN asks for the right and does nothing. */
function mayDelete(session: Session, table: string): Promise<boolean> {
  return isAllowed(session, [`EXPLAIN DELETE FROM ${table} WHERE 1 = 0`]);
}

/** The right is asked for before the table to be copied is looked for, which is not there. */
function mayCreate(session: Session): Promise<boolean> {
  const name = (table: string) => qualified(session.database, table);
  return isAllowed(session, [`CREATE TABLE ${name(MARK_TABLE)} LIKE ${name('qiao_nothing')}`]);
}

/** False when a right is missing; another failure of the statement is no answer to the question. */
async function isAllowed(session: Session, statements: readonly string[]): Promise<boolean> {
  try {
    for (const statement of statements) await session.run(statement);
    return true;
  } catch (error) {
    if (!(error instanceof QiaoError) || error.fate === 'transient') throw error;
    return error.code !== 'TARGET_RIGHTS';
  }
}

/** Equality is equality of bytes: no case, no accents, no blanks at the end. */
function isExact(collation: string): boolean {
  return collation === 'binary' || /_nopad_bin$|_0900_bin$/.test(collation);
}
