/**
 * Rows that land as a mirror: the prepared statements for one section's columns, and which outcome each of their answers means (R1, R6, R7 of
 * adapter.ts). Knows one row at a time; order, retries and counting belong to `rows.ts`.
 */
import { evaluateFilter, type Filter, filterColumns, type Kind, type Outcome } from '@qiao/exchange';
import { freeColumns, type UniqueValues } from '../circle.ts';
import { schemaError, type TargetColumns } from './columns.ts';
import { Meeting } from './conflict.ts';
import { readConstraints } from './describe.ts';
import { EncodingPlan, type RowPlan, type RowRefusal, SKIPPED } from './rowPlan.ts';
import { type Connection, quote } from './session.ts';
import type { StoredValue } from './values.ts';

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
const NOT_WHOLE: RowRefusal = {
  code: 'MISSING_BASE',
  reason: 'the update does not carry every column, and conflict: newestWins judges whole rows',
  mayPass: false,
};
type Statement = ReturnType<Connection['prepare']>;

export class MirrorPlan extends EncodingPlan implements RowPlan {
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
  readonly #meeting: Meeting | undefined;
  /** Rows may be outside ownership, marked, or the target's by its conflict policy: look before writing. */
  readonly #mustLook: boolean;
  readonly #isTriggered: boolean;
  readonly mayReplace: boolean;
  /** Prepared where it is asked for: nearly never. */
  readonly #giveUp: () => Statement | undefined;
  #givesUp: Statement | undefined;
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
    this.#meeting = Meeting.of(target, names, names.slice(keyColumns), where);
    this.#mustLook = owned !== undefined || marks !== undefined || this.#meeting !== undefined;
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
    // What the lane writes of a row that it owns is what stands there afterwards.
    const isPlain = marks === undefined && this.#meeting === undefined && !this.#isTriggered;
    this.mayReplace = isPlain && isWhole && target.found.referrers.length === 0;
    this.#giveUp = () => {
      const free = isPlain ? freeColumns(uniqueValues(target), key, names) : [];
      if (free.length === 0) return undefined;
      const nulls = free.map((name) => `${quote(name)} = NULL`).join(', ');
      return db.prepare(`UPDATE OR ABORT ${table} SET ${nulls} WHERE ${where} AND ${owned ?? '1'}`);
    };
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
    if (!Array.isArray(values)) return values;
    if (this.#outside?.(fields as StoredValue[])) return OUTSIDE;
    this.#meeting?.note(values, fields);
    return values;
  }

  write(kind: Kind, values: StoredValue[], wholeRow: boolean): Outcome | RowRefusal {
    return this.#mustLook ? this.#writeLooking(kind, values, wholeRow) : this.#writeStraight(kind, values, wholeRow);
  }

  giveUpValues(values: StoredValue[]): boolean {
    this.#givesUp ??= this.#giveUp();
    return this.#givesUp?.run(values.slice(0, this.#keyColumns)).changes === 1;
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
    const isThere = found !== undefined && !isMarked;
    const met = this.#meeting === undefined ? undefined : this.#meet(this.#meeting, kind, values, wholeRow, isThere);
    if (met !== undefined) return met;
    if (kind === 'delete') {
      if (!isThere) return 'deletedNothing';
      return this.#remove.run(key).changes === 1 ? 'deleted' : SKIPPED;
    }
    if (isThere) {
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

  /** What the conflict policy says of a row by itself; undefined where it is written as without one. */
  #meet(
    meeting: Meeting,
    kind: Kind,
    values: StoredValue[],
    wholeRow: boolean,
    isThere: boolean,
  ): Outcome | RowRefusal | undefined {
    if (!isThere) return kind === 'update' && meeting.isByTime ? 'keptTarget' : undefined;
    if (kind === 'delete') return meeting.isByTime ? undefined : 'keptTarget';
    if (kind === 'update' && !wholeRow && meeting.isByTime) return NOT_WHOLE;
    const key = values.slice(0, this.#keyColumns);
    if (!meeting.differs(key, values.slice(this.#keyColumns))) return 'unchanged';
    return meeting.takesPlace(values, key) ? undefined : 'keptTarget';
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

function uniqueValues({ db, found }: TargetColumns): UniqueValues {
  const indexes = readConstraints(db, found).flatMap((constraint) =>
    constraint.kind === 'UNIQUE' && constraint.columns !== undefined ? [constraint.columns] : [],
  );
  const nullable = found.columns.flatMap((column) => (column.nullable && !column.generated ? [column.name] : []));
  return { indexes, nullable: new Set(nullable), referrers: found.referrers };
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
