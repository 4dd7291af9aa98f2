/**
 * The columns of one target table as the database has them now, what the bridge says about the table in SQL: ownership, mark of deleted rows.
 */

import { type ColumnType, evaluateFilter, filterColumns, QiaoError } from '@qiao/exchange';
import type { TargetTable } from '../adapter.ts';
import { proveOwn } from '../cascades.ts';
import { columnMissing } from '../columnMissing.ts';
import { cellReader, Refusal } from './cells.ts';
import { isSupported, readTable, type SqliteColumn, type SqliteTable, storedName, uniqueKeyOf } from './describe.ts';
import { type Connection, quote } from './session.ts';
import { type ValueWriter, valueWriter } from './values.ts';

/** What the columns of a section are at the target. */
export interface Column {
  readonly column: SqliteColumn & { type: ColumnType };
  readonly write: ValueWriter;
}

/** The target's own columns, found and understood; one per target table and transaction. */
export class TargetColumns {
  readonly db: Connection;
  readonly target: TargetTable;
  readonly found: SqliteTable;

  /** Of one of the `bridge`'s tables. Throws TARGET_SCHEMA when it is missing, is no table, its key is not its own, or rows of strangers would go with its. */
  constructor(db: Connection, target: TargetTable, bridge: ReadonlyMap<string, TargetTable>) {
    const found = readTable(db, target.ref);
    if (!found) throw schemaError(`table ${target.ref.name} does not exist`);
    if (found.kind !== 'table') throw schemaError(`${target.ref.name} is a ${found.kind}, not a table`);
    this.db = db;
    this.target = target;
    this.found = found;
    if (target.landing === 'journal') return;
    const { referrers } = found;
    if (referrers.length > 0) {
      const landings = [...bridge.values()].map((each) => ({
        target: each,
        ref: { name: storedName(db, each.ref.name) },
      }));
      proveOwn([{ target, ref: { name: found.name }, referrers }], landings);
    }
    const unique = uniqueKeyOf(found, target.key);
    if (!unique?.isBinary) {
      throw schemaError(
        `${target.ref.name} has no unique key of NOT NULL columns compared byte by byte on (${target.key.join(', ')})`,
      );
    }
  }

  column(name: string): Column {
    const column = this.found.columns.find((each) => each.name === name);
    if (!column) throw columnMissing(name, this.target.ref.name);
    if (!isSupported(column))
      throw schemaError(`column ${this.target.ref.name}.${name} has the type ${column.nativeType || '(none)'}`);
    if (column.generated) throw schemaError(`column ${this.target.ref.name}.${name} is computed by the database`);
    return { column, write: valueWriter(column.type, column.declared) };
  }

  get table(): string {
    return quote(this.found.name);
  }

  /** SQL that is 1 for an existing row that the lane owns; undefined when it owns every row. */
  ownedSql(): string | undefined {
    const { ownership } = this.target;
    if (typeof ownership === 'string') return undefined;
    const columns = filterColumns(ownership);
    const readers = columns.map((name) => {
      const { column } = this.column(name);
      return cellReader(name, column.type, column.declared);
    });
    const typeOf = this.typeOf();
    // In JavaScript and not in SQL: the filter means the same in every database, and SQLite's LIKE and decimals mean something else.
    const name = ownedFunction(this.db, (values) => {
      const texts = new Map<string, string | null>();
      for (const [i, reader] of readers.entries()) {
        const value = values[i] === null ? null : reader.text(values[i]);
        if (value instanceof Refusal) return 0;
        texts.set(reader.name, value);
      }
      return evaluateFilter(ownership, (column) => texts.get(column) ?? null, typeOf) ? 1 : 0;
    });
    return `${name}(${readers.map((reader) => reader.select(true)).join(', ')})`;
  }

  /** Types of the target's columns, for the filter. */
  typeOf(): (column: string) => ColumnType {
    return (name) => this.column(name).column.type;
  }

  /** SQL literals of the mark column's two values; undefined when deletes delete. */
  marks(): { column: string; set: string; clear: string } | undefined {
    const { onDelete, markColumn, landing } = this.target;
    if (onDelete !== 'mark' || landing === 'journal') return undefined;
    if (markColumn === undefined) throw schemaError(`${this.target.ref.name}: onDelete mark names no column`);
    const { column } = this.column(markColumn);
    const isText = column.type.type === 'text';
    return { column: quote(markColumn), set: isText ? "'1'" : '1', clear: isText ? "'0'" : '0' };
  }
}

const functions = new WeakMap<Connection, number>();

/** Registers an ownership test under a name of its own and gives the name back. */
function ownedFunction(db: Connection, test: (values: unknown[]) => number): string {
  // A ring of names: an apply uses its functions at once, and a connection must not collect them for ever.
  const number = ((functions.get(db) ?? 0) + 1) % 4096;
  functions.set(db, number);
  const name = `qiao_owned_${number}`;
  db.function(name, { varargs: true, directOnly: true }, (...values: unknown[]) => test(values));
  return name;
}

export function schemaError(message: string): QiaoError {
  return new QiaoError('TARGET_SCHEMA', message, {
    hint: 'Compare the tables with the bridge: qiao bridge check -f FILE',
  });
}
