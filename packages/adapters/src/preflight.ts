/**
 * What the preflight says of a table by its description alone (D4 of adapter.ts), the same for every adapter: columns, nulls, keys, the
 * columns that Qiao itself writes. Each database gives the statements that help; rights, triggers and collations are its own matter.
 */
import {
  type ColumnType,
  checkFilter,
  filterColumns,
  MAX_ROW_BYTES,
  nearestName,
  type Problem,
  QiaoError,
} from '@qiao/exchange';
import type { ColumnDescription, SourceShape, TargetTable } from './adapter.ts';

/** Adds a problem of a table, or of one of its columns (`''`: the table). */
export type Report = (column: string, code: string, message: string, more: { hint: string; warning?: boolean }) => void;

export function reporter(problems: Problem[], label: string): Report {
  return (column, code, message, { hint, warning }) => {
    const path = column === '' ? label : `${label}.${column}`;
    problems.push({ code, path, message, hint, ...(warning === true ? { warning } : {}) });
  };
}

/** A table as its catalog has it. */
export interface FoundTable {
  readonly columns: readonly ColumnDescription[];
  /** Columns of each unique index that is whole and checked at once. */
  readonly uniqueIndexes: readonly (readonly string[])[];
}

/** A column that is given another type. */
export type RetypedColumn = Pick<ColumnDescription, 'name' | 'nullable'>;

/** Statements of one database, for hints. */
export interface Remedies {
  /** A column that Qiao writes: of a journal, or the mark of deletes. */
  addColumn(name: string, use: 'journal' | 'mark'): string;
  /** A column for values that are sent. Throws TYPE_REFUSED where the database has no type for them. */
  addSent(name: string, type: ColumnType): string;
  /** The same for a column that is there and cannot hold them; undefined where columns are not altered. */
  retype?(column: RetypedColumn, type: ColumnType): string;
  allowNull(column: ColumnDescription): string;
  forbidNull(column: ColumnDescription): string;
  setDefault(name: string): string;
  /** Lets a column that the database fills take what is sent; undefined where nothing does. */
  releaseGenerated?(name: string): string | undefined;
  uniqueIndex(key: readonly string[]): string;
}

/** The key of a table that is read. */
export function sourceKeyProblems(report: Report, found: FoundTable, key: readonly string[], remedies: Remedies): void {
  if (key.length === 0) {
    report('', 'KEYLESS_TABLE', 'the table has no primary key and the bridge names no key', {
      hint: 'write `key: [column, …]` with columns that are NOT NULL and unique, or add a primary key',
    });
    return;
  }
  keyNulls(report, found, key, remedies);
  const isProven = found.uniqueIndexes.some((index) => index.every((name) => key.includes(name)));
  if (isProven || !isKnown(found, key)) return;
  report('', 'KEY_NOT_UNIQUE', `no unique index proves the key (${key.join(', ')})`, {
    hint: remedies.uniqueIndex(key),
  });
}

/** Names in a hint: a table may have a thousand. */
const NAMES_MAX = 40;

/** A column that the table does not have. */
export function missingColumn(report: Report, name: string, { columns }: Pick<FoundTable, 'columns'>): void {
  report(name, 'COLUMN_MISSING', `column ${name} does not exist`, { hint: columnMeant(name, columns) });
}

/** A column that is sent, and that the target does not have: the source may have got it since. */
function missingSent(
  report: Report,
  { name, type }: TargetTable['columns'][number],
  found: FoundTable,
  remedies: Remedies,
): void {
  const statement = statementOf(() => remedies.addSent(name, type));
  const way = statement === undefined ? '' : `; or add it: ${statement}`;
  report(name, 'COLUMN_MISSING', `column ${name} does not exist`, {
    hint: `${columnMeant(name, found.columns)}${way}${way.endsWith(';') ? '' : ';'} or write \`columns: […]\` without it`,
  });
}

/** The statement that gives a column of the table the type of what is sent, where there is one. */
export function retypes(
  columnOf: (name: string) => RetypedColumn | undefined,
  { retype }: Remedies,
): (name: string, type: ColumnType) => string | undefined {
  return (name, type) => {
    const column = columnOf(name);
    return column === undefined ? undefined : statementOf(() => retype?.(column, type));
  };
}

/** Undefined for a type that the database does not have. */
export function statementOf(make: () => string | undefined): string | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof QiaoError && error.code === 'TYPE_REFUSED') return undefined;
    throw error;
  }
}

