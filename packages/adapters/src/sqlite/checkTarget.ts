/**
 * The preflight of a SQLite file as a target: every problem at once, nothing changed (D4 of adapter.ts).
 */
import { accessSync, constants } from 'node:fs';
import { dirname } from 'node:path';
import { checkFilter, filterColumns, fit, type Problem } from '@qiao/exchange';
import type { SourceShape, TargetTable } from '../adapter.ts';
import { MARK_TABLE } from '../mark.ts';
import { isSupported, readTable, type SqliteTable, uniqueKeyOf } from './describe.ts';
import { missingColumn, missingTable, notUnique } from './problems.ts';
import type { Connection } from './session.ts';
import { MARK_DDL } from './target.ts';
import { typeName } from './types.ts';

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
  for (const wanted of tables) {
    const table = readTable(db, wanted.ref);
    if (!table) problems.push(missingTable(wanted.table, wanted.ref.name));
    else if (table.kind !== 'table') {
      problems.push({
        code: 'TABLE_MISSING',
        path: wanted.table,
        message: `${table.name} is a ${table.kind}; rows land in tables only`,
        hint: 'Name the table under it.',
      });
    } else problems.push(...targetProblems(wanted, table, shapes.get(wanted.table)));
  }
  return problems;
}

function targetProblems(wanted: TargetTable, table: SqliteTable, shape: SourceShape | undefined): Problem[] {
  const { table: label } = wanted;
  const problems: Problem[] = [];
  const sent = new Set(wanted.columns.map((column) => column.name));
  for (const name of sent) {
    const column = table.columns.find((each) => each.name === name);
    if (!column) {
      problems.push(missingColumn(label, name, table));
      continue;
    }
    const path = `${label}.${name}`;
    if (column.generated) {
      problems.push({
        code: 'COLUMN_GENERATED',
        path,
        message: `${name} is computed by the database and cannot be written`,
        hint: 'Leave the column out of the bridge.',
      });
    }
    const source = shape?.columns.find((each) => each.name === name);
    if (!isSupported(column)) {
      problems.push({
        code: 'TYPE_REFUSED',
        path,
        message: `the declared type ${column.nativeType || '(none)'} of the target promises nothing`,
        hint: 'Declare the column with one of the types in TYPES.md of the sqlite adapter.',
      });
    } else if (source) {
      const fits = fit(source.type, column.type);
      if (fits.kind !== 'exact') {
        problems.push({
          code: fits.kind === 'lossy' ? 'TYPE_LOSSY' : 'TYPE_REFUSED',
          path,
          message: `${typeName(source.type)} into ${typeName(column.type)}: ${fits.why}`,
          hint: 'Widen the target column, or leave the column out of the bridge.',
          ...(fits.kind === 'lossy' ? { warning: true } : {}),
        });
      }
      const isWide =
        column.type.type === 'decimal' && (column.type.precision === undefined || column.type.precision > 15);
      if (isWide && !column.declared.toUpperCase().includes('TEXT')) {
        problems.push({
          code: 'TYPE_LOSSY',
          path,
          message: `${column.nativeType} stores numbers as doubles: rows with more than 15 digits will be refused`,
          hint: 'Declare the column DECIMAL_TEXT(p,s) to keep every digit.',
          warning: true,
        });
      }
    }
    if (source?.nullable && !column.nullable && !wanted.key.includes(name)) {
      problems.push({
        code: 'NULLABLE_TO_REQUIRED',
        path,
        message: `${name} may be NULL at the source and is NOT NULL at the target: such rows will be quarantined`,
        hint: 'Drop NOT NULL at the target, or check the column as required in the bridge.',
        warning: true,
      });
    }
  }
  problems.push(...landingProblems(wanted, table, sent));
  if (table.hasTriggers) {
    problems.push({
      code: 'TARGET_TRIGGER',
      path: label,
      message: `${table.name} has triggers; they run for every row that lands`,
      hint: 'Make sure that they neither change nor refuse rows.',
      warning: true,
    });
  }
  return problems;
}

