/**
 * The preflight of a SQLite file as a target: every problem at once, nothing changed (D4 of adapter.ts).
 */
import { accessSync, constants } from 'node:fs';
import { dirname } from 'node:path';
import type { Problem } from '@qiao/exchange';
import type { SourceShape, TargetTable } from '../adapter.ts';
import { foreignKeyProblems, type KeyedTable } from '../foreignKeys.ts';
import { MARK_TABLE } from '../mark.ts';
import { missingTableHint } from '../missingTable.ts';
import { homeOf, pairProblems } from '../pairs.ts';
import { constraintProblems, type Remedies, reporter, targetProblems } from '../preflight.ts';
import { createTableSql } from './createTable.ts';
import { readConstraints, readTable, type SqliteTable, uniqueKeyOf } from './describe.ts';
import { missingTable } from './problems.ts';
import { type Connection, quote } from './session.ts';
import { MARK_DDL } from './target.ts';
import { declaredTypeOf } from './types.ts';

/** Whether rows of these shapes can land. */
export function checkTarget(
  db: Connection,
  file: string,
  tables: readonly TargetTable[],
  shapes: ReadonlyMap<string, SourceShape>,
): Problem[] {
  const problems: Problem[] = [];
  const isWritable = canWrite(file);
  if (!isWritable) {
    problems.push({
      code: 'RIGHTS_MISSING',
      path: '',
      message: `the user of the agent may not write ${file} or its directory`,
      hint: 'Give it the right to write the file and its directory (SQLite keeps its journal beside the file).',
    });
  }
  const hasMark = db.prepare(`SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?`).get(MARK_TABLE);
  if (!hasMark && !isWritable) {
    problems.push({
      code: 'MARK_REFUSED',
      path: 'mark',
      message: `${MARK_TABLE} is missing and cannot be created`,
      hint: `${MARK_DDL};`,
    });
  }
  const keyed: KeyedTable[] = [];
  for (const wanted of tables) {
    const table = readTable(db, wanted.ref);
    if (!table) {
      const hint = missingTableHint(wanted, () => createTableSql(wanted));
      problems.push({ ...missingTable(wanted.table, wanted.ref.name), hint });
    } else if (table.kind !== 'table') {
      problems.push({
        code: 'TABLE_MISSING',
        path: wanted.table,
        message: `${table.name} is a ${table.kind}; rows land in tables only`,
        hint: 'Name the table under it.',
      });
    } else {
      problems.push(...tableProblems(wanted, table, shapes.get(wanted.table)));
      constraintProblems(reporter(problems, wanted.table), wanted, readConstraints(db, table));
      // A circle lands with its keys deferred.
      const keys = table.foreignKeys.map((key) => ({ ...key, isDeferrable: true, release: '' }));
      keyed.push({
        target: wanted,
        ref: { name: table.name },
        referrers: table.referrers,
        columns: table.columns,
        keys,
      });
    }
  }
  return [...problems, ...foreignKeyProblems(keyed)];
}

function tableProblems(wanted: TargetTable, table: SqliteTable, shape: SourceShape | undefined): Problem[] {
  const { table: label, key } = wanted;
  const problems: Problem[] = [];
  const report = reporter(problems, label);
  const found = { columns: table.columns, uniqueIndexes: table.uniqueKeys.map(({ columns }) => columns) };
  targetProblems(report, wanted, found, shape, remedies(table));
  problems.push(...pairProblems(wanted, shape, 'sqlite', (name) => table.columns.find((each) => each.name === name)));
  if (wanted.landing === 'mirror') {
    if (uniqueKeyOf(table, key)?.isBinary === false) {
      report('', 'KEY_COLLATION_COARSE', `the unique key (${key.join(', ')}) takes different texts for equal`, {
        hint: `${remedies(table).uniqueIndex(key)} with COLLATE BINARY, in place of NOCASE or RTRIM`,
      });
    }
  }
  if (table.hasTriggers) {
    report('', 'TARGET_TRIGGER', `${table.name} has triggers; they run for every row that lands`, {
      hint: 'make sure that they neither change nor refuse rows',
      warning: true,
    });
  }
  return problems;
}

/** SQLite changes no column of a table that is there, but for adding one. */
function remedies({ name: table }: SqliteTable): Remedies {
  const inAnew = (what: string) => `make the table anew with ${what};`;
  return {
    addColumn: (name, use) =>
      `ALTER TABLE ${quote(table)} ADD COLUMN ${quote(name)} ${use === 'mark' ? 'BOOLEAN NOT NULL DEFAULT 0' : 'TEXT'};`,
    addSent: (name, type) =>
      `ALTER TABLE ${quote(table)} ADD COLUMN ${quote(name)} ${declaredTypeOf(name, homeOf(type, 'sqlite'))};`,
    allowNull: ({ name }) => inAnew(`${quote(name)} without NOT NULL`),
    forbidNull: ({ name }) => inAnew(`${quote(name)} NOT NULL`),
    setDefault: (name) => inAnew(`a DEFAULT for ${quote(name)}`),
    uniqueIndex: (key) =>
      `CREATE UNIQUE INDEX ${quote(`${table}_key`)} ON ${quote(table)} (${key.map(quote).join(', ')});`,
  };
}

function canWrite(file: string): boolean {
  try {
    accessSync(file, constants.W_OK);
    accessSync(dirname(file), constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
