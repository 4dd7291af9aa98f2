/**
 * What both landings share: a row's fields become values to bind, or a refusal that names no value.
 */
import { type Kind, type Outcome, QiaoError } from '@qiao/exchange';
import type { Column } from './columns.ts';
import { type StoredValue, Unfit } from './values.ts';

/** Why one row is not applied; never with a value in it. */
export interface RowRefusal {
  readonly code: string;
  readonly reason: string;
  /** Another order may help. */
  readonly mayPass: boolean;
}

export interface RowPlan {
  /** Values to bind, or the refusal of a field that does not fit. Throws DELIVERY_INVALID when the line has another number of fields. */
  encode(fields: readonly (string | null)[]): StoredValue[] | RowRefusal;
  /** Writes one row. Throws what SQLite throws. */
  write(kind: Kind, values: StoredValue[], wholeRow: boolean): Outcome | RowRefusal;
  /** Makes the unique values of the row free by null, until it is written. False where that cannot be; throws what SQLite throws. */
  giveUpValues(values: StoredValue[]): boolean;
  /** Whether a row may be deleted and inserted again: nothing goes with it, and every column of it comes back. */
  readonly mayReplace: boolean;
  /** True when a row with these key values refers to a parent that is not there. */
  isOrphan(values: StoredValue[]): boolean;
}

export abstract class EncodingPlan {
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
    const values: StoredValue[] = [];
    for (let i = 0; i < columns.length; i++) {
      const field = fields[i] as string | null;
      if (field === null) {
        values.push(null);
        continue;
      }
      const column = columns[i] as Column;
      const value = column.write(field);
      if (value instanceof Unfit) {
        return { code: 'VALUE_INVALID', reason: `column ${column.column.name}: ${value.why}`, mayPass: false };
      }
      values.push(value);
    }
    return values;
  }
}

/** BEFORE triggers may raise IGNORE. */
export const SKIPPED: RowRefusal = {
  code: 'TRIGGER_REFUSED',
  reason: 'a trigger of the table passed over the row without an error',
  mayPass: false,
};