function landingProblems(wanted: TargetTable, table: SqliteTable, sent: ReadonlySet<string>): Problem[] {
  const { table: label } = wanted;
  const problems: Problem[] = [];
  const own = new Set<string>();
  if (wanted.landing === 'journal') {
    for (const name of Object.values(wanted.journalColumns) as string[]) {
      own.add(name);
      if (table.columns.some((column) => column.name === name)) continue;
      problems.push({
        code: 'JOURNAL_COLUMN_MISSING',
        path: `${label}.${name}`,
        message: `${table.name} has no column ${name}, which the journal needs`,
        hint: 'Add the column, or name another in journalColumns.',
      });
    }
  } else {
    problems.push(...targetKeyProblems(wanted, table));
    if (wanted.onDelete === 'mark') {
      const { markColumn } = wanted;
      const column = table.columns.find((each) => each.name === markColumn);
      const type = column && isSupported(column) ? column.type.type : undefined;
      if (markColumn !== undefined) own.add(markColumn);
      if (type !== 'boolean' && type !== 'integer' && type !== 'text') {
        problems.push({
          code: 'MARK_COLUMN_MISSING',
          path: markColumn === undefined ? label : `${label}.${markColumn}`,
          message: 'onDelete mark needs a boolean, integer or text column of the target',
          hint: 'Name it in markColumn.',
        });
      }
    }
    if (typeof wanted.ownership !== 'string') problems.push(...ownershipProblems(wanted, table));
  }
  for (const column of table.columns) {
    const isFilled =
      column.nullable || column.hasDefault || column.generated || sent.has(column.name) || own.has(column.name);
    // A journal's delete carries the key alone.
    const isEmptyInDeletes =
      wanted.landing === 'journal' && sent.has(column.name) && !wanted.key.includes(column.name) && !column.nullable;
    if (isFilled && !isEmptyInDeletes) continue;
    problems.push({
      code: 'COLUMN_REQUIRED',
      path: `${label}.${column.name}`,
      message: isEmptyInDeletes
        ? `${column.name} is NOT NULL, and the journal of a delete has the key only`
        : `${column.name} is NOT NULL without a default, and the bridge does not send it`,
      hint: isEmptyInDeletes ? 'Drop NOT NULL.' : 'Send the column, give it a default, or drop NOT NULL.',
    });
  }
  return problems;
}

function targetKeyProblems(wanted: TargetTable, table: SqliteTable): Problem[] {
  const { table: label, key } = wanted;
  const unknown = key.filter((name) => !table.columns.some((column) => column.name === name));
  // Missing ones were named with the columns already, unless the bridge does not send them.
  if (unknown.length > 0) {
    return unknown
      .filter((name) => !wanted.columns.some((column) => column.name === name))
      .map((name) => missingColumn(label, name, table));
  }
  const problems: Problem[] = key
    .filter((name) => table.columns.find((column) => column.name === name)?.nullable)
    .map((name) => ({
      code: 'KEY_NULLABLE',
      path: `${label}.${name}`,
      message: `the key column ${name} may be NULL at the target`,
      hint: 'Declare it NOT NULL.',
    }));
  if (problems.length > 0) return problems;
  const unique = uniqueKeyOf(table, key);
  if (!unique) return [notUnique(label, table, key)];
  if (!unique.isBinary) {
    return [
      {
        code: 'KEY_COLLATION_COARSE',
        path: label,
        message: `the unique key (${key.join(', ')}) takes different texts for equal (NOCASE or RTRIM)`,
        hint: 'Make the unique key COLLATE BINARY.',
      },
    ];
  }
  return [];
}

function ownershipProblems(wanted: TargetTable, table: SqliteTable): Problem[] {
  if (typeof wanted.ownership === 'string') return [];
  const problems = filterColumns(wanted.ownership)
    .filter((name) => !table.columns.some((column) => column.name === name))
    .map((name) => missingColumn(wanted.table, name, table));
  if (problems.length > 0) return problems;
  const why = checkFilter(wanted.ownership, (name) => {
    const column = table.columns.find((each) => each.name === name);
    return column && isSupported(column) ? column.type : undefined;
  });
  return why === undefined
    ? []
    : [{ code: 'OWNERSHIP_INVALID', path: wanted.table, message: why, hint: 'Correct ownership.where in the bridge.' }];
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
