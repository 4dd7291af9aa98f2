/** Finds the rows of named keys (S6 of adapter.ts). */
import type { SnapshotTable } from '../adapter.ts';
import { identifier } from './sql.ts';

/** The condition under which a row has one of these keys. `literal` quotes a value, for COPY takes no parameters. */
export function keyCondition(
  { columns, keyColumns }: SnapshotTable,
  keys: readonly (readonly string[])[],
  literal: (text: string) => string,
): string {
  const names = columns.slice(0, keyColumns).map(({ name }) => identifier(name));
  if (keys.length === 0) return 'false';
  // Literals of unknown type are read as the columns' own, so that an index serves.
  const row = (fields: readonly string[]) => (fields.length === 1 ? fields.join() : `(${fields.join(', ')})`);
  return `${row(names)} IN (${keys.map((key) => row(key.map(literal))).join(', ')})`;
}
