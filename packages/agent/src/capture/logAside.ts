/** What fails in one bridge stops that one alone: it stands aside from the log for a moment, and is tried again. */
import { type Clock, describeError } from '@qiao/runtime';

/** A bridge that could not take its share of the log is tried again after this. */
const ASIDE_MS = 5_000;
/** Whoever follows again for so long is well, though nothing came: what failed may be on disk, or no longer wanted. */
const WELL_AFTER_MS = 5_000;

export interface LogTrouble {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

interface Aside extends LogTrouble {
  readonly triedAgainAtMs: number;
  /** Undefined while it stands aside. */
  followsSinceMs: number | undefined;
}

export class LogAside {
  readonly #clock: Clock;
  readonly #bridges = new Map<string, Aside>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  put(bridgeId: string, error: unknown): void {
    const { code, message, hint = '' } = describeError(error);
    const triedAgainAtMs = this.#clock.elapsedMs() + ASIDE_MS;
    this.#bridges.set(bridgeId, { code, message, hint, triedAgainAtMs, followsSinceMs: undefined });
  }

  /** It took its share, or shall take none now. */
  back(bridgeId: string): void {
    this.#bridges.delete(bridgeId);
  }

  /** All others are none of the log's any more. */
  keepOnly(bridgeIds: ReadonlySet<string>): void {
    for (const bridgeId of this.#bridges.keys()) if (!bridgeIds.has(bridgeId)) this.back(bridgeId);
  }

  /** Why it stands aside, or stood until it is tried again. */
  of(bridgeId: string): LogTrouble | undefined {
    return this.#bridges.get(bridgeId);
  }

  /** Whether the bridge may be followed; one that stood aside is tried from now on. */
  mayFollow(bridgeId: string): boolean {
    const aside = this.#bridges.get(bridgeId);
    if (aside === undefined) return true;
    const now = this.#clock.elapsedMs();
    if (now < aside.triedAgainAtMs) return false;
    aside.followsSinceMs ??= now;
    return true;
  }

  /** Takes back those that were tried again, and did not fail since. */
  forgive(): void {
    const now = this.#clock.elapsedMs();
    for (const [bridgeId, { followsSinceMs }] of this.#bridges) {
      if (followsSinceMs !== undefined && now - followsSinceMs >= WELL_AFTER_MS) this.back(bridgeId);
    }
  }

  /** A bridge is to be tried again. */
  get isDue(): boolean {
    const now = this.#clock.elapsedMs();
    return [...this.#bridges.values()].some(
      ({ triedAgainAtMs, followsSinceMs }) => followsSinceMs === undefined && triedAgainAtMs <= now,
    );
  }
}
