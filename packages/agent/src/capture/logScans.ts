/** Bridges that stand aside from the log while they are scanned: what each waits for, and what its scan has to see. */
import type { LogTransaction } from '@qiao/adapters';
import { parseId } from '@qiao/exchange';
import { logOf } from './logPlan.ts';
import type { CapturePorts } from './ports.ts';

const HORIZON_LOOK_AGAIN_MS = 200;
/** Transactions remembered that a snapshot may not see yet although the log has them: as many as may commit at one time. */
const RECENT = 10_000;

/** A bridge's log while it is scanned. Disposed of, it is followed again. */
export interface LogScan extends AsyncDisposable {
  /** Whether the snapshot sees everything that the log has given. */
  isWhole(seen: string): boolean;
  /** Its log was given up meanwhile for what the database kept of it: another scan is owed when this one ends. */
  readonly isGivenUp: boolean;
  /** In the transaction that finishes the scan. */
  finish(seen: string): void;
}

interface Waiting {
  readonly granted: PromiseWithResolvers<void>;
  isGranted: boolean;
  isGivenUp: boolean;
  /** `owesNumber` when it was granted: what is owed later is not answered by this scan. */
  number: number;
}

export class LogScans {
  readonly #ports: CapturePorts;
  readonly #source: string;
  readonly #waiting = new Map<string, Waiting>();
  readonly #horizons = new Map<string, string>();
  #recent: LogTransaction[] = [];

  constructor(ports: CapturePorts, source: string) {
    this.#ports = ports;
    this.#source = source;
  }

  /** The bridge is scanned, or waits for that. */
  has(bridgeId: string): boolean {
    return this.#waiting.has(bridgeId);
  }

  isGranted(bridgeId: string): boolean {
    return this.#waiting.get(bridgeId)?.isGranted === true;
  }

  /** The scan under way will answer what the bridge owes. */
  answers(bridgeId: string, owesNumber: number): boolean {
    const waiting = this.#waiting.get(bridgeId);
    return waiting?.isGranted === true && waiting.number === owesNumber;
  }

  /** The next scan of the bridge waits until every transaction before this has ended. */
  waitFor(bridgeId: string, horizon: string): void {
    this.#horizons.set(bridgeId, horizon);
  }

  /** Its log is kept no more. */
  giveUp(bridgeId: string): void {
    const waiting = this.#waiting.get(bridgeId);
    if (waiting?.isGranted === true) waiting.isGivenUp = true;
  }

  remember(transaction: LogTransaction): void {
    if (this.#recent.at(-1) === transaction) return;
    this.#recent.push(transaction);
    if (this.#recent.length >= 2 * RECENT) this.#recent = this.#recent.slice(-RECENT);
  }

  /** Another log is there: no snapshot of its database sees the transactions of this one. */
  forget(): void {
    this.#recent = [];
  }

  /** The log is kept, and no bridge that waits is followed: their scans may begin, but of those that cannot be followed. */
  grant(unfit: ReadonlyMap<string, Error>): void {
    for (const [bridgeId, waiting] of this.#waiting) {
      const error = unfit.get(bridgeId);
      if (error !== undefined) waiting.granted.reject(error);
      else if (!waiting.isGranted) {
        const state = this.#ports.database.logs.get(parseId(bridgeId));
        if (state === undefined) continue;
        waiting.isGranted = true;
        waiting.number = state.owesNumber;
        waiting.granted.resolve();
      }
    }
  }

  /** Whoever waits for a scan is told why there is none. */
  refuse(error: unknown): void {
    for (const { granted, isGranted } of this.#waiting.values()) if (!isGranted) granted.reject(error);
  }

  /** Takes the bridge out of the log. `lookAgain`: who is followed has changed. Throws what keeps the log from being read. */
  async hold(bridgeId: string, signal: AbortSignal, lookAgain: () => void): Promise<LogScan> {
    const waiting: Waiting = { granted: Promise.withResolvers(), isGranted: false, isGivenUp: false, number: 0 };
    this.#waiting.set(bridgeId, waiting);
    const release = () => {
      this.#waiting.delete(bridgeId);
      lookAgain();
    };
    const abort = () => waiting.granted.reject(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
    try {
      lookAgain();
      await waiting.granted.promise;
      await this.#passHorizon(bridgeId, signal);
    } catch (error) {
      release();
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
    const id = parseId(bridgeId);
    const recent = [...this.#recent];
    return {
      get isGivenUp() {
        return waiting.isGivenUp;
      },
      isWhole: (seen) => recent.every((transaction) => transaction.isSeen(seen)),
      finish: (seen) => this.#ports.database.logs.scanned(id, seen, waiting.number),
      [Symbol.asyncDispose]: async () => release(),
    };
  }

  async #passHorizon(bridgeId: string, signal: AbortSignal): Promise<void> {
    const horizon = this.#horizons.get(bridgeId);
    if (horizon === undefined) return;
    const log = logOf(await this.#ports.dataSources.open(this.#source));
    while (!(await log.isPast(horizon))) {
      await this.#ports.clock.sleep(HORIZON_LOOK_AGAIN_MS, signal);
      signal.throwIfAborted();
    }
    if (this.#horizons.get(bridgeId) === horizon) this.#horizons.delete(bridgeId);
  }
}