/** The column that was most likely meant, and those that there are. */
export function columnMeant(name: string, columns: readonly { readonly name: string }[]): string {
  const known = columns.map((each) => each.name);
  const nearest = nearestName(name, known);
  const more = known.length > NAMES_MAX ? `, and ${known.length - NAMES_MAX} more` : '';
  const names = `the table has: ${known.slice(0, NAMES_MAX).join(', ')}${more}`;
  return nearest === undefined ? names : `did you mean ${nearest}? ${names}`;
}

/** A column whose single value may be more than a row may have: bytes travel as two characters each. */
export function largeColumn(report: Report, { name, type, nativeType }: ColumnDescription): void {
  if (!('type' in type) || type.type !== 'bytes') return;
  if (2 * (type.maxBytes ?? Number.POSITIVE_INFINITY) <= MAX_ROW_BYTES) return;
  report(
    name,
    'COLUMN_LARGE',
    `column ${name} (${nativeType}) may hold values of more than 8 MB, which do not travel`,
    {
      hint: 'rows with one are refused and counted; exchange such contents as files, or leave the column out of `columns`',
      warning: true,
    },
  );
}

/** A view proves nothing. */
export function viewKeyUnproven(report: Report, key: readonly string[], hint: string): void {
  report('', 'KEY_NOT_UNIQUE', `a view cannot prove that (${key.join(', ')}) is unique and never null`, {
    hint,
    warning: true,
  });
}

/** A table that rows land in. */
export function targetProblems(
  report: Report,
  target: TargetTable,
  found: FoundTable,
  shape: SourceShape | undefined,
  remedies: Remedies,
): void {
  neededColumns(report, target, found, remedies);
  ownColumnProblems(report, target, found, remedies);
  requiredColumns(report, target, found, remedies);
  for (const { name, nullable } of shape?.columns ?? []) {
    const column = columnOf(found, name);
    if (!nullable || column === undefined || column.nullable || target.key.includes(name)) continue;
    report(name, 'NULLABLE_TO_REQUIRED', `column ${name} may be null at the source but not at the target`, {
      hint: `rows with null will be quarantined; ${remedies.allowNull(column)} or add a check at the source`,
      warning: true,
    });
  }
  if (target.landing === 'mirror') {
    targetKeyProblems(report, target, found, remedies);
    ownershipProblems(report, target, found);
  }
  conflictProblems(report, target, found);
}

/** A constraint of the target that rows may break, beside its key. */
export interface FoundConstraint {
  readonly kind: 'UNIQUE' | 'CHECK' | 'EXCLUDE';
  /** Empty where the database gives it none. */
  readonly name: string;
  /** Of a unique index over plain columns that holds for every row. */
  readonly columns?: readonly string[] | undefined;
}

/** The constraints that the source does not promise to keep. The key is proven elsewhere, and implies every index that contains it. */
export function constraintProblems(
  report: Report,
  { landing, key }: TargetTable,
  constraints: readonly FoundConstraint[],
): void {
  const isImplied = ({ columns = [] }: FoundConstraint) =>
    landing === 'mirror' && key.length > 0 && key.every((name) => columns.includes(name));
  const others = constraints.filter((each) => !isImplied(each));
  if (others.length === 0) return;
  const named = others.map(({ kind, name, columns }) =>
    [kind, ...(name === '' ? [] : [name]), ...(columns === undefined ? [] : [`(${columns.join(', ')})`])].join(' '),
  );
  report(
    '',
    'TARGET_CONSTRAINTS',
    `rows that break a constraint of the target will be quarantined: ${named.join('; ')}`,
    {
      hint: 'nothing to do where the source keeps the same rules; else add checks at the source (checks:)',
      warning: true,
    },
  );
}

/** Columns that Qiao itself writes: the mark of deletes or the journal's own. */
export function ownColumns(target: TargetTable): string[] {
  if (target.landing === 'journal') return Object.values(target.journalColumns);
  return target.onDelete === 'mark' && target.markColumn !== undefined ? [target.markColumn] : [];
}

function neededColumns(report: Report, target: TargetTable, found: FoundTable, remedies: Remedies): void {
  const sent = target.columns.map((column) => column.name);
  const filtered =
    target.landing === 'mirror' && typeof target.ownership === 'object' ? filterColumns(target.ownership) : [];
  for (const name of new Set([...sent, ...target.key, ...filtered])) {
    const column = columnOf(found, name);
    if (column === undefined) {
      const one = target.columns.find((each) => each.name === name);
      if (one === undefined) missingColumn(report, name, found);
      else missingSent(report, one, found, remedies);
    } else if (column.generated && sent.includes(name)) {
      report(name, 'COLUMN_GENERATED', `column ${name} is filled by the database itself`, {
        hint: remedies.releaseGenerated?.(name) ?? 'leave the column out of `columns`',
      });
    }
  }
}

