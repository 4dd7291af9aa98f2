/**
 * The steps that a bridge may write under `transform:`, resolved. What each does to the columns of a table is columns.ts, what it
 * does to a row compile.ts and the file of its name; how operators write it is transformSchema.ts.
 */
import type { Check } from '../checks/check.ts';
import type { ColumnType } from '../columnType.ts';

export type Transform =
  | { rename: Record<string, string> }
  | { constant: Constant }
  | { concatenate: Concatenate }
  | { split: Split }
  | { cast: Cast }
  | { dateFormat: DateFormat }
  | { dictionary: Dictionary }
  | { mask: Mask }
  | { hash: Hash }
  | { generalise: Generalise }
  | { normalise: Normalise }
  | { default: Default }
  | { drop: string[] }
  /** A check of what the column holds at this step: before a mask or a hash covers it. */
  | { check: Check };

/** A new column that holds the same value in every row. */
export interface Constant {
  column: string;
  value: string;
  type?: ColumnType;
}

/** A new column of several others, whose fields that are null are left out together with their separator. */
export interface Concatenate {
  columns: string[];
  into: string;
  separator: string;
}

/** New columns out of the parts of one: between separators, or up to these places, counted in characters. */
export interface Split {
  column: string;
  by: { separator: string } | { at: number[] };
  into: string[];
}

/** The same value as another type; a value that would have to be altered is refused. */
export interface Cast {
  column: string;
  to: ColumnType;
}

/** Dates written one way into dates written another. Without `from` the column holds dates or timestamps. */
export interface DateFormat {
  column: string;
  from?: string;
  to: string;
}

export interface Dictionary {
  column: string;
  map: Record<string, string>;
  otherwise: 'refuse' | 'keep' | 'null';
}

/** Covers what is between the first and the last characters. */
export interface Mask {
  column: string;
  keepFirst: number;
  keepLast: number;
  with: string;
}

/** A keyed hash in the place of the value: the same for the same value and scope at one node, and nothing to anybody else. */
export interface Hash {
  column: string;
  /** Bridges that shall be able to join their rows write the same scope. Default: the bridge's name. */
  scope: string;
  /** Hexadecimal digits that are kept. */
  digits: number;
}

/** Only the larger unit that the value lies in. */
export interface Generalise {
  column: string;
  to: 'year' | 'month' | 'province' | 'city' | 'district';
}

export interface Normalise {
  column: string;
  to: NormalForm[];
}

/** In the order in which they are applied: a full-width dot is a dot first, a number has no blanks around it. */
export const NORMAL_FORMS = ['ethnicName', 'halfWidth', 'fullWidth', 'trimmed', 'idNumber'] as const;
export type NormalForm = (typeof NORMAL_FORMS)[number];

/** A value for fields that are null or blank. */
export interface Default {
  column: string;
  value: string;
}

/** Hashes under the node's own key; the key stays behind this function. */
export type Hasher = (scope: string, text: string) => string;
