/**
 * Reads a table at the destination for a comparison: the bridged columns in the order in which they were sent, brought back to
 * the text they were sent as, and whether a row is the lane's own. Rows marked as deleted count as absent.
 */
import type { DataSource, SnapshotTable, TableDescription } from '@qiao/adapters';
import type { VerifyQuestion } from '@qiao/contract/verify';
import {
  type ColumnType,
  columnTypeOf,
  compileFilter,
  type Destination,
  filterColumns,
  joinRow,
  type PairText,
  pairText,
  parseFilter,
  QiaoError,
  splitRow,
} from '@qiao/exchange';
import type { Clock } from '@qiao/runtime';
import { createPace } from '../capture/pace.ts';
import { endOfFields, pickFields } from './fields.ts';
import { lineFilter, type ReadingLimits, stepRows } from './sourceRows.ts';

const LF = 0x0a;
const TAB = 0x09;
const NULL = '\\N';

export interface TargetColumns {
  readonly read: SnapshotTable;
  readonly pairs: readonly PairText[];
  /** Types of the bridged columns at the source. */
  readonly sentAs: readonly ColumnType[];
  readonly comparable: readonly string[];
  /** "column: reason" */
  readonly notComparable: readonly string[];
  /** Of the fields read, whether the lane may delete the row. */
  readonly isOwned: (fields: readonly (string | null)[]) => boolean;
  /** Of the fields read, whether the row is marked as deleted. */
  readonly isMarked: ((fields: readonly (string | null)[]) => boolean) | undefined;
  /** Fields behind the bridged ones that only ownership or the mark look at. */
  readonly extraColumns: number;
  /** Every row is the lane's own, or none is. */
  readonly ownership: 'whole' | 'none' | 'some';
}

type DestinationTable = Destination['tables'][string];

/** What of the target table is read. Throws TARGET_SCHEMA, VERIFY_JOURNAL, VERIFY_KEY_LOSSY, COLUMN_TYPE_UNREADABLE. */
export async function targetColumns(
  dataSource: DataSource,
  target: DestinationTable,
  question: VerifyQuestion,
): Promise<TargetColumns> {
  if (target.landing === 'journal') {
    throw new QiaoError('VERIFY_JOURNAL', `${target.to} keeps a journal: its rows are changes, not copies of rows`, {
      hint: 'compare the tables that land as mirror: --table NAME',
    });
  }
  const ref = { ...(target.schema === undefined ? {} : { schema: target.schema }), name: target.to };
  const description = await dataSource.describe(ref);
  if (description === undefined) throw schema(`table ${target.to} is missing`);
  const typeOf = (name: string) => typeOfColumn(description, target.to, name);
  const sources = question.columns.map(({ name, typeJson }) => ({ name, type: columnTypeOf(typeJson) }));
  const pairs = sources.map(({ name, type }) => pairText(type, typeOf(name)));
  const notComparable = sources.flatMap(({ name }, index) => {
    const pair = pairs[index];
    return pair?.kind === 'none' ? [`${name}: ${pair.why}`] : [];
  });
  if (pairs.slice(0, question.keyColumns).some(({ kind }) => kind === 'none')) {
    throw new QiaoError(
      'VERIFY_KEY_LOSSY',
      `a key column of ${target.to} loses something: ${notComparable.join('; ')}`,
      {
        hint: 'give the target column a type that keeps every value',
      },
    );
  }
  const filter = ownedFilter(target);
  const bridged = sources.map(({ name }) => name);
  const more = [
    ...(filter === undefined ? [] : filterColumns(filter)),
    ...(target.onDelete === 'mark' && target.markColumn !== undefined ? [target.markColumn] : []),
  ];
  const extra = [...new Set(more)].filter((name) => !bridged.includes(name));
  const columns = [...bridged, ...extra].map((name) => ({ name, type: typeOf(name) }));
  const places = new Map(columns.map(({ name }, index) => [name, index]));
  const passes =
    filter === undefined ? undefined : compileFilter(filter, (name) => columns[places.get(name) ?? -1]?.type);
  const markAt =
    target.onDelete === 'mark' && target.markColumn !== undefined ? places.get(target.markColumn) : undefined;
  return {
    read: { ref, columns, keyColumns: question.keyColumns },
    pairs,
    sentAs: sources.map(({ type }) => type),
    comparable: bridged.filter((_, index) => pairs[index]?.kind !== 'none'),
    notComparable,
    isOwned: (fields) => passes === undefined || passes((name) => fields[places.get(name) ?? -1] ?? null),
    isMarked: markAt === undefined ? undefined : (fields) => fields[markAt] === 't' || fields[markAt] === '1',
    extraColumns: extra.length,
    ownership: target.ownership === 'whole' ? 'whole' : target.ownership === 'none' ? 'none' : 'some',
  };
}

