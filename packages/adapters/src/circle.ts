/**
 * Rows that each hold a unique value which another of them is to get: no order of updates lands them. As a last try all of them are taken
 * out together and put in again; who is refused even so (its value belongs to a row outside) is left as it was, and the others try without.
 * Only where a row that goes takes nothing with it, and every column of it comes again: each adapter says so.
 */

/** Rounds in which the circle may shrink. */
const MOST_ROUNDS = 20;

/** One savepoint, and what is done under it; both give back the rows that are refused. */
export interface CirclePort<Row> {
  begin(): Promise<unknown>;
  undo(): Promise<unknown>;
  keep(): Promise<unknown>;
  /** A row that is not there is refused: it holds nothing. */
  remove(rows: readonly Row[]): Promise<readonly Row[]>;
  insert(rows: readonly Row[]): Promise<readonly Row[]>;
}

/** Gives back the rows that landed, each in the place of its former self; all others are as they were. */
export async function landCircle<Row>(rows: readonly Row[], port: CirclePort<Row>): Promise<readonly Row[]> {
  let circle = rows;
  for (let round = 0; round < MOST_ROUNDS && circle.length > 1; round++) {
    await port.begin();
    const unmoved = new Set(await port.remove(circle));
    const moved = circle.filter((row) => !unmoved.has(row));
    const refused = new Set(moved.length > 1 ? await port.insert(moved) : moved);
    if (moved.length > 1 && refused.size === 0) {
      await port.keep();
      return moved;
    }
    await port.undo();
    circle = moved.filter((row) => !refused.has(row));
  }
  return [];
}
