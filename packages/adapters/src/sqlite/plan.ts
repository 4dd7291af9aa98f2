/**
 * How rows of one section's shape are written into one target table: the prepared statements and which outcome each of their answers means
 * (R1, R6–R8 of adapter.ts). Knows one row at a time; order, retries and counting belong to `rows.ts`.
 */
import {
  type ColumnType,
  evaluateFilter,
  type Filter,
  filterColumns,
  type Kind,
  type Outcome,
  QiaoError,
} from '@qiao/exchange';
import type { ApplyWork, TargetTable } from '../adapter.ts';
import { cellReader, Refusal } from './cells.ts';
import { isSupported, readTable, type SqliteColumn, type SqliteTable, uniqueKeyOf } from './describe.ts';
import { type Connection, literal, quote } from './session.ts';
import { type StoredValue, Unfit, type ValueWriter, valueWriter } from './values.ts';

/** Why one row is not applied; never with a value in it. */
export interface RowRefusal {
  readonly code: string;
  readonly reason: string;
  /** Another order may help. */
  readonly mayPass: boolean;
}

/** What the columns of a section are at the target. */
interface Column {
  readonly column: SqliteColumn & { type: ColumnType };
  readonly write: ValueWriter;
}

export interface RowPlan {
  /** Values to bind, or the refusal of a field that does not fit. Throws DELIVERY_INVALID when the line has another number of fields. */
  encode(fields: readonly (string | null)[]): StoredValue[] | RowRefusal;
  /** Writes one row. Throws what SQLite throws. */
  write(kind: Kind, values: StoredValue[], wholeRow: boolean): Outcome | RowRefusal;
  /** True when a row with these key values refers to a parent that is not there. */
  isOrphan(values: StoredValue[]): boolean;
}

export type Journal = Pick<ApplyWork, 'batchNo' | 'sourceDepartment' | 'appliedAtMs'>;

/** The target's own columns, found and understood; one per target table and transaction. */
export class TargetColumns {
  readonly db: Connection;
  readonly target: TargetTable;
  readonly found: SqliteTable;

  /** Throws TARGET_SCHEMA when the table is missing, is no table, or its key is not its own. */
  constructor(db: Connection, target: TargetTable) {
    const found = readTable(db, target.ref);
    if (!found) throw schemaError(`table ${target.ref.name} does not exist`);
    if (found.kind !== 'table') throw schemaError(`${target.ref.name} is a ${found.kind}, not a table`);
    this.db = db;
    this.target = target;
    this.found = found;
    if (target.landing === 'journal') return;
    const unique = uniqueKeyOf(found, target.key);
    if (!unique?.isBinary) {
      throw schemaError(
        `${target.ref.name} has no unique key of NOT NULL columns compared byte by byte on (${target.key.join(', ')})`,
      );
    }
  }

