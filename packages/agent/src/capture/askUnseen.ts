/**
 * Rows that a whole scan did not meet, in a table of which the source could not give some: each is gone, or is one of those. So they are asked
 * for by their keys, in the same snapshot: who has a row there is not gone.
 */
import type { SourceSnapshot } from '@qiao/adapters';
import type { ExchangeDatabase } from '../exchange-database/index.ts';
import { isNameless } from './compare.ts';
import type { PlannedTable } from './plan.ts';
import type { Refusals } from './refusals.ts';
import { rowsOf } from './rowsByKey.ts';

/** Refused rows that are found one by one; of more of them the deletes are held. */
const MOST_REFUSED = 1_000;
const PAGE = 5_000;

export interface UnseenTable {
  readonly table: PlannedTable;
  readonly tableId: number;
  /** Rows that the source could not give. */
  readonly refused: number;
  /** It names them by their places, and does not know their keys. */
  readonly isByPlace: boolean;
  readonly refusals: Refusals;
}

/** Meets what is there. False: that cannot be told of this table, and no row may be called gone. Throws what reading threw. */
export async function askUnseen(
  { digests }: Pick<ExchangeDatabase, 'digests'>,
  snapshot: SourceSnapshot,
  { table, tableId, refused, isByPlace, refusals }: UnseenTable,
  stopIfAsked: () => void,
): Promise<boolean> {
  if (isByPlace || refused > MOST_REFUSED || table.cursor !== undefined || !table.transform.keepsKeys) return false;
  for (let after = ''; ; ) {
    const page = digests.unseenAfter(tableId, after, PAGE);
    const last = page.at(-1);
    if (last === undefined) return true;
    [after] = last;
    const keys = new Map(page.flatMap(([key]) => (isNameless(key) ? [] : [[textOf(table, key), key]])));
    const reading = rowsOf(table.read, [...keys.keys()], snapshot);
    const gone = new Set<string>();
    for (;;) {
      const next = await reading.next();
      stopIfAsked();
      if (next.done === true) {
        for (const text of next.value) gone.add(text);
        break;
      }
      const { refusedKey, refused: found = [] } = next.value;
      const key = refusedKey === undefined ? undefined : keys.get(refusedKey);
      const [first] = found;
      if (key !== undefined && first !== undefined) refusals.name(first.code, first.column, key);
    }
    for (const [text, key] of keys) if (!gone.has(text)) digests.meetUnseen(tableId, key);
  }
}

/** As the source has it. */
function textOf(table: PlannedTable, key: string): string {
  return table.keys.decode(key).toString('utf8').slice(0, -1);
}
