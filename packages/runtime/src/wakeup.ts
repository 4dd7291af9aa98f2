// A notification is a hint: whoever waits is woken early when there is work, and looks anyway when the time is up.
// A missed wake costs one poll, never a stall.

export interface Wakeup {
  /** There may be work. A wake before the wait is remembered. */
  wake(): void;
  /** Resolves on a wake, after `timeoutMs`, or when the signal aborts, whichever is first. */
  wait(timeoutMs: number, signal?: AbortSignal): Promise<void>;
}

export function createWakeup(): Wakeup {
  let isPending = false;
  const waiting = new Set<() => void>();
  return {
    wake() {
      if (waiting.size === 0) {
        isPending = true;
        return;
      }
      for (const release of [...waiting]) release();
    },
    async wait(timeoutMs, signal) {
      if (isPending || signal?.aborted === true) {
        isPending = false;
        return;
      }
      await new Promise<void>((resolve) => {
        const release = () => {
          clearTimeout(timer);
          waiting.delete(release);
          signal?.removeEventListener('abort', release);
          resolve();
        };
        const timer = setTimeout(release, timeoutMs);
        waiting.add(release);
        signal?.addEventListener('abort', release, { once: true });
      });
    },
  };
}
