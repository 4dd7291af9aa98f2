// This node's books go to the monitor in batches, in order of number, and stay here until the monitor holds them on disk.
// "Published" is only what the bus took; "through" is what the monitor said. What lies between is published again on request.

import { BookEntries, BookEntry, type BooksThrough } from '@qiao/contract/control';
import type { Signed } from '@qiao/contract/signed';
import { sameBytes } from '@qiao/exchange';
import { type Clock, crashPoint, type Log, type Part, type Wakeup } from '@qiao/runtime';
import type { Fence } from '../control/fence.ts';
import type { ExchangeDatabase, StoredBookEntry } from '../exchange-database/index.ts';

export interface BooksPorts {
  readonly database: Pick<ExchangeDatabase, 'id' | 'books' | 'lazyTransaction' | 'becomeAnother'>;
  readonly fence: Fence;
  /** This node's certificate (DER), so that the monitor checks every signature itself. */
  /** The same entry under the key of that certificate, when it was signed before this node got it. */
  readonly renew: (context: EntryContext, signed: Signed) => Signed;
  readonly certificate: () => Uint8Array;
  readonly publish: (bytes: Uint8Array) => Promise<void>;
  /** Woken when an entry was written or the monitor spoke. */
  readonly wakeup: Wakeup;
  readonly clock: Clock;
  readonly log: Log;
  /** Entries that the monitor holds stay this many numbers longer, for a monitor that is restored or lost. */
  readonly keptEntries: number;
}

type EntryContext = 'qiao.statement.v1' | 'qiao.receipt.v1' | 'qiao.settlement.v1';

export interface Books extends Part {
  /** The monitor's word: moves the cursor, and publishes again from there when it asks. */
  through(message: BooksThrough): void;
  /** The bus is there again, maybe without its disks: what the monitor has not confirmed is published once more, not after a minute. */
  lineIsBack(): void;
}

const BATCH_ENTRIES = 1_000;
/** Well under the bus's largest message (8 MiB), and never more counts than a message may hold; a single entry is at most 1 MiB. */
const BATCH_BYTES = 512 * 1024;
const POLL_MS = 2_000;
/** Rows go first: what is said of them leaves a moment later, together with what else is said by then. */
const BEHIND_ROWS_MS = 20;
/** Published and not confirmed for this long: published again, because the telemetry stream may have lost its disk. */
const CONFIRM_WITHIN_MS = 60_000;
/** … then after twice as long each time, up to this: while the monitor is away for weeks, every copy waits on the bus. */
const CONFIRM_MOST_MS = 60 * 60_000;

export function booksPart(ports: BooksPorts): Books {
  const { database, fence, certificate, renew, publish, wakeup, clock, log } = ports;
  const keptEntries = BigInt(ports.keptEntries);
  const { books } = database;
  let lastMoveMs = clock.elapsedMs();
  let confirmWithinMs = CONFIRM_WITHIN_MS;

  function batchAfter(number: bigint): { entries: BookEntry[]; last: bigint } {
    const entries: BookEntry[] = [];
    let bytes = 0;
    let last = number;
    for (const stored of books.after(number, BATCH_ENTRIES - 1)) {
      if (last === number && stored.number > number + 1n) entries.push(forgotten(database.id, stored));
      if (entries.length > 0 && bytes + stored.entry.length > BATCH_BYTES) break;
      entries.push(underPresentKey(BookEntry.decode(stored.entry)));
      bytes += stored.entry.length;
      last = stored.number;
    }
    return { entries, last };
  }

  function underPresentKey({ entry, ...numbered }: BookEntry): BookEntry {
    switch (entry?.$case) {
      case 'statement':
        return { ...numbered, entry: { ...entry, value: renew('qiao.statement.v1', entry.value) } };
      case 'receipt':
        return { ...numbered, entry: { ...entry, value: renew('qiao.receipt.v1', entry.value) } };
      case 'settlement':
        return { ...numbered, entry: { ...entry, value: renew('qiao.settlement.v1', entry.value) } };
      case 'refusal':
      case 'unpacked':
      case 'forgotten':
      case 'restored':
      case undefined:
        return { ...numbered, entry };
      default:
        return entry satisfies never;
    }
  }

  return {
    name: 'books',
    mostPauseMs: 5_000,
    async run(signal) {
      await fence.whenGiven(signal);
      lastMoveMs = clock.elapsedMs();
      while (!signal.aborted) {
        await fence.whenGiven(signal);
        if (signal.aborted) return;
        const { published, through } = books.cursor();
        const { entries, last } = batchAfter(published);
        if (entries.length > 0) {
          await publish(BookEntries.encode({ entries, certificate: certificate() }).finish());
          crashPoint('books.published');
          // Bus first, then the cursor: a crash between publishes a batch twice, and numbers tell them apart. The cursor may
          // have been set back meanwhile by the monitor: then that stands.
          if (books.cursor().published === published) database.lazyTransaction(() => books.setPublished(last));
          lastMoveMs = clock.elapsedMs();
          continue;
        }
        if (through < published && clock.elapsedMs() - lastMoveMs > confirmWithinMs) {
          confirmWithinMs = Math.min(confirmWithinMs * 2, CONFIRM_MOST_MS);
          log.info({ through: String(through), published: String(published) }, 'books not confirmed, publishing again');
          books.setPublished(through);
          lastMoveMs = clock.elapsedMs();
          continue;
        }
        await wakeup.wait(POLL_MS, signal);
        await clock.sleep(BEHIND_ROWS_MS, signal);
      }
    },
    lineIsBack() {
      const { published, through } = books.cursor();
      // Once: while the monitor says nothing, each break of a bad line would put another copy on the bus.
      if (through >= published || confirmWithinMs > CONFIRM_WITHIN_MS) return;
      confirmWithinMs *= 2;
      books.setPublished(through);
      wakeup.wake();
    },
    through({ number, sendAgain, mark, exchangeDatabaseId }) {
      const before = books.cursor();
      // About another exchange database of this node's past: it says nothing about these entries.
      if (exchangeDatabaseId.length > 0 && !sameBytes(exchangeDatabaseId, database.id)) return;
      const own = books.markOf(number);
      const isOther = own !== undefined && own.length > 0 && mark.length > 0 && !sameBytes(own, mark);
      if (number > before.last || isOther) {
        log.warn(
          { number: String(number), last: String(before.last) },
          'the monitor holds books that this exchange database never wrote: it is an older copy; its books are numbered anew and its lanes begin new epochs',
        );
        database.becomeAnother(clock.nowMs());
        wakeup.wake();
        return;
      }
      database.lazyTransaction(() => {
        books.setThrough(number);
        if (sendAgain && number < before.published) books.setPublished(number);
        if (number > keptEntries) books.removeThrough(number - keptEntries);
      });
      lastMoveMs = clock.elapsedMs();
      confirmWithinMs = CONFIRM_WITHIN_MS;
      wakeup.wake();
    },
  };
}

/** Stands for every entry before the first that is kept: a monitor that lost its books hears from when on they are whole. */
function forgotten(exchangeDatabaseId: Uint8Array, first: StoredBookEntry): BookEntry {
  return BookEntry.fromPartial({
    number: first.number - 1n,
    exchangeDatabaseId,
    entry: { $case: 'forgotten', value: { booksBeginAtMs: BigInt(first.atMs) } },
  });
}
