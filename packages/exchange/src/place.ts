/**
 * Tables as places that a change passes on its way from node to node: a change never goes back to a table that it passed.
 */

/** One table of one node. */
export interface TablePlace {
  /** The node, by its identity or by its name: alike in all places that are compared. */
  readonly node: string;
  readonly dataSource: string;
  /** Undefined: the data source's standard one, which only the node knows. */
  readonly schema?: string | undefined;
  readonly table: string;
}

/** Places that a change passed before the table it is found in; the one where it was made first. */
export type Path = readonly TablePlace[];

/** How paths are written, in content and on disk. What is written otherwise is refused. */
export const PATH_FORMAT = 0;

/** The most places of one path: a ring of more tables is refused. */
export const PATH_MAX_PLACES = 16;

/** A schema left out may be the one that is named. */
export function isSameTable(one: TablePlace, other: TablePlace): boolean {
  return (
    one.node === other.node &&
    one.dataSource === other.dataSource &&
    one.table === other.table &&
    (one.schema === undefined || other.schema === undefined || one.schema === other.schema)
  );
}

/** The change passed this table on its way. */
export function hasPassed(path: Path, table: TablePlace): boolean {
  return path.some((place) => isSameTable(place, table));
}

/** Both passed the same tables in the same order. */
export function isSamePath(one: Path, other: Path): boolean {
  return one.length === other.length && one.every((table, index) => isSameTable(table, other[index] as TablePlace));
}
