// Owns where each lane stands at the hub: the highest epoch, durable before its first message is forwarded, and counters,
// written in batches. A crash leaves counters a second behind and never an epoch. Replicas share the rows: an epoch is whose it
// became on disk first, and counters are added to, never set.

import { sql } from 'kysely';
import type { HubDatabase } from '../hubDatabase.ts';

export interface LanePlace {
  readonly highestEpoch: bigint;
  /** Nonce of that epoch; undefined before the first. */
  readonly nonce: Uint8Array | undefined;
}

interface LaneBook {
  highestEpoch: bigint;
  nonce: Uint8Array | undefined;
  /** The highest that this process forwarded, or that was on disk when it began. */
  routedSequence: bigint;
  /** Since the last flush. */
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

  /** Takes in lanes it does not know yet, and the epochs that another replica opened. */
  async load(): Promise<void> {
    const rows = await this.#store.selectFrom('lanes').selectAll().execute();
    for (const row of rows) {
      const known = this.#books.get(row.id);
      if (known !== undefined) takeEpoch(known, row);
      else {
        this.#books.set(row.id, {
          highestEpoch: BigInt(row.highest_epoch),
          nonce: nonceOf(row),
          routedSequence: BigInt(row.routed_sequence),
          routedDeliveries: 0,
          refusedDeliveries: 0,
          isDirty: false,
        });
      }
    }
  }

  place(laneId: string): LanePlace {
    return this.#books.get(laneId) ?? NONE;
  }

  /**
   * Makes a higher epoch the lane's; durable when it resolves. A lower, known or unbelievably high one changes nothing. When
   * another replica opened that ordinal first, its nonce is the lane's: ask `place` afterwards.
   */
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
    const row = await this.#store
      .selectFrom('lanes')
      .select(['highest_epoch', 'highest_nonce'])
      .where('id', '=', laneId)
      .executeTakeFirst();
    if (row !== undefined) takeEpoch(book, row);
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
    const written = dirty.map(([id, book]) => [id, book, { ...book }] as const);
    // Taken off first: what is counted while this is written is written next time.
    for (const [, book] of dirty) Object.assign(book, { isDirty: false, routedDeliveries: 0, refusedDeliveries: 0 });
    try {
      await this.#store.transaction().execute(async (store) => {
        for (const [id, , counted] of written) await addCounts(store, id, counted);
      });
    } catch (error) {
      for (const [, book, counted] of written) {
        book.isDirty = true;
        book.routedDeliveries += counted.routedDeliveries;
        book.refusedDeliveries += counted.refusedDeliveries;
      }
      throw error;
    }
  }
}

function takeEpoch(book: LaneBook, row: { highest_epoch: number; highest_nonce: Uint8Array | null }): void {
  const onDisk = BigInt(row.highest_epoch);
  if (onDisk <= book.highestEpoch) return;
  book.highestEpoch = onDisk;
  book.nonce = nonceOf(row);
  book.routedSequence = 0n;
}

function nonceOf({ highest_nonce: nonce }: { highest_nonce: Uint8Array | null }): Uint8Array | undefined {
  return nonce === null ? undefined : new Uint8Array(nonce);
}

async function addCounts(store: HubDatabase, laneId: string, counted: LaneBook): Promise<void> {
  const [epoch, sequence] = [Number(counted.highestEpoch), Number(counted.routedSequence)];
  await store
    .updateTable('lanes')
    .set((column) => ({
      // A sequence counts inside its epoch: one that another replica opened since begins anew.
      routed_sequence: sql<number>`CASE WHEN highest_epoch = ${epoch} AND routed_sequence < ${sequence}
        THEN ${sequence} ELSE routed_sequence END`,
      routed_deliveries: column('routed_deliveries', '+', counted.routedDeliveries),
      refused_deliveries: column('refused_deliveries', '+', counted.refusedDeliveries),
    }))
    .where('id', '=', laneId)
    .execute();
}
