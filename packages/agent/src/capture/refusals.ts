/** What one scan refuses at a table, counted under code and column; the first keys are remembered. */
import { RefusedCounts } from '@qiao/adapters';
import { REFUSED_KEPT, type RefusalStore, type RefusedKey } from '../exchange-database/refusals.ts';

export class Refusals {
  readonly #counts = new RefusedCounts();
  readonly #rows: RefusedKey[] = [];
  /** A cursor reads the end of a table only. */
  ofWholeTable = true;

  /** `key` as in the digests; undefined where the rows have none that can be told. */
  add(code: string, column: string, key: string | undefined, rows = 1): void {
    this.#counts.add({ code, column }, rows);
    if (key !== undefined && this.#rows.length < REFUSED_KEPT) this.#rows.push({ code, column, key });
  }

  /** In the transaction that finishes the scan. What a part of a table shows is added to what was known of the whole. */
  keep(store: RefusalStore, tableId: number): void {
    if (this.ofWholeTable) store.replace(tableId, this.#counts.list(), this.#rows);
    else store.extend(tableId, this.#rows);
  }
}
