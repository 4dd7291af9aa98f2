// Owns whether this hub may route. One that was restored from a backup knows less than its nodes: until a person has confirmed what
// was collected, it routes nothing, changes nothing and hands out no configuration. The state lies in the store, so that a restart,
// or another replica, holds too.

import type { Clock, Log, Part } from '@qiao/runtime';
import { appendAudit } from '../audit/audit.ts';
import type { HubDatabase } from '../hubDatabase.ts';

export interface HoldPorts {
  readonly store: HubDatabase;
  readonly clock: Clock;
  readonly log: Log;
}

/** How often a replica looks whether another one noticed or confirmed. */
const LOOK_EVERY_MS = 2_000;

export class Hold implements Part {
  readonly name = 'hold';
  readonly #ports: HoldPorts;
  #isHeld = false;
  #began = new AbortController();
  #released = Promise.withResolvers<void>();
  #onReleased: () => void = () => {};

  constructor(ports: HoldPorts) {
    this.#ports = ports;
    this.#released.resolve();
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Reads the state anew. */
  async load(): Promise<void> {
    const row = await this.#ports.store.selectFrom('hub_state').select('held_since_ms').executeTakeFirst();
    this.#set((row?.held_since_ms ?? 0) > 0);
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#ports.clock.sleep(LOOK_EVERY_MS, signal);
      await this.load();
    }
  }

  /** Begins holding; durable when it resolves. Tokens of the backup end: one of them may have been used since. */
  async begin(reason: string): Promise<void> {
    const { store, clock, log } = this.#ports;
    const nowMs = clock.nowMs();
    await store.transaction().execute(async (transaction) => {
      const state = await transaction
        .updateTable('hub_state')
        .set({ held_since_ms: nowMs, held_reason: reason.slice(0, 500) })
        .where('held_since_ms', '=', 0)
        .returning(['generation', 'number'])
        .executeTakeFirst();
      if (state === undefined) return;
      await transaction.updateTable('hub_state').set({ backup_number: state.number }).execute();
      await transaction.deleteFrom('tokens').where('used_at_ms', 'is', null).execute();
      for (const table of ['restore_report', 'restore_bridge', 'restore_lane', 'restore_learned'] as const) {
        await transaction.deleteFrom(table).execute();
      }
      await appendAudit(transaction, {
        atMs: nowMs,
        actor: 'hub',
        action: 'hub.hold',
        subject: 'hub',
        success: true,
        detail: { reason: reason.slice(0, 500), generation: state.generation, number: state.number },
      });
    });
    log.warn({ reason }, 'this hub was restored: nothing is routed until a person confirms (qiao hub confirm)');
    this.#set(true);
  }

  /** The store says that a person confirmed. */
  release(): void {
    this.#set(false);
  }

  /** Called whenever routing may go on again, here or by the word of another replica. */
  onReleased(listener: () => void): void {
    this.#onReleased = listener;
  }

  /** Messages as `consume` gives them, but none while holding. */
  async *gate<T>(signal: AbortSignal, consume: (signal: AbortSignal) => AsyncIterable<T>): AsyncGenerator<T> {
    const stopped = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    while (!signal.aborted) {
      if (this.#isHeld) {
        await Promise.race([this.#released.promise, stopped]);
        continue;
      }
      const until = AbortSignal.any([signal, this.#began.signal]);
      for await (const one of consume(until)) {
        // Taken and not judged: it stays on the bus and comes again.
        if (until.aborted) break;
        yield one;
      }
    }
  }

  #set(isHeld: boolean): void {
    if (isHeld === this.#isHeld) return;
    this.#isHeld = isHeld;
    if (isHeld) {
      this.#released = Promise.withResolvers<void>();
      this.#began.abort();
    } else {
      this.#began = new AbortController();
      this.#released.resolve();
      this.#onReleased();
    }
  }
}
