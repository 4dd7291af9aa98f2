import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import {
  ANY_ARRIVED,
  ARRIVAL_OVER,
  DUE as ARRIVALS_DUE,
  ARRIVED,
  LANDED,
  LOOK,
  LOOKED,
  PAGE_END,
  PAGES,
  SEEN_UNKNOWN,
  THERE_OVER,
} from './arrivals.ts';
import { BOOKS_AFTER } from './books.ts';
import { FORGET_COMMANDS } from './commandsSeen.ts';
import { type ExchangeDatabase, openExchangeDatabase } from './database.ts';
import {
  FIRST_UNSETTLED,
  NEXT_ASKED_DUE,
  NEXT_DUE,
  NEXT_RECORDED,
  OF_PARCEL,
  OLDEST_AWAITED,
  OPEN_OUT,
  RANGE_OUT,
  SEALED_OTHERWISE,
  UNSETTLED,
  UNSETTLED_BETWEEN,
} from './deliveriesOut.ts';
import { AFTER, GET, RANGE, UNSEEN_AFTER } from './digests.ts';
import { FIND_INBOX, LOWEST, NEWEST_EPOCH, type ReceivedPart, WAITING } from './inbox.ts';
import { LANES_OUT_OF_BRIDGE } from './lanesOut.ts';
import { CONTENT, GET_PARCEL, SETTLED_LATER, SETTLED_PARCELS } from './parcels.ts';
import { COUNT_OPEN, OPEN_CODE } from './quarantine.ts';
import { COUNTS as REFUSAL_COUNTS, OF_BRIDGE as REFUSED_OF_BRIDGE, KEPT as REFUSED_ROWS } from './refusals.ts';
import { FORGET_RESENDS, HAS_RESEND, KEEP_NEWEST_RESENDS } from './resendsTaken.ts';
import { BY_REF, COUNT_DECIDED, FIRST_OF_KEY, NEXT_DECIDED, STANDING } from './rowDecisions.ts';
import { BYTES, EDITED, EDITS, RECEIVED } from './rowLines.ts';
import { UNSEALED_EDIT, UNSEALED_ROW } from './rowsOfBefore.ts';
import { ANSWERED, DUE_BACK, KEPT, SENT_BACK, SETTLED } from './sendBacks.ts';

class Directory implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'qiao-exchange-'));
  readonly file = join(this.path, 'exchange.db');
  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

const LANE = new Uint8Array(16).fill(1);
const NONCE = new Uint8Array(16).fill(2);

describe('the file', () => {
  test('keeps its identity, its count of starts and its settings when it is opened again', () => {
    using directory = new Directory();
    const first = openExchangeDatabase(directory.file);
    const { id } = first;
    expect(first.meta.countStart()).toBe(1n);
    first.close();
    const second = openExchangeDatabase(directory.file);
    expect(second.id).toEqual(id);
    expect(second.meta.countStart()).toBe(2n);
    expect(second.sqlite.pragma('page_size', { simple: true })).toBe(8_192);
    expect(second.sqlite.pragma('journal_mode', { simple: true })).toBe('wal');
    expect(second.sqlite.pragma('synchronous', { simple: true })).toBe(2);
    expect(second.sqlite.pragma('auto_vacuum', { simple: true })).toBe(2);
    expect(second.sqlite.pragma('foreign_keys', { simple: true })).toBe(1);
    second.close();
  });

  test('that is no database is refused with a next step', () => {
    using directory = new Directory();
    writeFileSync(directory.file, 'certainly not a database, but long enough to look at'.repeat(200));
    expect(() => openExchangeDatabase(directory.file)).toThrow(
      expect.objectContaining({ code: 'EXCHANGE_DATABASE_BROKEN' }),
    );
  });

  test('that the system refuses to this user is named', () => {
    using directory = new Directory();
    mkdirSync(directory.file);
    expect(() => openExchangeDatabase(directory.file)).toThrow(
      expect.objectContaining({ code: 'FILE_REFUSED', message: expect.stringContaining(directory.file) }),
    );
  });

  test('that a newer program changed for good is refused', () => {
    using directory = new Directory();
    openExchangeDatabase(directory.file).close();
    const sqlite = new Database(directory.file);
    sqlite.prepare("INSERT INTO migration VALUES ('9999-future', 1, 0)").run();
    sqlite.close();
    expect(() => openExchangeDatabase(directory.file)).toThrow(
      expect.objectContaining({ code: 'EXCHANGE_DATABASE_NEWER' }),
    );
  });

  test('that a newer program only added to is opened', () => {
    using directory = new Directory();
    openExchangeDatabase(directory.file).close();
    const sqlite = new Database(directory.file);
    sqlite.prepare("INSERT INTO migration VALUES ('9999-future', 0, 0)").run();
    sqlite.close();
    openExchangeDatabase(directory.file).close();
  });
});