  column(name: string): Column {
    const column = this.found.columns.find((each) => each.name === name);
    if (!column) throw schemaError(`column ${this.target.ref.name}.${name} does not exist`);
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

/** The plan for a section's columns. */
export function rowPlan(
  columns: TargetColumns,
  section: { readonly columns: readonly string[]; readonly keyColumns: number },
  journal: Journal,
): RowPlan {
  return columns.target.landing === 'journal'
    ? new JournalPlan(columns, section.columns, journal)
    : new MirrorPlan(columns, section.columns, section.keyColumns);
}

abstract class EncodingPlan {
  protected readonly columns: readonly Column[];
  readonly #table: string;

  constructor(columns: readonly Column[], table: string) {
    this.columns = columns;
    this.#table = table;
  }

  encode(fields: readonly (string | null)[]): StoredValue[] | RowRefusal {
    const { columns } = this;
    if (fields.length !== columns.length) {
      throw new QiaoError(
        'DELIVERY_INVALID',
        `${this.#table}: a line has ${fields.length} fields, its section ${columns.length} columns`,
      );
    }
    const values: StoredValue[] = new Array(columns.length);
    for (let i = 0; i < columns.length; i++) {
      const field = fields[i] as string | null;
      if (field === null) {
        values[i] = null;
        continue;
      }
      const column = columns[i] as Column;
      const value = column.write(field);
      if (value instanceof Unfit) {
        return { code: 'VALUE_INVALID', reason: `column ${column.column.name}: ${value.why}`, mayPass: false };
      }
      values[i] = value;
    }
    return values;
  }
}

const OUTSIDE: RowRefusal = {
  code: 'OUTSIDE_OWNERSHIP',
  reason: 'the row is outside the rows that the bridge owns at this destination',
  mayPass: false,
};
const MISSING_BASE: RowRefusal = {
  code: 'MISSING_BASE',
  reason: 'the update carries some columns only and its row is not there',
  mayPass: false,
};
const SKIPPED: RowRefusal = {
  code: 'TRIGGER_REFUSED',
  reason: 'a trigger of the table passed over the row without an error',
  mayPass: false,
};

class MirrorPlan extends EncodingPlan implements RowPlan {
  readonly #keyColumns: number;
  readonly #insert: Statement;
  readonly #update: Statement | undefined;
  /** INSERT or UPDATE in one statement, where both mean the same row: see the constructor. */
  readonly #upsert: Statement | undefined;
  readonly #overwrite: Statement | undefined;
  readonly #remove: Statement;
  readonly #look: Statement;
  readonly #orphan: Statement | undefined;
  readonly #outside: ((values: StoredValue[]) => boolean) | undefined;
  /** Rows may be outside ownership or marked: look before writing. */
  readonly #mustLook: boolean;
  readonly #isTriggered: boolean;
  /** The row before was there already: the next one probably is, too. */
  #isRefill = false;

  constructor(target: TargetColumns, names: readonly string[], keyColumns: number) {
    super(
      names.map((name) => target.column(name)),
      target.found.name,
    );
    const key = names.slice(0, keyColumns);
    const { db, table } = target;
    if (key.length !== target.target.key.length || !key.every((name) => target.target.key.includes(name))) {
      throw schemaError(
        `${table} has the key (${target.target.key.join(', ')}), the delivery says (${key.join(', ')})`,
      );
    }
    this.#keyColumns = keyColumns;
    this.#isTriggered = target.found.hasTriggers;
    const quoted = names.map(quote);
    const rest = quoted.slice(keyColumns);
    const marks = target.marks();
    const marksItself = marks && !quoted.includes(marks.column) ? marks : undefined;
    const where = key.map((name) => `${quote(name)} = ?`).join(' AND ');
    const owned = target.ownedSql();
    this.#mustLook = owned !== undefined || marks !== undefined;
    // OR ABORT: a conflict clause in the table's own definition (ON CONFLICT REPLACE) must not remove other rows for us.
    this.#insert = db.prepare(
      `INSERT OR ABORT INTO ${table} (${[...quoted, ...(marksItself ? [marksItself.column] : [])].join(', ')}) VALUES (${[...quoted.map(() => '?'), ...(marksItself ? [marksItself.clear] : [])].join(', ')}) ON CONFLICT (${key.map(quote).join(', ')}) DO NOTHING`,
    );
    const sets = rest.map((column) => `${column} = ?`);
    if (rest.length > 0) {
      const differs = rest.map((column) => `${column} COLLATE BINARY IS NOT ?`).join(' OR ');
      this.#update = db.prepare(`UPDATE OR ABORT ${table} SET ${sets.join(', ')} WHERE ${where} AND (${differs})`);
    }
    // Half the values to bind. Only where the section has every column: an upsert checks NOT NULL and CHECK on the row it would insert, and
    // fires triggers of both kinds.
    const isWhole = target.found.columns.every((column) => column.generated || names.includes(column.name));
    if (isWhole && rest.length > 0 && !this.#isTriggered && !this.#mustLook) {
      const overwrites = rest.map((column) => `${column} = excluded.${column}`).join(', ');
      const differs = rest.map((column) => `${column} COLLATE BINARY IS NOT excluded.${column}`).join(' OR ');
      this.#upsert = db.prepare(
        `INSERT OR ABORT INTO ${table} (${quoted.join(', ')}) VALUES (${quoted.map(() => '?').join(', ')}) ON CONFLICT (${key.map(quote).join(', ')}) DO UPDATE SET ${overwrites} WHERE ${differs}`,
      );
    }
    if (marks) {
      const all = marksItself ? [...sets, `${marksItself.column} = ${marksItself.clear}`] : sets;
      if (all.length > 0) this.#overwrite = db.prepare(`UPDATE OR ABORT ${table} SET ${all.join(', ')} WHERE ${where}`);
    }
    this.#remove = marks
      ? db.prepare(`UPDATE OR ABORT ${table} SET ${marks.column} = ${marks.set} WHERE ${where}`)
      : db.prepare(`DELETE FROM ${table} WHERE ${where}`);
    this.#look = db
      .prepare(
        `SELECT ${owned ?? '1'}, ${marks ? `${marks.column} IS ${marks.set}` : '0'} FROM ${table} WHERE ${where}`,
      )
      .raw();
    this.#orphan = orphanStatement(target, where);
    this.#outside = outsideTest(target, names);
  }

