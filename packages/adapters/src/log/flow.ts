/** Pieces on their way from a socket to whoever takes them. Past a bound the socket is left alone, and the server waits. */
import type { LogPiece } from '../adapter.ts';

/** Decoded and not taken. */
const MOST_WAITING_BYTES = 8 * 1024 * 1024;

/** Where pieces come from. */
interface Source {
  readonly bytes: number;
  take(): LogPiece[];
}

export class LogFlow {
  readonly #source: Source;
  readonly #socket: () => { pause(): void; resume(): void } | undefined;
  #isPaused = false;
  #isOver = false;
  #isNudged = false;
  #failure: unknown;
  #wake = () => {};

  constructor(source: Source, socket: () => { pause(): void; resume(): void } | undefined) {
    this.#source = source;
    this.#socket = socket;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Why it is over. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Until it is over: then it throws why. */
  async *pieces(): AsyncGenerator<readonly LogPiece[]> {
    for (;;) {
      const pieces = this.#source.take();
      if (this.#isPaused && this.#source.bytes < MOST_WAITING_BYTES) {
        this.#isPaused = false;
        this.#socket()?.resume();
      }
      if (pieces.length > 0 || this.#isNudged) {
        this.#isNudged = false;
        yield pieces;
        continue;
      }
      if (this.#isOver) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Something was decoded. True when the socket is left alone from now on. */
  arrived(): boolean {
    const isFull = this.#source.bytes >= MOST_WAITING_BYTES && !this.#isPaused;
    if (isFull) {
      this.#isPaused = true;
      this.#socket()?.pause();
    }
    this.#wake();
    return isFull;
  }

  /** The next pieces are given at once, be they none. */
  nudge(): void {
    this.#isNudged = true;
    this.#wake();
  }

  /** False when it was over already. */
  end(failure: unknown): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#failure = failure;
    this.#wake();
    return true;
  }
}