describe('a transaction', () => {
  test('that throws leaves nothing behind, books included', () => {
    using directory = new Directory();
    const database = openExchangeDatabase(directory.file);
    expect(() =>
      database.transaction(() => {
        database.books.append(unpacked(), 1);
        throw new Error('in the middle');
      }),
    ).toThrow('in the middle');
    expect(database.books.cursor().last).toBe(0n);
    database.transaction(() => database.books.append(unpacked(), 1));
    expect(database.books.after(0n, 10).map((entry) => entry.number)).toEqual([1n]);
    database.close();
  });

  test('that is lazy leaves the disk alone, and the next one waits for it again', () => {
    using directory = new Directory();
    const database = openExchangeDatabase(directory.file);
    const level = () => database.sqlite.pragma('synchronous', { simple: true });
    expect(database.lazyTransaction(level)).toBe(1);
    expect(() =>
      database.lazyTransaction(() => {
        throw new Error('in the middle');
      }),
    ).toThrow('in the middle');
    expect(database.transaction(level)).toBe(2);
    expect(database.transaction(() => database.lazyTransaction(level))).toBe(2);
    database.close();
  });

  test('is asked of every book entry', () => {
    using directory = new Directory();
    const database = openExchangeDatabase(directory.file);
    expect(() => database.books.append(unpacked(), 1)).toThrow('transaction');
    database.close();
  });
});

test('books are numbered without holes, across restarts and after what the monitor holds was removed', () => {
  using directory = new Directory();
  let database = openExchangeDatabase(directory.file);
  const append = (): bigint => database.transaction(() => database.books.append(unpacked(), 1));
  expect([append(), append(), append()]).toEqual([1n, 2n, 3n]);
  database.books.setThrough(3n);
  expect(database.books.removeThrough(3n)).toBe(3);
  database.close();
  database = openExchangeDatabase(directory.file);
  expect(append()).toBe(4n);
  // A monitor cannot hold what was never written.
  database.books.setThrough(99n);
  expect(database.books.cursor().through).toBe(4n);
  database.close();
});

