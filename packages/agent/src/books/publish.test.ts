import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BookEntries, BookEntry } from '@qiao/contract/control';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { createFence } from '../control/fence.ts';
import { openExchangeDatabase } from '../exchange-database/index.ts';
import { booksPart } from './publish.ts';

const PRESENT_KEY = new Uint8Array(32).fill(2);

class BooksWorld implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'qiao-books-'));
  readonly database = openExchangeDatabase(join(this.directory, 'exchange.db'));
  readonly published: bigint[][] = [];
  readonly keys: (Uint8Array | undefined)[] = [];
  nowMs = 1_000;
  fails = false;
  /** Waits until a run is stopped; each lasts 61 s. */
  waits = 1;
  #stop = new AbortController();
  /** The monitor's word about this exchange database, or about the one of `id`. */
  hear(number: bigint, sendAgain: boolean, mark: Uint8Array = new Uint8Array(), id = this.database.id): void {
    this.part.through({ number, sendAgain, mark, exchangeDatabaseId: id });
  }

  readonly part = booksPart({
    database: this.database,
    fence: given(),
    renew: (_context, signed) => ({ ...signed, keyId: PRESENT_KEY }),
    certificate: () => new Uint8Array([1]),
    keptEntries: 100,
    publish: async (bytes) => {
      if (this.fails) throw new Error('bus away');
      const { entries } = BookEntries.decode(bytes);
      this.published.push(entries.map(({ number }) => number));
      this.keys.push(...entries.map(({ entry }) => (entry?.$case === 'statement' ? entry.value.keyId : undefined)));
    },
    wakeup: {
      wake: () => {},
      wait: async () => {
        this.nowMs += 61_000;
        this.waits -= 1;
        if (this.waits <= 0) this.#stop.abort();
      },
    },
    clock: { nowMs: () => this.nowMs, elapsedMs: () => this.nowMs, sleep: async () => {} },
    log: silentLog(),
  });

  write(entries: number): void {
    this.database.transaction(() => {
      for (let written = 0; written < entries; written += 1) {
        this.database.books.append(
          { $case: 'unpacked', value: { bridgeId: new Uint8Array(16), capture: [], atMs: 0n } },
          0,
        );
      }
    });
  }

  /** Runs until there is nothing left to publish. */
  async run(): Promise<bigint[]> {
    this.published.length = 0;
    this.#stop = new AbortController();
    await this.part.run(this.#stop.signal);
    return this.published.flat();
  }

  [Symbol.dispose](): void {
    this.database.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function given() {
  const fence = createFence();
  fence.give(1n);
  return fence;
}

test('entries are published once, in order, in batches that the bus can carry', async () => {
  using world = new BooksWorld();
  world.write(2_500);
  const numbers = await world.run();
  expect(numbers.length).toBe(2_500);
  expect(numbers.every((number, index) => number === BigInt(index + 1))).toBe(true);
  expect(world.published.length).toBe(3);
  expect(await world.run()).toEqual([]);
});

test('a batch that the bus did not take is published by the next attempt', async () => {
  using world = new BooksWorld();
  world.write(2);
  world.fails = true;
  await expect(world.run()).rejects.toThrow('bus away');
  world.fails = false;
  expect(await world.run()).toEqual([1n, 2n]);
});

test('what is not confirmed goes out again when the bus is back, once until the monitor speaks', async () => {
  using world = new BooksWorld();
  world.write(3);
  await world.run();
  world.hear(1n, false);
  world.part.lineIsBack();
  expect(await world.run()).toEqual([2n, 3n]);
  world.part.lineIsBack();
  expect(await world.run()).toEqual([]);
  world.hear(3n, false);
  world.part.lineIsBack();
  expect(await world.run()).toEqual([]);
});

test('the monitor’s word moves the cursor, and asks again for what it misses', async () => {
  using world = new BooksWorld();
  world.write(5);
  await world.run();
  world.hear(3n, false);
  expect(world.database.books.cursor().through).toBe(3n);
  expect(await world.run()).toEqual([]);
  world.hear(3n, true);
  expect(await world.run()).toEqual([4n, 5n]);
});

test('a monitor that lost its books gets everything that is still kept', async () => {
  using world = new BooksWorld();
  world.write(3);
  await world.run();
  world.hear(3n, false);
  world.hear(0n, true);
  expect(await world.run()).toEqual([1n, 2n, 3n]);
});

test('what the monitor says of another exchange database moves nothing', async () => {
  using world = new BooksWorld();
  world.write(1);
  world.hear(9n, false, new Uint8Array(), new Uint8Array(16).fill(9));
  expect(world.database.books.cursor()).toEqual({ last: 1n, published: 0n, through: 0n });
});

test('a file that was put back is known by a number it never gave: its books begin anew under another identity', async () => {
  using world = new BooksWorld();
  world.write(3);
  await world.run();
  const before = world.database.id;
  world.hear(9n, false);
  expect(world.database.id).not.toEqual(before);
  // The fourth says that they begin here: a monitor that did not hear the former file lacks what was in that alone.
  expect(await world.run()).toEqual([1n, 2n, 3n, 4n]);
  const [last] = world.database.books.after(3n, 1);
  expect(BookEntry.decode(last?.entry ?? new Uint8Array()).entry?.$case).toBe('restored');
});

test('a file that was put back and went on is known by the mark under the same number', async () => {
  using world = new BooksWorld();
  world.write(5);
  const own = world.database.books.markOf(4n) ?? new Uint8Array();
  const before = world.database.id;
  world.hear(4n, false, own);
  expect(world.database.id).toEqual(before);
  world.hear(4n, false, new Uint8Array(8).fill(1));
  expect(world.database.id).not.toEqual(before);
  expect(world.database.books.cursor()).toEqual({ last: 6n, published: 0n, through: 0n });
});

test('entries that are kept no longer are named, so that a monitor from zero knows from when its books are whole', async () => {
  using world = new BooksWorld();
  world.write(150);
  await world.run();
  world.hear(150n, false);
  world.hear(0n, true);
  const numbers = await world.run();
  expect([numbers[0], numbers[1], numbers.length]).toEqual([50n, 51n, 101]);
});

test('entries that were never confirmed are published again after a while', async () => {
  using world = new BooksWorld();
  world.write(1);
  world.waits = 2;
  expect(await world.run()).toEqual([1n, 1n]);
});

test('while the monitor is away its entries are published again more and more seldom, until it speaks', async () => {
  using world = new BooksWorld();
  world.write(1);
  world.waits = 8;
  expect((await world.run()).length).toBe(4);
  world.write(1);
  world.hear(1n, false);
  world.waits = 2;
  expect(await world.run()).toEqual([2n, 2n]);
});

test('what was signed before this node joined again goes out under its present key', async () => {
  using world = new BooksWorld();
  const value = {
    payload: new Uint8Array([1]),
    suite: 'test',
    keyId: new Uint8Array(32),
    signature: new Uint8Array(64),
  };
  world.database.transaction(() => world.database.books.append({ $case: 'statement', value }, 0));
  await world.run();
  expect(world.keys).toEqual([PRESENT_KEY]);
});
