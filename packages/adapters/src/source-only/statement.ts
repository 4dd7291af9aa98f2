/** The statements that read a table: whole, from a cursor's value on, by keys, in steps. Pure; names are quoted, values are bound. */
import { MAX_ROW_BYTES, QiaoError } from '@qiao/exchange';
import type { SnapshotTable } from '../adapter.ts';
import type { NumberedRefusal } from '../lineWriter.ts';
import { cursorConditions, quoted } from './cursor.ts';
import {
  type Bind,
  Binder,
  type ReadColumn,
  type Reader,
  type ReadTable,
  type SourceDatabase,
  type Statement,
} from './reader.ts';

/** Bytes that the driver is asked for together, at most, where columns say how long they are. */
const BATCH_BYTES = 4 * 1024 * 1024;
const MOST_ROWS = 1_000;

/** How one table is read. */
export interface Reading {
  readonly table: ReadTable;
  readonly columns: readonly (ReadColumn & { readonly travel: NonNullable<ReadColumn['travel']> })[];
  readonly keyColumns: number;
  /** By their number in the first value of a row, from 1. */
  readonly refusals: readonly NumberedRefusal[];
  readonly batchRows: number;
  /** Without further conditions. */
  whole(): Statement;
  /** The rows with these keys; as many of them as fit, and how many that were. */
  ofKeys(keys: readonly (readonly string[])[]): { statement: Statement; taken: number };
  /** The first rows whose key comes after this one, in its order. */
  after(key: readonly string[] | undefined, rows: number): Statement;
}

type Spelling = Pick<SourceDatabase<Reader>, 'identifier' | 'placeholder' | 'mostBound'>;

/** Throws SOURCE_SCHEMA for columns that the table no longer has in such a type. */
export function readingOf(database: Spelling, table: ReadTable, asked: SnapshotTable): Reading {
  const columns = asked.columns.map(({ name }) => {
    const column = table.columns.find((each) => each.name === name);
    if (column === undefined) throw changed(`column ${name} of table ${table.name} is missing`);
    const { travel } = column;
    if (travel === undefined) throw changed(`column ${name} of table ${table.name} is now ${column.nativeType}`);
    return { ...column, travel };
  });
  const key = columns.slice(0, asked.keyColumns);
  const refusals: NumberedRefusal[] = [];
  const whens: string[] = [];
  const values = columns.map(({ name, travel }) => {
    const at = database.identifier(name);
    if (travel.refused !== undefined) {
      whens.push(`WHEN ${travel.refused(at)} THEN ${refusals.push({ code: 'VALUE_INVALID', column: name })}`);
    }
    if (travel.size === undefined) return travel.select(at);
    // Alone longer than a row may be: it does not travel here only to be thrown away.
    const isTooLong = `${travel.size(at)} > ${MAX_ROW_BYTES}`;
    whens.push(`WHEN ${isTooLong} THEN ${refusals.push({ code: 'ROW_TOO_LARGE', column: '' })}`);
    return `CASE WHEN ${isTooLong} THEN NULL ELSE ${travel.select(at)} END`;
  });
  const refusal = whens.length === 0 ? 'NULL' : `CASE ${whens.join(' ')} END`;
  const select = `SELECT ${[refusal, ...values].join(', ')} FROM ${quoted(database, table)} q`;
  // By the column itself: a name alone may mean its text among the values.
  const order = ` ORDER BY ${key.map(({ name }) => `q.${database.identifier(name)}`).join(', ')}`;
  const statement = (conditions: (bind: Bind) => string[], end = ''): Statement => {
    const binder = new Binder(database.placeholder);
    const all = [...cursorConditions(database, table, asked, binder.bind), ...conditions(binder.bind)];
    const where = all.length === 0 ? '' : ` WHERE ${all.map((each) => `(${each})`).join(' AND ')}`;
    return { sql: `${select}${where}${end}`, values: binder.values };
  };
  const rowBytes = columns.reduce((sum, { travel }) => sum + travel.mostBytes, 0);
  return {
    table,
    columns,
    keyColumns: asked.keyColumns,
    refusals,
    batchRows: Math.max(1, Math.min(MOST_ROWS, Math.floor(BATCH_BYTES / Math.max(1, rowBytes)))),
    whole: () => statement(() => []),
    ofKeys: (keys) => {
      const taken = Math.min(keys.length, Math.max(1, Math.floor(database.mostBound / Math.max(1, key.length))));
      const some = keys.slice(0, taken);
      return { statement: statement((bind) => [keyCondition(database, key, some, bind)]), taken };
    },
    after: (last, rows) =>
      statement(
        (bind) => (last === undefined ? [] : [behind(database, key, last, bind)]),
        `${order} OFFSET 0 ROWS FETCH NEXT ${rows} ROWS ONLY`,
      ),
  };
}

/** A comparison for each key: the type's own, which an index serves. What only a collation takes for the same is sorted out by its text. */
function keyCondition(
  database: Spelling,
  key: readonly ReadColumn[],
  keys: readonly (readonly string[])[],
  bind: Bind,
): string {
  const one = (fields: readonly string[]) =>
    key.map((column, place) => `${database.identifier(column.name)} = ${compared(column, fields[place] ?? '', bind)}`);
  return keys.map((fields) => `(${one(fields).join(' AND ')})`).join(' OR ');
}

/** Rows whose key comes after this one; the first comparison alone is what an index can begin at. */
function behind(database: Spelling, key: readonly ReadColumn[], after: readonly string[], bind: Bind): string {
  const at = (place: number) => database.identifier(key[place]?.name ?? '');
  const value = (place: number) => compared(key[place] as ReadColumn, after[place] ?? '', bind);
  const first = `${at(0)} >= ${value(0)}`;
  const later = key.map((_, place) => {
    const equal = Array.from({ length: place }, (_, earlier) => `${at(earlier)} = ${value(earlier)}`);
    return `(${[...equal, `${at(place)} > ${value(place)}`].join(' AND ')})`;
  });
  return `${first} AND (${later.join(' OR ')})`;
}

function compared({ name, nativeType, travel }: ReadColumn, text: string, bind: Bind): string {
  if (travel?.compared !== undefined) return travel.compared(text, bind);
  throw new QiaoError('SOURCE_KEY_INVALID', `column ${name} is of type ${nativeType}, by which no row can be found`, {
    hint: 'name other columns as the key of the bridge',
  });
}

export function changed(found: string): QiaoError {
  return new QiaoError('SOURCE_SCHEMA', found, {
    hint: 'the table no longer is what the bridge was checked against: qiao bridge check -f FILE',
  });
}
