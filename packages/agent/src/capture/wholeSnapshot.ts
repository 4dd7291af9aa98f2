/** Snapshots that see what the log has given: a commit is in the log a moment before others see it. */
import type { DataSource, SourceSnapshot } from '@qiao/adapters';
import type { CapturePorts } from './ports.ts';

const LOOK_AGAIN_MS = 50;

/** What a snapshot has to see. */
export interface Whole {
  isWhole(seen: string): boolean;
}

/** Waits for a snapshot that is whole. Throws what the source throws, and the reason of the signal. */
export async function wholeSnapshot(
  { limits, clock }: Pick<CapturePorts, 'limits' | 'clock'>,
  dataSource: DataSource,
  { isWhole }: Whole,
  signal: AbortSignal,
): Promise<{ snapshot: SourceSnapshot; seen: string }> {
  for (;;) {
    signal.throwIfAborted();
    const snapshot = await dataSource.snapshot({ signal, maxMs: limits.snapshotMaxMs });
    try {
      const seen = await snapshot.seen?.();
      if (seen !== undefined && isWhole(seen)) return { snapshot, seen };
    } catch (error) {
      await snapshot[Symbol.asyncDispose]();
      throw error;
    }
    await snapshot[Symbol.asyncDispose]();
    await clock.sleep(LOOK_AGAIN_MS, signal);
  }
}
