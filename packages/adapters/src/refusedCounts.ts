/** Rows that cannot be carried, counted under a code and the column that it is about (S3). */
import type { RefusedRows } from './adapter.ts';

export class RefusedCounts {
  readonly #counts = new Map<string, RefusedRows & { count: number }>();

  /** `first`: where the first of them stands, if that has a name. */
  add({ code, column, first }: { code: string; column: string; first?: string | undefined }, count = 1): void {
    const name = `${code} ${column}`;
    const found = this.#counts.get(name);
    if (found === undefined) this.#counts.set(name, { code, column, count, first });
    else found.count += count;
  }

  get isEmpty(): boolean {
    return this.#counts.size === 0;
  }

  list(): RefusedRows[] {
    return [...this.#counts.values()];
  }
}
