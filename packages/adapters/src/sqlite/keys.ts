/**
 * Finds the rows of named keys (S6 of adapter.ts): by the key's index where one stored value has one text, and by the text itself where a
 * time, a UUID or a decimal text may be spelled in several ways.
 */
import type { ColumnType } from '@qiao/exchange';
import type { SnapshotTable } from '../adapter.ts';
import { cellReader } from './cells.ts';
import type { CursorWindow } from './cursor.ts';
import { readTable, type SqliteColumn } from './describe.ts';
import { type Connection, quote } from './session.ts';
import { affinityOf } from './types.ts';
import { type StoredValue, Unfit, valueWriter } from './values.ts';

interface KeyColumn {
  /** SQL that is compared. */
  readonly sql: string;
  value(text: string): StoredValue | Unfit;
}

export function keyWindow(db: Connection, table: SnapshotTable, keys: readonly (readonly string[])[]): CursorWindow {
  const found = readTable(db, table.ref);
  const columns = table.columns.slice(0, table.keyColumns).map(({ name }, place): KeyColumn => {
    const column = found?.columns.find((each) => each.name === name);
    return column === undefined ? { sql: quote(name), value: (text) => text } : keyColumn(db, column, place);
  });
  const values: StoredValue[] = [];
  let rows = 0;
  for (const key of keys) {
    const stored = columns.map((column, place) => column.value(key[place] ?? ''));
    // What the column cannot hold is no row's key.
    if (stored.some((value) => value instanceof Unfit)) continue;
    values.push(...(stored as StoredValue[]));
    rows += 1;
  }
  const one = columns.length === 1 ? '(?)' : `(${columns.map(() => '?').join(', ')})`;
  const names = columns.map(({ sql }) => sql).join(', ');
  const row = columns.length === 1 ? names : `(${names})`;
  const condition = rows === 0 ? '0' : `${row} IN (VALUES ${Array(rows).fill(one).join(', ')})`;
  return { conditions: [condition], values, isNarrow: true };
}

function keyColumn(db: Connection, { name, type, declared }: SqliteColumn, place: number): KeyColumn {
  const sql = quote(name);
  if ('unsupported' in type) return { sql, value: (text) => text };
  switch (type.type) {
    case 'time':
    case 'timestamp':
    case 'timestamptz':
    case 'uuid':
      return spelledKey(db, { name, type, declared }, place);
    case 'decimal':
      if (affinityOf(declared) !== 'TEXT') return { sql, value: numberOf };
      return type.scale === undefined
        ? { sql, value: (text) => text }
        : spelledKey(db, { name, type, declared }, place);
    default:
      return { sql, value: valueWriter(type, declared) };
  }
}

/** Found by the text that it would be read as. */
function spelledKey(
  db: Connection,
  { name, type, declared }: Pick<SqliteColumn, 'name' | 'declared'> & { type: ColumnType },
  place: number,
): KeyColumn {
  const reader = cellReader(name, type, declared);
  const spelled = `qiao_text_${place}`;
  db.function(spelled, { deterministic: true }, (value: unknown) => {
    const text = value === null ? null : reader.text(value);
    return typeof text === 'string' ? text : null;
  });
  return { sql: `${spelled}(${quote(name)})`, value: (text) => text };
}

/** 12.00 is stored as 12, and a whole number beyond 2^53 as itself. */
function numberOf(text: string): StoredValue {
  const whole = text.replace(/\.0*$/, '');
  return whole.includes('.') ? Number(text) : BigInt(whole);
}
