// Pauses between attempts: they double from `firstMs` to `mostMs`, with a quarter of jitter so that a fleet does not knock in step.

export interface Backoff {
  /** The next pause in milliseconds. */
  next(): number;
  /** Progress was made: begin again at the first pause. */
  reset(): void;
}

export interface BackoffOptions {
  readonly firstMs?: number;
  readonly mostMs?: number;
  /** 0 (inclusive) to 1 (exclusive); handed in so that a test can fix it. */
  readonly random?: () => number;
}

export function createBackoff({ firstMs = 200, mostMs = 30_000, random = Math.random }: BackoffOptions = {}): Backoff {
  let pauseMs = firstMs;
  return {
    next() {
      const jittered = pauseMs * (0.75 + random() / 4);
      pauseMs = Math.min(pauseMs * 2, mostMs);
      return Math.round(jittered);
    },
    reset() {
      pauseMs = firstMs;
    },
  };
}