describe('the inbox', () => {
  const part = (over: Partial<ReceivedPart> = {}): ReceivedPart => ({
    lane: LANE,
    epoch: 1n,
    sequence: 1n,
    nonce: NONCE,
    contentHash: new Uint8Array(32),
    header: new Uint8Array([1]),
    headerHash: new Uint8Array(32).fill(1),
    parts: 2,
    part: 0,
    body: new Uint8Array([7]),
    receivedAtMs: 1,
    ...over,
  });

  const withDatabase = (work: (database: ExchangeDatabase) => void): void => {
    using directory = new Directory();
    const database = openExchangeDatabase(directory.file);
    work(database);
    database.close();
  };

  test('holds a delivery once all its parts are there, however often they come', () =>
    withDatabase(({ inbox }) => {
      const place = { lane: LANE, epoch: 1n, sequence: 1n };
      expect(inbox.receive(part())).toBe('stored');
      expect(inbox.receive(part())).toBe('known');
      expect(inbox.get(place)).toBeUndefined();
      expect(inbox.receive(part({ part: 1, body: new Uint8Array([8]) }))).toBe('complete');
      expect(inbox.receive(part({ part: 1, body: new Uint8Array([8]) }))).toBe('known');
      const held = inbox.get(place);
      expect(held && [...(inbox.body(held) ?? [])]).toEqual([7, 8]);
      expect(inbox.waiting(LANE)).toEqual({ deliveries: 1, bytes: 3 }); // its header counts too: a place without a body is not free
    }));

  test('never mixes the parts of two sealings', () =>
    withDatabase(({ inbox }) => {
      const resealed = { headerHash: new Uint8Array(32).fill(9), header: new Uint8Array([2]) };
      expect(inbox.receive(part())).toBe('stored');
      expect(inbox.receive(part({ ...resealed, part: 1, body: new Uint8Array([20]) }))).toBe('stored');
      expect(inbox.receive(part({ ...resealed, part: 0, body: new Uint8Array([10]) }))).toBe('complete');
      const held = inbox.get({ lane: LANE, epoch: 1n, sequence: 1n });
      expect(held && [...(inbox.body(held) ?? [])]).toEqual([10, 20]);
    }));

  test('calls another content at a known place a fork', () =>
    withDatabase(({ inbox }) => {
      inbox.receive(part());
      expect(inbox.receive(part({ contentHash: new Uint8Array(32).fill(5) }))).toBe('fork');
      expect(inbox.receive(part({ nonce: new Uint8Array(16).fill(5) }))).toBe('fork');
    }));

  test('drops older epochs and places with their parts', () =>
    withDatabase((database) => {
      const { inbox, sqlite } = database;
      for (const [epoch, sequence] of [
        [1n, 5n],
        [2n, 0n],
        [2n, 1n],
        [3n, 0n],
      ] as const) {
        inbox.receive(part({ epoch, sequence, parts: 1 }));
      }
      expect(inbox.removeBefore({ lane: LANE, epoch: 2n, sequence: 1n })).toBe(2);
      expect(inbox.lowestFrom(LANE, 2n, 0n)?.sequence).toBe(1n);
      expect(inbox.firstOfNewestEpoch(LANE, 2n)?.epoch).toBe(3n);
      expect(sqlite.prepare('SELECT count(*) FROM inbox_part').pluck().get()).toBe(2);
    }));
});

test('a waiting control message gives way to a newer one of its topic, and only that one', () => {
  using directory = new Directory();
  const database = openExchangeDatabase(directory.file);
  const { controlOut } = database;
  controlOut.add(new Uint8Array([1]), 1, 'a');
  const [first] = controlOut.next(10);
  controlOut.add(new Uint8Array([2]), 2, 'b');
  controlOut.add(new Uint8Array([3]), 3, 'a');
  // The publisher finishes with the older one only now: it must not take the newer one along.
  controlOut.sent(first?.number ?? 0);
  expect(controlOut.next(10).map(({ message }) => [...message])).toEqual([[2], [3]]);
  database.close();
});

test('what a part of a table refuses is added once to what is known of the whole, and a whole reading begins anew', () => {
  using directory = new Directory();
  const database = openExchangeDatabase(directory.file);
  const { captures, refusals } = database;
  const { id } = captures.addTable(new Uint8Array(16), 'person', { layout: '[]', keyLayout: '[]', layoutVersion: 1 });
  const refused = (key: string) => ({ code: 'REQUIRED_MISSING', column: 'name', key });
  refusals.replace(id, [{ code: 'REQUIRED_MISSING', column: 'name', count: 2 }], [refused('a'), refused('b')]);
  refusals.extend(id, [refused('b'), refused('c')]);
  refusals.extend(id, [refused('c')]);
  expect(refusals.counts(id)).toEqual([{ code: 'REQUIRED_MISSING', column: 'name', count: 3 }]);
  expect(refusals.rows(id, 10).map(({ key }) => key)).toEqual(['a', 'b', 'c']);
  refusals.replace(id, [], []);
  expect([refusals.counts(id), refusals.rows(id, 10)]).toEqual([[], []]);
  // With its table it is forgotten.
  refusals.extend(id, [refused('d')]);
  captures.removeTable(id);
  expect(refusals.rows(id, 10)).toEqual([]);
  database.close();
});

