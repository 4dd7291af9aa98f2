// Owns how much is under way inside the router: a bound on messages and bytes taken from the bus and not yet ended, and the
// order inside a lane. Parallel across keys, one after the other within a key; nothing here grows with the backlog.

export interface InFlightLimits {
  readonly messages: number;
  readonly bytes: number;
}

export class InFlight {
  readonly #limits: InFlightLimits;
  readonly #tails = new Map<string, Promise<void>>();
  #messages = 0;
  #bytes = 0;
  #waiting: (() => void) | undefined;

  constructor(limits: InFlightLimits) {
    this.#limits = limits;
  }

  /** Resolves when there is room for one more of this size; one message is always let in, however large. One caller at a time. */
  async enter(bytes: number): Promise<void> {
    while (
      this.#messages > 0 &&
      (this.#messages >= this.#limits.messages || this.#bytes + bytes > this.#limits.bytes)
    ) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
    this.#messages += 1;
    this.#bytes += bytes;
  }

  leave(bytes: number): void {
    this.#messages -= 1;
    this.#bytes -= bytes;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }

  /** Runs `step` after every earlier step of the same key. Steps must not reject. */
  inOrder(key: string, step: () => Promise<void>): void {
    const before = this.#tails.get(key);
    const tail = before === undefined ? step() : before.then(step);
    this.#tails.set(key, tail);
    void tail.then(() => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    });
  }

  /** Resolves when everything that entered has left. */
  async drain(): Promise<void> {
    while (this.#messages > 0) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
  }
}
