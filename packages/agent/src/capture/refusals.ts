/** What one scan refuses at a table, counted under code and column; the first keys are remembered. */
import { RefusedCounts } from '@qiao/adapters';
import { REFUSED_KEPT, type RefusalStore, type RefusedKey } from '../exchange-database/refusals.ts';

export class Refusals {
  readonly #counts = new RefusedCounts();
  readonly #rows: RefusedKey[] = [];
  readonly #known: ReadonlySet<string>;
  readonly #again = new Set<string>();
  readonly #nameless = new RefusedCounts();
  #more: number | undefined;
  /** A cursor reads the end of a table only, and a trigger names single rows. */
  ofWholeTable: boolean;

  /** `known`: keys of rows that were refused before. */
  constructor(known: ReadonlySet<string> = new Set(), ofWholeTable = true) {
    this.#known = known;
    this.ofWholeTable = ofWholeTable;
  }

  /** These rows are looked at one by one: what is not refused this time travels, or is gone. */
  lookAt(keys: readonly string[]): void {
    for (const key of keys) if (this.#known.has(key)) this.#again.add(key);
  }

  /** A row that was refused before does not count as such any more, unless it is added anew. */
  lookAgain(key: string): void {
    this.#again.add(key);
  }

  get isAnyKnown(): boolean {
    return this.#known.size > 0;
  }

  /** `key` as in the digests; undefined where the rows have none that can be told. */
  add(code: string, column: string, key: string | undefined, rows = 1): void {
    this.#counts.add({ code, column }, rows);
    if (key === undefined) this.#nameless.add({ code, column }, rows);
    else this.name(code, column, key);
  }

  /** A row that was counted before its key was known. */
  name(code: string, column: string, key: string): void {
    if (this.#rows.length < REFUSED_KEPT) this.#rows.push({ code, column, key });
  }

  /** What a cursor's reading of a part counts without keys: so many rows that no reading before it had met. */
  ofPart(more: number): void {
    this.#more = more;
  }

  /** In the transaction that finishes the scan. What a part of a table shows is added to what was known of the whole. */
  keep(store: RefusalStore, tableId: number): void {
    if (this.ofWholeTable) return store.replace(tableId, this.#counts.list(), this.#rows);
    if (this.#again.size > 0) store.forget(tableId, this.#again);
    store.extend(tableId, this.#rows);
    if (this.#more !== undefined) store.count(tableId, this.#nameless.list(), this.#more);
  }
}