function ownColumnProblems(report: Report, target: TargetTable, found: FoundTable, remedies: Remedies): void {
  if (target.landing === 'journal') {
    for (const name of Object.values(target.journalColumns)) {
      if (columnOf(found, name) !== undefined) continue;
      report(name, 'JOURNAL_COLUMN_MISSING', `the journal column ${name} does not exist`, {
        hint: `${remedies.addColumn(name, 'journal')} or name the column in \`journalColumns\``,
      });
    }
  } else if (target.onDelete === 'mark') {
    const column = columnOf(found, target.markColumn ?? '');
    if (column !== undefined && canMark(column)) return;
    const name = target.markColumn ?? '';
    report(name, 'MARK_COLUMN_MISSING', 'a column of boolean, integer or text for deletes is expected', {
      hint: remedies.addColumn(name || 'deleted', 'mark'),
    });
  }
}

function requiredColumns(report: Report, target: TargetTable, found: FoundTable, remedies: Remedies): void {
  const sent = new Set(target.columns.map((column) => column.name));
  const own = new Set(ownColumns(target));
  for (const column of found.columns) {
    const { name } = column;
    if (column.nullable || column.hasDefault || column.generated) continue;
    if (!sent.has(name) && !own.has(name)) {
      report(name, 'COLUMN_REQUIRED', `column ${name} is NOT NULL without a default and the bridge does not send it`, {
        hint: `send it, or: ${remedies.setDefault(name)}`,
      });
    } else if (target.landing === 'journal' && sent.has(name) && !target.key.includes(name)) {
      report(name, 'NULLABLE_TO_REQUIRED', `a journal's deletes carry the key only, but column ${name} is NOT NULL`, {
        hint: remedies.allowNull(column),
        warning: true,
      });
    }
  }
}

/** The column that tells which row is newer travels, and has an order that every database shares. */
function conflictProblems(report: Report, { conflict, columns }: TargetTable, found: FoundTable): void {
  if (typeof conflict !== 'object') return;
  const name = conflict.newestWins;
  if (!columns.some((column) => column.name === name)) {
    report(
      name,
      'CONFLICT_COLUMN_MISSING',
      `conflict: newestWins goes by column ${name}, which the bridge does not send`,
      {
        hint: `send it, or name one of: ${columns.map((column) => column.name).join(', ')}`,
      },
    );
    return;
  }
  const type = columnOf(found, name)?.type;
  // A missing column is told as such.
  if (type === undefined || ('type' in type && TELLS_TIME.has(type.type))) return;
  report(
    name,
    'CONFLICT_COLUMN_TYPE',
    `conflict: newestWins goes by column ${name}, whose type has no order that both ends share`,
    {
      hint: 'name a column of date, timestamp, integer, decimal or text',
    },
  );
}

const TELLS_TIME: ReadonlySet<string> = new Set(['date', 'timestamp', 'timestamptz', 'integer', 'decimal', 'text']);

/** Columns that are missing are told as such. */
function ownershipProblems(report: Report, { ownership }: TargetTable, found: FoundTable): void {
  if (typeof ownership === 'string' || !isKnown(found, filterColumns(ownership))) return;
  const why = checkFilter(ownership, (name) => {
    const type = columnOf(found, name)?.type;
    return type !== undefined && 'type' in type ? type : undefined;
  });
  if (why !== undefined) report('', 'OWNERSHIP_INVALID', why, { hint: 'correct ownership.where in the bridge' });
}

function targetKeyProblems(report: Report, { key }: TargetTable, found: FoundTable, remedies: Remedies): void {
  keyNulls(report, found, key, remedies);
  const isProven = found.uniqueIndexes.some(
    (index) => index.length === key.length && index.every((name) => key.includes(name)),
  );
  if (isProven || !isKnown(found, key)) return;
  report('', 'KEY_NOT_UNIQUE', `no immediate, unconditional unique index is exactly on (${key.join(', ')})`, {
    hint: remedies.uniqueIndex(key),
  });
}

function keyNulls(report: Report, found: FoundTable, key: readonly string[], remedies: Remedies): void {
  for (const name of key) {
    const column = columnOf(found, name);
    if (column?.nullable !== true) continue;
    report(name, 'KEY_NULLABLE', `key column ${name} may be null`, { hint: remedies.forbidNull(column) });
  }
}

function isKnown(found: FoundTable, names: readonly string[]): boolean {
  return names.every((name) => columnOf(found, name) !== undefined);
}

function columnOf({ columns }: FoundTable, name: string): ColumnDescription | undefined {
  return columns.find((column) => column.name === name);
}

function canMark({ type }: ColumnDescription): boolean {
  return 'type' in type && ['boolean', 'integer', 'text'].includes(type.type);
}
