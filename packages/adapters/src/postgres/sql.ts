/**
 * Quoting of names for PostgreSQL. Names are the only thing ever written into a statement; values are always bound
 * parameters.
 */

/** A name as a quoted identifier. Throws RangeError for names that PostgreSQL cannot hold (empty, NUL). */
export function identifier(name: string): string {
  if (name === '' || name.includes('\0')) throw new RangeError('a name must not be empty nor contain NUL');
  return `"${name.replaceAll('"', '""')}"`;
}

/** Several names, comma separated; `qualifier` is written as it is in front of each, for example `t.`. */
export function identifiers(names: readonly string[], qualifier = ''): string {
  return names.map((name) => qualifier + identifier(name)).join(', ');
}

/** `"schema"."name"`. */
export function qualified(schema: string, name: string): string {
  return `${identifier(schema)}.${identifier(name)}`;
}
