/** Turns of jobs: so many read whole tables of the source at once, and whoever only waits for another node takes none from the others. */
import type { Clock } from '@qiao/runtime';

export interface Turn {
  /** Reads here: for so long the job keeps its turn, whatever it waits for beside it. */
  reading<Read>(read: () => Promise<Read>): Promise<Read>;
  /** From here on the job only waits. */
  rest(): void;
  /** Resolves when the job may work again, or early when the signal aborts. */
  resume(signal: AbortSignal): Promise<void>;
}

const LOOK_AGAIN_MS = 250;

export class Turns {
  readonly #most: number;
  readonly #clock: Pick<Clock, 'sleep'>;
  /** Called when a turn became free. */
  readonly #onFree: () => void;
  readonly #working = new Set<JobTurn>();

  constructor(most: number, clock: Pick<Clock, 'sleep'>, onFree: () => void) {
    this.#most = most;
    this.#clock = clock;
    this.#onFree = onFree;
  }

  get areLeft(): boolean {
    return this.#working.size < this.#most;
  }

  /** A turn for a job that begins. */
  take(): JobTurn {
    const turn = new JobTurn(this);
    this.#working.add(turn);
    return turn;
  }

  /** Whether the job has its turn, now. */
  tryResume(turn: JobTurn): boolean {
    if (this.areLeft) this.#working.add(turn);
    return this.#working.has(turn);
  }

  free(turn: JobTurn): void {
    if (this.#working.delete(turn)) this.#onFree();
  }

  async pause(signal: AbortSignal): Promise<void> {
    await this.#clock.sleep(LOOK_AGAIN_MS, signal);
  }
}

class JobTurn implements Turn {
  readonly #turns: Turns;
  #isResting = false;
  #reads = 0;

  constructor(turns: Turns) {
    this.#turns = turns;
  }

  async reading<Read>(read: () => Promise<Read>): Promise<Read> {
    this.#reads += 1;
    try {
      return await read();
    } finally {
      this.#reads -= 1;
      this.#freeIfIdle();
    }
  }

  rest(): void {
    this.#isResting = true;
    this.#freeIfIdle();
  }

  async resume(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this.#turns.tryResume(this)) await this.#turns.pause(signal);
    this.#isResting = false;
  }

  /** The job is over. */
  end(): void {
    this.#turns.free(this);
  }

  #freeIfIdle(): void {
    if (this.#isResting && this.#reads === 0) this.#turns.free(this);
  }
}
