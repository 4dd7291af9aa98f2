// What happened in a seed, in order, as a person reads it after a failure: faults, heals, what was observed.

export interface Moment {
  /** Since the bridges of the seed were started, milliseconds. */
  readonly atMs: number;
  readonly what: string;
}

export class Timeline {
  readonly #startedMs: number;
  readonly #moments: Moment[] = [];

  constructor(startedMs: number) {
    this.#startedMs = startedMs;
  }

  get sinceMs(): number {
    return performance.now() - this.#startedMs;
  }

  add(what: string): void {
    this.#moments.push({ atMs: Math.round(this.sinceMs), what });
  }

  get moments(): readonly Moment[] {
    return this.#moments;
  }
}
