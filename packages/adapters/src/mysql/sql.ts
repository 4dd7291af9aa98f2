/**
 * Quoting for MySQL and MariaDB. Statements are written whole: the driver's placeholders would also find the question marks in
 * names of tables. Literals are safe only under the `sql_mode` and character set that `session.ts` fixes on every connection.
 */

/** A name as a quoted identifier. Throws RangeError for names that MySQL cannot hold (empty, NUL). */
export function identifier(name: string): string {
  if (name === '' || name.includes('\0')) throw new RangeError('a name must not be empty nor contain NUL');
  return `\`${name.replaceAll('`', '``')}\``;
}

/** Several names, comma separated; `qualifier` is written as it is in front of each, for example `t.`. */
export function identifiers(names: readonly string[], qualifier = ''): string {
  return names.map((name) => qualifier + identifier(name)).join(', ');
}

/** `` `database`.`name` ``. */
export function qualified(database: string, name: string): string {
  return `${identifier(database)}.${identifier(name)}`;
}

/** A text as a literal. */
export function literal(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''").replaceAll('\0', '\\0')}'`;
}

/** The bytes of an expression. Not the operator BINARY, which MySQL calls deprecated with a warning at every use. */
export function bytesOf(sql: string): string {
  return `CAST(${sql} AS BINARY)`;
}

/** Bytes as a literal of the binary character set. */
export function bytesLiteral(bytes: Uint8Array): string {
  return `x'${Buffer.from(bytes).toString('hex')}'`;
}
