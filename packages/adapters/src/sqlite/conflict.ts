/**
 * Which of two rows of a key stays under a conflict policy (R9 of port/target.ts). Compared in JavaScript by canonical text, as filters
 * are: SQLite's own order of decimals and dates kept as text is another than that of the other end.
 */
import { comparable, compareValues, decidingColumns } from '@qiao/exchange';
import { cellReader, Refusal } from './cells.ts';
import { schemaError, type TargetColumns } from './columns.ts';
import { type Connection, quote } from './session.ts';
import type { StoredValue } from './values.ts';

type Statement = ReturnType<Connection['prepare']>;

/** Where an incoming row meets one that is there and not marked as deleted. */
export class Meeting {
  readonly isByTime: boolean;
  readonly #differs: Statement | undefined;
  readonly #read: Statement | undefined;
  readonly #deciding: readonly {
    readonly at: number;
    readonly compare: (theirs: string | null, here: unknown) => number;
  }[];
  /** Texts of the rows to be written, which are bound as values. */
  readonly #texts = new WeakMap<StoredValue[], readonly (string | null)[]>();

  /** Undefined where whatever comes takes the place. `where` finds the row by its key, of which `rest` are the other columns. */
  static of(
    target: TargetColumns,
    names: readonly string[],
    rest: readonly string[],
    where: string,
  ): Meeting | undefined {
    const { conflict = 'sourceWins' } = target.target;
    return conflict === 'sourceWins' ? undefined : new Meeting(target, conflict, names, rest, where);
  }

  private constructor(
    target: TargetColumns,
    conflict: 'targetWins' | { newestWins: string },
    names: readonly string[],
    rest: readonly string[],
    where: string,
  ) {
    this.isByTime = typeof conflict === 'object';
    const { db, table } = target;
    if (rest.length > 0) {
      const differs = rest.map((name) => `${quote(name)} COLLATE BINARY IS NOT ?`).join(' OR ');
      this.#differs = db.prepare(`SELECT 1 FROM ${table} WHERE ${where} AND (${differs})`);
    }
    this.#deciding = [];
    // Deletes and updates without every column are not judged by their time.
    if (typeof conflict === 'string' || !names.includes(conflict.newestWins)) return;
    const deciding = decidingColumns(conflict.newestWins, names);
    const readers = deciding.map((name) => {
      const { column } = target.column(name);
      return { ...cellReader(name, column.type, column.declared), type: column.type };
    });
    this.#read = db
      .prepare(`SELECT ${readers.map((each) => each.select(true)).join(', ')} FROM ${table} WHERE ${where}`)
      .raw();
    this.#deciding = readers.map(({ name, type, text }) => ({
      at: names.indexOf(name),
      compare: (theirs, here) => {
        const stored = here === null ? null : text(here);
        // What cannot be read as the column's type counts as no value.
        const known = stored instanceof Refusal ? null : stored;
        if (theirs === null || known === null) return Number(theirs !== null) - Number(known !== null);
        return compareValues(comparable(type, theirs), comparable(type, known));
      },
    }));
  }

  /** Remembers the texts of a row that is to be written. */
  note(values: StoredValue[], texts: readonly (string | null)[]): void {
    if (this.#deciding.length > 0) this.#texts.set(values, texts);
  }

  /** Whether the row that is there is stored otherwise. */
  differs(key: StoredValue[], rest: StoredValue[]): boolean {
    return this.#differs?.get([...key, ...rest]) !== undefined;
  }

  /** Whether the row takes the place of the one that is there, from which it differs. */
  takesPlace(values: StoredValue[], key: StoredValue[]): boolean {
    const texts = this.#texts.get(values);
    if (this.#read === undefined || texts === undefined) {
      if (!this.isByTime) return false;
      throw schemaError('conflict: newestWins goes by a column that the rows do not carry');
    }
    const here = this.#read.get(key) as unknown[];
    for (const [place, { at, compare }] of this.#deciding.entries()) {
      const order = compare(texts[at] ?? null, here[place]);
      if (order !== 0) return order > 0;
    }
    return false;
  }
}
