/**
 * The preflight of a SQLite file as a source: every problem at once, nothing changed (D4 of adapter.ts).
 */
import type { Problem } from '@qiao/exchange';
import type { SourceTable } from '../adapter.ts';
import { largeColumn, reporter } from '../preflight.ts';
import { cursorTableProblems } from './cursor.ts';
import { isSupported, readTable, type SqliteTable, uniqueKeyOf } from './describe.ts';
import { missingColumn, missingTable, notUnique } from './problems.ts';
import { type Connection, isWal } from './session.ts';

/** Whether the tables can be captured. */
export function checkSource(db: Connection, tables: readonly SourceTable[]): Problem[] {
  const problems: Problem[] = [];
  for (const wanted of tables) {
    const { table: label } = wanted;
    const table = readTable(db, wanted.ref);
    if (!table) {
      problems.push(missingTable(label, wanted.ref.name));
      continue;
    }
    const columns = wanted.columns ?? table.columns.map((column) => column.name);
    for (const name of columns) {
      const column = table.columns.find((each) => each.name === name);
      if (!column) problems.push(missingColumn(label, name, table));
      else if (!isSupported(column)) {
        problems.push({
          code: 'TYPE_UNSUPPORTED',
          path: `${label}.${name}`,
          message: `the declared type ${column.nativeType || '(none)'} says nothing that another database understands`,
          hint: 'Leave the column out of `columns`, or let the department declare it (TYPES.md of the sqlite adapter lists the types).',
        });
      } else largeColumn(reporter(problems, label), column);
    }
    problems.push(...sourceKeyProblems(label, table, wanted.key, columns));
    if (wanted.cursor === undefined) continue;
    const column = table.columns.find((each) => each.name === wanted.cursor);
    if (column) problems.push(...cursorTableProblems(db, label, table, column));
    else if (!columns.includes(wanted.cursor)) problems.push(missingColumn(label, wanted.cursor, table));
  }
  if (problems.every(({ warning }) => warning === true) && !isWal(db)) {
    problems.push({
      code: 'READS_STOP_WRITERS',
      path: '',
      message:
        'the file is not in WAL mode: reading stops its writers for up to half a second at a time, and a scan during writes is no single snapshot',
      hint: 'Let the department run once: PRAGMA journal_mode = WAL',
      warning: true,
    });
  }
  return problems;
}

function sourceKeyProblems(
  label: string,
  table: SqliteTable,
  named: readonly string[] | undefined,
  columns: readonly string[],
): Problem[] {
  const key = named ?? (table.primaryKey.length > 0 ? table.primaryKey : undefined);
  if (!key || key.length === 0) {
    const other = table.uniqueKeys[0];
    return [
      {
        code: 'KEYLESS_TABLE',
        path: label,
        message: `${table.name} has no primary key`,
        hint: other
          ? `Name a unique key in the bridge: key: [${other.columns.join(', ')}]`
          : 'Let the department add a primary key; without one no row can be told from another.',
      },
    ];
  }
  const problems: Problem[] = [];
  for (const name of key) {
    const column = table.columns.find((each) => each.name === name);
    if (!column) problems.push(missingColumn(label, name, table));
    else if (column.nullable && table.primaryKey.includes(name)) {
      // SQLite's own slip, in nearly every file: a primary key says NOT NULL or takes NULL. Hardly any ever holds one.
      problems.push({
        code: 'KEY_NULLABLE',
        path: `${label}.${name}`,
        message: `SQLite lets the primary key ${name} be NULL, because it does not say NOT NULL`,
        hint: 'Rows without it are refused at the source and counted, each alone; a column that is declared anew with NOT NULL has none.',
        warning: true,
      });
    } else if (column.nullable) {
      problems.push({
        code: 'KEY_NULLABLE',
        path: `${label}.${name}`,
        message: `the key column ${name} may be NULL`,
        hint: 'Name the primary key, or let the department make the table anew with NOT NULL: ALTER TABLE of SQLite cannot add it.',
      });
    }
    if (column && !columns.includes(name)) {
      problems.push({
        code: 'COLUMN_MISSING',
        path: `${label}.${name}`,
        message: `the key column ${name} is not among the columns of the bridge`,
        hint: `Add ${name} to columns.`,
      });
    }
  }
  const isPrimary = key.length === table.primaryKey.length && key.every((name) => table.primaryKey.includes(name));
  const isUnique = isPrimary || uniqueKeyOf(table, key) !== undefined;
  if (problems.every(({ warning }) => warning === true) && !isUnique) problems.push(notUnique(label, table, key));
  return problems;
}
