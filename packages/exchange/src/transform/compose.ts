/** Columns made of others: several joined into one, one split into several. */
import type { Concatenate, Split } from './transform.ts';

type Field = string | null;

/** Null when every field is. */
export function concatenated(fields: readonly Field[], { separator }: Concatenate): Field {
  const present = fields.filter((field) => field !== null);
  return present.length === 0 ? null : present.join(separator);
}

/** The parts, one for each new column; undefined when the value has more or fewer. Nulls of null. */
export function splitParts(value: Field, { by, into }: Split): readonly Field[] | undefined {
  if (value === null) return into.map(() => null);
  if ('separator' in by) {
    const parts = value.split(by.separator);
    return parts.length === into.length ? parts : undefined;
  }
  const characters = Array.from(value);
  // A value that ends before the last place has no part behind it.
  if (characters.length <= (by.at.at(-1) ?? 0)) return undefined;
  return [0, ...by.at].map((start, index) => characters.slice(start, by.at[index]).join(''));
}