export interface TargetRow {
  /** Row text of the key's fields, without LF. */
  readonly key: Buffer;
  /** Row text of the compared fields, without LF. */
  readonly compared: Buffer;
  readonly owned: boolean;
  /** The question's filter does not let it pass. */
  readonly outside: boolean;
}

/** Hands out every row that counts once. Returns how many could not be read exactly. */
export async function readTarget(
  ports: { readonly clock: Clock; readonly maxMs: number },
  dataSource: DataSource,
  columns: TargetColumns,
  question: VerifyQuestion,
  { rowsPerSecond, signal }: ReadingLimits,
  visit: (row: TargetRow) => void,
): Promise<number> {
  const names = question.columns.map(({ name }) => name);
  const passes = lineFilter(question.where, names, columns.sentAs);
  const compared = names.map((name) => question.compared.includes(name));
  const isWhole = compared.every(Boolean);
  const isBare = columns.extraColumns === 0 && columns.isMarked === undefined && columns.ownership !== 'some';
  const isAsSent = asSent(columns.pairs);
  let unreadable = 0;
  const pace = createPace(ports.clock, rowsPerSecond > 0 ? rowsPerSecond : undefined, signal);
  await using snapshot = await dataSource.snapshot({ signal, maxMs: ports.maxMs, stepRows: stepRows(rowsPerSecond) });
  for await (const { rows: lines, refused } of snapshot.rows(columns.read)) {
    for (const { count } of refused ?? []) unreadable += count;
    let rows = 0;
    for (let start = 0; start < lines.length; rows++) {
      const end = lines.indexOf(LF, start);
      let line = lines.subarray(start, end);
      start = end + 1;
      let owned = columns.ownership === 'whole';
      if (!isBare || !isAsSent(line)) {
        const fields = splitRow(line.toString('utf8'));
        if (columns.isMarked?.(fields) === true) continue;
        if (columns.ownership === 'some') owned = columns.isOwned(fields);
        const back = names.map((_, index) => broughtBack(columns.pairs[index], fields[index] ?? null));
        line = Buffer.from(joinRow(back));
      }
      const key = line.subarray(0, endOfFields(line, question.keyColumns));
      const outside = passes !== undefined && !passes(line);
      visit({ key, compared: isWhole ? line : pickFields(line, compared), owned, outside });
    }
    await pace(rows);
  }
  return unreadable;
}

/** Whether no field of a line has to be brought back: nearly always, and then the line need not be cut and joined again. */
function asSent(pairs: readonly PairText[]): (line: Buffer) => boolean {
  const last = pairs.findLastIndex(({ kind }) => kind === 'back');
  return (line) => {
    let start = 0;
    for (let index = 0; index <= last; index++) {
      let end = start;
      while (end < line.length && line[end] !== TAB) end++;
      const pair = pairs[index];
      if (pair?.kind === 'back') {
        const field = line.toString('latin1', start, end);
        if (field !== NULL && pair.back(field) !== field) return false;
      }
      start = end + 1;
    }
    return true;
  };
}

function broughtBack(pair: PairText | undefined, text: string | null): string | null {
  return text === null || pair?.kind !== 'back' ? text : pair.back(text);
}

function ownedFilter({ ownership }: DestinationTable) {
  return typeof ownership === 'string' ? undefined : parseFilter(ownership.where).filter;
}

function typeOfColumn(description: TableDescription, table: string, name: string): ColumnType {
  const column = description.columns.find((one) => one.name === name);
  if (column === undefined) throw schema(`table ${table} has no column ${name}`);
  if ('unsupported' in column.type) throw schema(`column ${name} of ${table} has a type that cannot be read`);
  return column.type;
}

function schema(message: string): QiaoError {
  return new QiaoError('TARGET_SCHEMA', message, { hint: 'qiao bridge check -f FILE' });
}
