/** Counts of capture per table and kind: captured = packed + folded + filtered + refused, always. Only log and triggers fold. */
import { CaptureCounts } from '@qiao/contract/counts';
import { contractKind, KINDS, type Kind } from '@qiao/exchange';

export type Fate = 'packed' | 'folded' | 'filtered' | 'refused';

type KindTally = Record<Fate, number>;

export class CaptureTally {
  readonly #tables = new Map<string, Record<Kind, KindTally>>();

  /** `rows` changes of one kind were captured and met this fate. */
  add(table: string, kind: Kind, fate: Fate, rows = 1): void {
    let kinds = this.#tables.get(table);
    if (kinds === undefined) {
      kinds = { insert: none(), update: none(), delete: none() };
      this.#tables.set(table, kinds);
    }
    kinds[kind][fate] += rows;
  }

  /** What was to be packed went into no parcel: it was not captured, and the load that follows counts it. */
  forgetPacked(): void {
    for (const kinds of this.#tables.values()) for (const kind of KINDS) kinds[kind].packed = 0;
  }

  get isEmpty(): boolean {
    return this.#tables.size === 0;
  }

  /** The counts so far for the contract; the tally starts anew. */
  take(): CaptureCounts[] {
    const counts: CaptureCounts[] = [];
    for (const [table, kinds] of this.#tables) {
      for (const kind of KINDS) {
        const { packed, folded, filtered, refused } = kinds[kind];
        const captured = packed + folded + filtered + refused;
        if (captured === 0) continue;
        counts.push(
          CaptureCounts.fromPartial({
            table,
            kind: contractKind(kind),
            captured: BigInt(captured),
            packed: BigInt(packed),
            folded: BigInt(folded),
            filtered: BigInt(filtered),
            refused: BigInt(refused),
          }),
        );
      }
    }
    this.#tables.clear();
    return counts;
  }
}

function none(): KindTally {
  return { packed: 0, folded: 0, filtered: 0, refused: 0 };
}