  override encode(fields: readonly (string | null)[]): StoredValue[] | RowRefusal {
    const values = super.encode(fields);
    if (this.#outside && Array.isArray(values) && this.#outside(fields as StoredValue[])) return OUTSIDE;
    return values;
  }

  write(kind: Kind, values: StoredValue[], wholeRow: boolean): Outcome | RowRefusal {
    return this.#mustLook ? this.#writeLooking(kind, values, wholeRow) : this.#writeStraight(kind, values, wholeRow);
  }

  isOrphan(values: StoredValue[]): boolean {
    return this.#orphan !== undefined && this.#orphan.get(values.slice(0, this.#keyColumns)) !== undefined;
  }

  #writeStraight(kind: Kind, values: StoredValue[], wholeRow: boolean): Outcome | RowRefusal {
    switch (kind) {
      case 'insert':
        if (this.#upsert && this.#isRefill && this.#exists(values)) {
          return this.#upsert.run(values).changes === 1 ? 'updatedInsteadOfInsert' : 'unchanged';
        }
        this.#isRefill = false;
        if (this.#insert.run(values).changes === 1) return 'inserted';
        this.#isRefill = true;
        if (this.#changed(values)) return 'updatedInsteadOfInsert';
        return !this.#isTriggered || this.#exists(values) ? 'unchanged' : SKIPPED;
      case 'update':
        if (this.#upsert && this.#exists(values)) {
          return this.#upsert.run(values).changes === 1 ? 'updated' : 'unchanged';
        }
        if (this.#changed(values)) return 'updated';
        if (this.#exists(values)) return 'unchanged';
        if (!wholeRow) return MISSING_BASE;
        return this.#insert.run(values).changes === 1 ? 'insertedInsteadOfUpdate' : SKIPPED;
      case 'delete': {
        const key = values.slice(0, this.#keyColumns);
        if (this.#remove.run(key).changes === 1) return 'deleted';
        return this.#isTriggered && this.#exists(values) ? SKIPPED : 'deletedNothing';
      }
      default:
        return kind satisfies never;
    }
  }

  #writeLooking(kind: Kind, values: StoredValue[], wholeRow: boolean): Outcome | RowRefusal {
    const key = values.slice(0, this.#keyColumns);
    const found = this.#look.get(key) as [number, number] | undefined;
    if (found && found[0] !== 1) return 'keptTarget';
    const isMarked = found !== undefined && found[1] === 1;
    if (kind === 'delete') {
      if (!found || isMarked) return 'deletedNothing';
      return this.#remove.run(key).changes === 1 ? 'deleted' : SKIPPED;
    }
    if (found && !isMarked) {
      if (this.#changed(values)) return kind === 'insert' ? 'updatedInsteadOfInsert' : 'updated';
      return 'unchanged';
    }
    if (kind === 'update' && !wholeRow) return MISSING_BASE;
    const isWritten = found
      ? this.#overwrite === undefined || this.#overwrite.run([...values.slice(this.#keyColumns), ...key]).changes === 1
      : this.#insert.run(values).changes === 1;
    if (!isWritten) return SKIPPED;
    return kind === 'insert' ? 'inserted' : 'insertedInsteadOfUpdate';
  }

  #changed(values: StoredValue[]): boolean {
    if (!this.#update) return false;
    const rest = values.slice(this.#keyColumns);
    return this.#update.run([...rest, ...values.slice(0, this.#keyColumns), ...rest]).changes === 1;
  }

  #exists(values: StoredValue[]): boolean {
    return this.#look.get(values.slice(0, this.#keyColumns)) !== undefined;
  }
}

type Statement = ReturnType<Connection['prepare']>;

class JournalPlan extends EncodingPlan implements RowPlan {
  readonly #insert: Record<Kind, Statement>;

  constructor(target: TargetColumns, names: readonly string[], journal: Journal) {
    super(
      names.map((name) => target.column(name)),
      target.found.name,
    );
    const own = journalValues(target, journal);
    const insert = (operation: string) =>
      target.db.prepare(
        `INSERT OR ABORT INTO ${target.table} (${[...names, ...own.map(([name]) => name), target.target.journalColumns.operation].map(quote).join(', ')}) VALUES (${[...names.map(() => '?'), ...own.map(([, value]) => value), literal(operation)].join(', ')})`,
      );
    this.#insert = { insert: insert('I'), update: insert('U'), delete: insert('D') };
  }

  write(kind: Kind, values: StoredValue[]): Outcome | RowRefusal {
    if (this.#insert[kind].run(values).changes !== 1) return SKIPPED;
    return kind === 'insert' ? 'inserted' : kind === 'update' ? 'updated' : 'deleted';
  }

  isOrphan(): boolean {
    return false;
  }
}

/** The journal's own columns but the operation, as SQL literals of their column's class. */
function journalValues(target: TargetColumns, journal: Journal): [string, string][] {
  const { batchNo, sourceDepartment, appliedAt, processed } = target.target.journalColumns;
  const at = new Date(journal.appliedAtMs)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.?0*Z$/, '');
  const typeOf = (name: string) => target.column(name).column.type.type;
  const processedType = typeOf(processed);
  return [
    [batchNo, literal(journal.batchNo)],
    [sourceDepartment, literal(journal.sourceDepartment)],
    [appliedAt, literal(typeOf(appliedAt) === 'timestamp' ? at : `${at}+00`)],
    [processed, processedType === 'text' ? "'0'" : '0'],
  ];
}

/** Finds the row just written when one of its references leads nowhere. */
function orphanStatement(target: TargetColumns, where: string): Statement | undefined {
  const { foreignKeys } = target.found;
  if (foreignKeys.length === 0) return undefined;
  const missing = foreignKeys.map(({ columns, toTable, toColumns }) => {
    const given = columns.map((column) => `c.${quote(column)} IS NOT NULL`).join(' AND ');
    const match = columns.map((column, i) => `p.${quote(toColumns[i] ?? '')} = c.${quote(column)}`).join(' AND ');
    return `(${given} AND NOT EXISTS (SELECT 1 FROM ${quote(toTable.name)} AS p WHERE ${match}))`;
  });
  return target.db.prepare(`SELECT 1 FROM ${target.table} AS c WHERE ${where} AND (${missing.join(' OR ')})`);
}

/** Tells from the text of a row whether it lies outside the ownership; undefined when that cannot or need not be told. */
function outsideTest(
  target: TargetColumns,
  names: readonly string[],
): ((fields: readonly unknown[]) => boolean) | undefined {
  const { ownership } = target.target;
  if (typeof ownership === 'string') return undefined;
  const filter: Filter = ownership;
  // A delete or a partial update without the filter's columns is judged by the row it finds.
  if (!filterColumns(filter).every((column) => names.includes(column))) return undefined;
  const typeOf = target.typeOf();
  return (fields) => !evaluateFilter(filter, (column) => fields[names.indexOf(column)] as string | null, typeOf);
}

export function schemaError(message: string): QiaoError {
  return new QiaoError('TARGET_SCHEMA', message, {
    hint: 'Compare the tables with the bridge: qiao bridge check NAME',
  });
}
