// The fencing token of this start. Without one the agent captures but sends nothing: a clone of this node, or its own past
// restored from a backup, would otherwise write into the same lanes.

export interface Fence {
  /** The token of this process start; undefined until the hub gave one, and after another start was given a newer one. */
  token(): bigint | undefined;
  /** Resolves when there is a token, or early when the signal aborts. Asked before each publish: a token may be lost. */
  whenGiven(signal: AbortSignal): Promise<void>;
  /** Another start was given a newer token: there will be none here any more. */
  readonly isLost: boolean;
}

export interface FenceHolder extends Fence {
  give(token: bigint): void;
  /** The hub gave another process of this node a newer token: this one sends nothing more, takes nothing, and asks for no other. */
  lose(): void;
}

export function createFence(): FenceHolder {
  let token: bigint | undefined;
  let isLost = false;
  let given = Promise.withResolvers<void>();
  return {
    token: () => token,
    async whenGiven(signal) {
      if (token !== undefined || signal.aborted) return;
      const stopped = Promise.withResolvers<void>();
      const stop = () => stopped.resolve();
      signal.addEventListener('abort', stop, { once: true });
      await Promise.race([given.promise, stopped.promise]);
      signal.removeEventListener('abort', stop);
    },
    give(next) {
      token = next;
      given.resolve();
    },
    lose() {
      isLost = true;
      token = undefined;
      given = Promise.withResolvers<void>();
    },
    get isLost() {
      return isLost;
    },
  };
}