test('a change that one scan sees already is noted for another one to be read later, and a newer note is never taken back', () => {
  using directory = new Directory();
  const database = openExchangeDatabase(directory.file);
  const { captures, triggers } = database;
  const [mine, theirs] = [1, 2].map((bridge) => {
    const { id } = captures.addTable(new Uint8Array(16).fill(bridge), 'person', {
      layout: '[]',
      keyLayout: '[]',
      layoutVersion: 1,
    });
    triggers.register(id, 'his/changes', true);
    return id;
  }) as [number, number];
  const key = (text: string) => ({ key: text, inserts: 1, updates: 0, deletes: 0 });
  const look = triggers.nextLook();
  triggers.note('his/changes', triggers.nextLook(), key('newer'));
  triggers.note('his/changes', triggers.nextLook(), key('newer'), { by: mine, look });
  triggers.note('his/changes', triggers.nextLook(), key('seen'), { by: mine, look });
  const keys = (table: number, upTo: number) => triggers.after(table, upTo, '', 10).map((noted) => noted.key);
  expect([keys(mine, look), keys(theirs, look)]).toEqual([['seen'], []]);
  triggers.removeSome(mine, look, 10);
  triggers.removeSome(theirs, look, 10);
  const last = triggers.nextLook();
  expect([keys(mine, last), keys(theirs, last)]).toEqual([['newer'], ['newer', 'seen']]);
  database.close();
});
const NAMED = {
  ...{ tableId: 1, after: '', through: 'k' },
  ...{ lane: LANE, epoch: 1, sequence: 1, section: 0, index: 0 },
};

test('hot queries find their rows by an index, never by looking through a table', () => {
  using directory = new Directory();
  const database = openExchangeDatabase(directory.file);
  const { sqlite } = database;
  const queries = {
    BOOKS_AFTER,
    FIRST_UNSETTLED,
    NEXT_ASKED_DUE,
    NEXT_DUE,
    NEXT_RECORDED,
    OLDEST_AWAITED,
    OPEN_OUT,
    SEALED_OTHERWISE,
    OF_PARCEL,
    RANGE_OUT,
    UNSETTLED,
    ANY_ARRIVED,
    ARRIVED,
    ARRIVAL_OVER,
    ARRIVALS_DUE,
    LANDED,
    LOOK,
    LOOKED,
    PAGE_END,
    SEEN_UNKNOWN,
    THERE_OVER,
    ...PAGES,
    DUE_BACK,
    KEPT,
    ANSWERED,
    SENT_BACK,
    SETTLED,
    AFTER,
    GET,
    RANGE,
    UNSEEN_AFTER,
    FIND_INBOX,
    LOWEST,
    NEWEST_EPOCH,
    WAITING,
    LANES_OUT_OF_BRIDGE,
    CONTENT,
    GET_PARCEL,
    SETTLED_PARCELS,
    SETTLED_LATER,
    FORGET_COMMANDS,
    HAS_RESEND,
    KEEP_NEWEST_RESENDS,
    FORGET_RESENDS,
    UNSEALED_ROW,
    UNSEALED_EDIT,
    RECEIVED,
    EDITED,
    BYTES,
    EDITS,
    COUNT_OPEN,
    OPEN_CODE,
    COUNT_DECIDED,
    FIRST_OF_KEY,
    BY_REF,
    STANDING,
    NEXT_DECIDED,
    UNSETTLED_BETWEEN,
    REFUSAL_COUNTS,
    REFUSED_ROWS,
    REFUSED_OF_BRIDGE,
  };
  for (const [name, sql] of Object.entries(queries)) {
    const parameters = sql.includes('@') ? [NAMED] : (sql.match(/\?/g) ?? []).map(() => 1);
    const plan = sqlite
      .prepare(`EXPLAIN QUERY PLAN ${sql}`)
      .all(...parameters)
      .map((row) => (row as { detail: string }).detail)
      .join('; ');
    expect(`${name}: ${plan}`).toMatch(/SEARCH/);
    expect(`${name}: ${plan}`).not.toMatch(/SCAN|TEMP B-TREE/);
  }
  database.close();
});

function unpacked(): { $case: 'unpacked'; value: { bridgeId: Uint8Array; capture: []; atMs: bigint } } {
  return { $case: 'unpacked', value: { bridgeId: new Uint8Array(16), capture: [], atMs: 1n } };
}
