/**
 * Rows that are likely to be new go straight into their table; when one is there already all of them take the way through a stage, row by
 * row. Remembers per table how well guessing went.
 */
import { RowRefusal, type Savepoints } from './sectionPort.ts';

/** After a conflict the straight way is not tried for this many sections of the table, doubling to the highest. */
const FIRST_DETOUR = 4;
const LONGEST_DETOUR = 256;
const MOST_TABLES = 10_000;

export class StraightWay {
  readonly #detours = new Map<string, { left: number; next: number }>();

  /** True when `land` took every row; otherwise nothing of them stays. `land` answers false when a row was swallowed. */
  async take(table: string, savepoints: Savepoints, land: () => Promise<boolean>): Promise<boolean> {
    const detour = this.#detours.get(table);
    if (detour !== undefined && detour.left > 0) {
      detour.left -= 1;
      return false;
    }
    await savepoints.set('qiao_straight');
    try {
      if (await land()) {
        await savepoints.release('qiao_straight');
        this.#detours.delete(table);
        return true;
      }
    } catch (error) {
      if (!(error instanceof RowRefusal) || error.code !== 'UNIQUE') throw error;
    }
    await savepoints.drop('qiao_straight');
    const next = detour?.next ?? FIRST_DETOUR;
    if (this.#detours.size > MOST_TABLES) this.#detours.clear();
    this.#detours.set(table, { left: next, next: Math.min(next * 2, LONGEST_DETOUR) });
    return false;
  }
}
