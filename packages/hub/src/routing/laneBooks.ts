// Owns where each lane stands at the hub: the highest epoch, durable before its first message is forwarded, and counters,
// written in batches. A crash leaves counters a second behind and never an epoch.

import type { HubDatabase } from '../hubDatabase.ts';

export interface LanePlace {
  readonly highestEpoch: bigint;
  /** Nonce of that epoch; undefined before the first. */
  readonly nonce: Uint8Array | undefined;
}

interface LaneBook {
  highestEpoch: bigint;
  nonce: Uint8Array | undefined;
  routedSequence: bigint;
  routedDeliveries: number;
  refusedDeliveries: number;
  isDirty: boolean;
}

/** How far past the highest known a new epoch may be: a restored hub is behind, but one word must not use the ordinals up. */
export const MOST_EPOCHS_AHEAD = 1n << 20n;

const NONE: LanePlace = { highestEpoch: 0n, nonce: undefined };

export class LaneBooks {
  readonly #store: HubDatabase;
  readonly #books = new Map<string, LaneBook>();

  constructor(store: HubDatabase) {
    this.#store = store;
  }

  /** Takes in lanes it does not know yet; those it knows stand where memory says. */
  async load(): Promise<void> {
    const rows = await this.#store.selectFrom('lanes').selectAll().execute();
    for (const row of rows) {
      if (this.#books.has(row.id)) continue;
      this.#books.set(row.id, {
        highestEpoch: BigInt(row.highest_epoch),
        nonce: row.highest_nonce ?? undefined,
        routedSequence: BigInt(row.routed_sequence),
        routedDeliveries: row.routed_deliveries,
        refusedDeliveries: row.refused_deliveries,
        isDirty: false,
      });
    }
  }

  place(laneId: string): LanePlace {
    return this.#books.get(laneId) ?? NONE;
  }

  /** Makes a higher epoch the lane's; durable when it resolves. A lower, known or unbelievably high one changes nothing. */
  async openEpoch(laneId: string, ordinal: bigint, nonce: Uint8Array): Promise<void> {
    const book = this.#books.get(laneId);
    if (book === undefined || ordinal <= book.highestEpoch) return;
    if (ordinal > book.highestEpoch + MOST_EPOCHS_AHEAD) return;
    await this.#store
      .updateTable('lanes')
      .set({ highest_epoch: Number(ordinal), highest_nonce: nonce, routed_sequence: 0 })
      .where('id', '=', laneId)
      .where('highest_epoch', '<', Number(ordinal))
      .execute();
    if (ordinal <= book.highestEpoch) return;
    book.highestEpoch = ordinal;
    book.nonce = nonce;
    book.routedSequence = 0n;
  }

  /** Counts a delivery that was forwarded for the first time; a resend of an earlier sequence is none. */
  countRouted(laneId: string, epoch: bigint, sequence: bigint): void {
    const book = this.#books.get(laneId);
    if (book === undefined || epoch !== book.highestEpoch || sequence <= book.routedSequence) return;
    book.routedSequence = sequence;
    book.routedDeliveries += 1;
    book.isDirty = true;
  }

  countRefused(laneId: string): void {
    const book = this.#books.get(laneId);
    if (book === undefined) return;
    book.refusedDeliveries += 1;
    book.isDirty = true;
  }

  /** Writes the counters that moved, in one transaction. */
  async flush(): Promise<void> {
    const dirty = [...this.#books].filter(([, book]) => book.isDirty);
    if (dirty.length === 0) return;
    // Marked clean first: what is counted while this is written is written next time.
    for (const [, book] of dirty) book.isDirty = false;
    try {
      await this.#store.transaction().execute(async (store) => {
        for (const [id, book] of dirty) {
          await store
            .updateTable('lanes')
            .set({
              routed_sequence: Number(book.routedSequence),
              routed_deliveries: book.routedDeliveries,
              refused_deliveries: book.refusedDeliveries,
            })
            .where('id', '=', id)
            .execute();
        }
      });
    } catch (error) {
      for (const [, book] of dirty) book.isDirty = true;
      throw error;
    }
  }
}
