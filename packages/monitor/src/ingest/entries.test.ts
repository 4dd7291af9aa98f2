import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BookEntries, type BookEntry } from '@qiao/contract/control';
import { ChangeKind, Outcome } from '@qiao/contract/counts';
import { Origin } from '@qiao/contract/delivery';
import { Receipt, Settlement, Statement } from '@qiao/contract/receipt';
import type { Signed } from '@qiao/contract/signed';
import { testStore } from '@qiao/database/testing';
import { Authority, createKeyAndCsr, Signer, Verifier } from '@qiao/security';
import fc from 'fast-check';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type MonitorDatabase, openMonitorDatabase } from '../monitorDatabase.ts';
import { createBooksDay } from '../reconciliation/day.ts';
import type { EntriesPorts } from './bookEntry.ts';
import { takeEntries } from './entries.ts';

const folder = mkdtempSync(join(tmpdir(), 'qiao-monitor-'));
const platformId = new Uint8Array(16).fill(1);
const laneId = new Uint8Array(16).fill(2);
const bridgeId = new Uint8Array(16).fill(3);
const nonce = new Uint8Array(16).fill(4);
const databaseId = new Uint8Array(16).fill(5);
const contentHash = new Uint8Array(32).fill(6);
const sealedAtMs = Date.UTC(2026, 10, 20, 17); // 01:00 of the 21st in Shanghai

interface Party {
  readonly id: Uint8Array;
  readonly code: string;
  readonly certificate: Uint8Array;
  readonly signer: Signer;
}

let authority: Authority;
let sender: Party;
let receiver: Party;
let made = 0;

beforeAll(async () => {
  authority = await Authority.create(join(folder, 'authority'), { platformId, platformCode: 'demo' });
  sender = await party('health', 7);
  receiver = await party('civil-affairs', 8);
});
afterAll(() => rmSync(folder, { recursive: true }));

async function party(code: string, fill: number): Promise<Party> {
  const { keyPem, csrDer } = await createKeyAndCsr(code);
  const id = new Uint8Array(16).fill(fill);
  const certificate = await authority.issue(csrDer, { role: 'agent', platformId, nodeId: id, code, days: 1 });
  return { id, code, certificate, signer: new Signer(keyPem, certificate) };
}

async function newPorts(): Promise<EntriesPorts & AsyncDisposable> {
  made += 1;
  const database: MonitorDatabase = await openMonitorDatabase(await testStore(join(folder, `monitor-${made}.db`)));
  return {
    database,
    verifier: new Verifier(),
    authority: authority.certificateDer,
    booksDay: createBooksDay('Asia/Shanghai'),
    laneOf: () => undefined,
    sourceOf: () => undefined,
    isCertificateRevoked: () => false,
    nowMs: () => Date.now(),
    [Symbol.asyncDispose]: () => database.destroy(),
  };
}

const place = () => ({ platformId, laneId, bridgeId, bridgeVersion: 1, senderId: sender.id, receiverId: receiver.id });

function statement(sequence: number, inserts: number, signer = sender.signer): BookEntry['entry'] {
  const payload = Statement.encode(
    Statement.fromPartial({
      ...place(),
      epoch: { ordinal: 1n, nonce },
      sequence: BigInt(sequence),
      contentHash,
      counts: [{ table: 'person', inserts: BigInt(inserts), updates: 0n, deletes: 0n }],
      sealedAtMs: BigInt(sealedAtMs),
      origin: Origin.CHANGE,
      parcelId: new Uint8Array(16).fill(100 + sequence),
      capture: [
        {
          table: 'person',
          kind: ChangeKind.INSERT,
          captured: BigInt(inserts),
          packed: BigInt(inserts),
          folded: 0n,
          filtered: 0n,
          refused: 0n,
        },
      ],
    }),
  ).finish();
  return { $case: 'statement', value: signer.sign('qiao.statement.v1', payload) };
}

function receipt(
  sequence: number,
  inserted: number,
  revision = 1,
  open = 0,
  epoch = 1n,
  receivedAtMs = sealedAtMs,
): BookEntry['entry'] {
  const outcomes = [
    { table: 'person', sent: ChangeKind.INSERT, outcome: Outcome.INSERTED, rows: BigInt(inserted) },
    { table: 'person', sent: ChangeKind.INSERT, outcome: Outcome.QUARANTINED, rows: BigInt(open) },
  ].filter(({ rows }) => rows > 0n);
  const payload = Receipt.encode(
    Receipt.fromPartial({
      ...place(),
      format: 1,
      receivedAtMs: BigInt(receivedAtMs),
      epoch: { ordinal: epoch, nonce },
      sequence: BigInt(sequence),
      contentHash,
      revision,
      outcomes,
      settled: open === 0,
    }),
  ).finish();
  return { $case: 'receipt', value: receiver.signer.sign('qiao.receipt.v1', payload) };
}

function batch(party: Party, first: number, entries: BookEntry['entry'][]): Uint8Array {
  return BookEntries.encode({
    certificate: party.certificate,
    entries: entries.map((entry, index) => ({
      number: BigInt(first + index),
      exchangeDatabaseId: databaseId,
      entry,
      mark: Uint8Array.of(first + index),
    })),
  }).finish();
}

async function tally(ports: EntriesPorts): Promise<Record<string, number>> {
  const rows = await ports.database.selectFrom('tally').selectAll().where('amount', '<>', 0).execute();
  return Object.fromEntries(
    rows.map((row) => [[row.day, row.measure, row.kind, row.detail].filter(Boolean).join(' '), row.amount]),
  );
}

test('a statement and its receipt balance, on the day of the platform’s zone', async () => {
  await using ports = await newPorts();
  await takeEntries(ports, batch(sender, 1, [statement(1, 5)]), 'health');
  expect(await tally(ports)).toMatchObject({ '2026-11-21 deliveries inFlight': 1, '2026-11-21 sent insert': 5 });
  await takeEntries(ports, batch(receiver, 1, [receipt(1, 5)]), 'civil-affairs');
  expect(await tally(ports)).toEqual({
    '2026-11-21 sent insert': 5,
    '2026-11-21 outcome insert inserted': 5,
    '2026-11-21 deliveries balanced': 1,
    '2026-11-21 rows balanced': 5,
    '2026-11-21 origin change': 5,
    '2026-11-21 capture insert captured': 5,
    '2026-11-21 capture insert packed': 5,
  });
});

test('however entries arrive — twice, in pieces, receipts first — the books end the same', async () => {
  const sends = [statement(1, 5), statement(2, 7), statement(3, 11)];
  const receives = [receipt(1, 5), receipt(2, 6, 1, 1), receipt(2, 7, 2), receipt(3, 11)];
  const expected = {
    '2026-11-21 deliveries balanced': 3,
    '2026-11-21 sent insert': 23,
    '2026-11-21 outcome insert inserted': 23,
  };
  const step = fc.record({ bySender: fc.boolean(), from: fc.nat(3), count: fc.integer({ min: 1, max: 4 }) });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      await using ports = await newPorts();
      const all = [...steps, { bySender: true, from: 0, count: 4 }, { bySender: false, from: 0, count: 4 }];
      for (const { bySender, from, count } of all) {
        const [who, entries] = bySender ? [sender, sends] : [receiver, receives];
        const slice = entries.slice(from, from + count);
        if (slice.length > 0) await takeEntries(ports, batch(who, from + 1, slice), who.code);
      }
      const sums = await tally(ports);
      expect(sums).toMatchObject(expected);
      expect(Object.keys(sums).some((key) => key.includes('quarantined') || key.includes('inFlight'))).toBe(false);
    }),
    { numRuns: 25 },
  );
});

test('a hole in a node’s books stops there and is told', async () => {
  await using ports = await newPorts();
  expect(await takeEntries(ports, batch(sender, 2, [statement(2, 1)]), 'health')).toMatchObject({
    through: 0,
    hasHole: true,
  });
  expect(await takeEntries(ports, batch(sender, 1, [statement(1, 1), statement(2, 1)]), 'health')).toMatchObject({
    through: 2,
    hasHole: false,
  });
});

test('a node that signs for another, or a signature that fails, is kept as broken and counts nothing', async () => {
  await using ports = await newPorts();
  await takeEntries(ports, batch(sender, 1, [statement(1, 5, receiver.signer), receipt(1, 5)]), 'health');
  expect(await ports.database.selectFrom('broken_entry').select('reason').execute()).toHaveLength(2);
  expect(await tally(ports)).toEqual({});
});

test('entries on a subject of another node are refused whole', async () => {
  await using ports = await newPorts();
  await expect(takeEntries(ports, batch(sender, 1, [statement(1, 5)]), 'civil-affairs')).rejects.toMatchObject({
    code: 'ENTRIES_INVALID',
  });
});

test('a delivery the sender closed is explained: every row cancelled, with the reason', async () => {
  await using ports = await newPorts();
  const settlement = Settlement.encode(
    Settlement.fromPartial({
      ...place(),
      epoch: { ordinal: 1n, nonce },
      firstSequence: 1n,
      lastSequence: 1n,
      code: 'LANE_ENDED',
      reason: 'unbound',
    }),
  ).finish();
  const closed: BookEntry['entry'] = {
    $case: 'settlement',
    value: sender.signer.sign('qiao.settlement.v1', settlement),
  };
  await takeEntries(ports, batch(sender, 1, [statement(1, 5), closed]), 'health');
  expect(await tally(ports)).toMatchObject({
    '2026-11-21 deliveries explained': 1,
    '2026-11-21 outcome insert cancelled': 5,
  });
});

test('a receipt that does not add up to its statement is a deviation', async () => {
  await using ports = await newPorts();
  await takeEntries(ports, batch(sender, 1, [statement(1, 5)]), 'health');
  await takeEntries(ports, batch(receiver, 1, [receipt(1, 4)]), 'civil-affairs');
  expect(await tally(ports)).toMatchObject({ '2026-11-21 deliveries deviation': 1 });
});

/** What a hostile node may sign, beside the ordinary entries. */
function oddStatement(odd: Partial<Statement>, who: Party): BookEntry['entry'] {
  const ordinary = statement(1, 5);
  const parts = ordinary?.$case === 'statement' ? Statement.decode(ordinary.value.payload) : Statement.fromPartial({});
  const payload = Statement.encode({ ...parts, ...odd }).finish();
  return { $case: 'statement', value: who.signer.sign('qiao.statement.v1', payload) };
}

test('nonsense that a node signs is kept as broken, leaves nothing of itself, and stops nobody’s books', async () => {
  await using ports = await newPorts();
  const many = Array.from({ length: 1_000 }, (_, index) => ({
    table: `t${index}`,
    inserts: 1n,
    updates: 1n,
    deletes: 1n,
  }));
  const counted = { table: 'person', kind: ChangeKind.UNRECOGNIZED, captured: 1n };
  const nonsense: BookEntry['entry'][] = [
    { $case: 'statement', value: sender.signer.sign('qiao.statement.v1', Uint8Array.of(0xff, 0xff)) },
    oddStatement({ sealedAtMs: 9_000_000_000_000_000n }, sender),
    oddStatement({ sequence: 2n ** 64n - 1n }, sender),
    oddStatement({ counts: [...many, { table: 'more', inserts: 1n, updates: 0n, deletes: 0n }] }, sender),
    oddStatement({ capture: [{ ...counted, packed: 0n, folded: 0n, filtered: 0n, refused: 0n }] }, sender),
  ];
  expect(await takeEntries(ports, batch(sender, 1, nonsense), 'health')).toMatchObject({ through: 5 });
  expect(await tally(ports)).toEqual({});
  await takeEntries(ports, batch(sender, 6, [statement(1, 5)]), 'health');
  await sql`UPDATE tally SET amount = 9223372036854775807 WHERE measure = 'sent'`.execute(ports.database);
  expect(await takeEntries(ports, batch(sender, 7, [statement(2, 5)]), 'health')).toMatchObject({ through: 7 });
  const genuine = [oddStatement({ counts: many, sequence: 9n }, sender)];
  expect(await takeEntries(ports, batch(sender, 8, genuine), 'health')).toMatchObject({ through: 8 });
  expect(await ports.database.selectFrom('broken_entry').select('number').execute()).toHaveLength(6);
});

test('books that begin past all time begin now: whoever asks for the lane’s books gets them', async () => {
  await using ports = await newPorts();
  const forgotten: BookEntry['entry'] = { $case: 'forgotten', value: { booksBeginAtMs: 2n ** 53n - 1n } };
  await takeEntries(ports, batch(sender, 1, [forgotten]), 'health');
  const { begins_at_ms } = await ports.database
    .selectFrom('book_position')
    .select('begins_at_ms')
    .executeTakeFirstOrThrow();
  expect(begins_at_ms).toBeLessThanOrEqual(ports.nowMs());
});

test('an exchange database that was put back begins the books for a monitor that did not hear the former one, and for no other', async () => {
  const restored: BookEntry['entry'] = { $case: 'restored', value: { atMs: BigInt(sealedAtMs) } };
  const former = (): Uint8Array => {
    const message = BookEntries.decode(batch(receiver, 1, [receipt(1, 5)]));
    for (const entry of message.entries) entry.exchangeDatabaseId = new Uint8Array(16).fill(99);
    return BookEntries.encode(message).finish();
  };
  const begins = async (ports: EntriesPorts) => {
    await takeEntries(ports, batch(receiver, 1, [receipt(1, 5), restored, receipt(2, 5)]), 'civil-affairs');
    const position = ports.database.selectFrom('book_position').select('begins_at_ms').where('through', '=', 3);
    return (await position.executeTakeFirstOrThrow()).begins_at_ms;
  };
  {
    await using younger = await newPorts();
    expect(await begins(younger)).toBe(sealedAtMs);
  }
  {
    await using present = await newPorts();
    await takeEntries(present, former(), 'civil-affairs');
    expect(await begins(present)).toBe(0);
  }
  for (const [madeAtMs, expected] of [
    [sealedAtMs - 1, sealedAtMs],
    [sealedAtMs + 1, 0],
  ] as const) {
    await using putBack = await newPorts();
    await takeEntries(putBack, former(), 'civil-affairs');
    const restoration = { made_at_ms: madeAtMs, restored_at_ms: sealedAtMs + 1_000 };
    await putBack.database.insertInto('restoration').values(restoration).execute();
    expect(await begins(putBack)).toBe(expected);
  }
});

test('a node that speaks of a lane between others is kept as broken', async () => {
  await using ports = await newPorts();
  const stranger = receiver;
  const closed = Settlement.encode(
    Settlement.fromPartial({
      ...place(),
      senderId: stranger.id,
      epoch: { ordinal: 1n, nonce },
      firstSequence: 0n,
      lastSequence: 9n,
      code: 'LANE_ENDED',
    }),
  ).finish();
  const forged: BookEntry['entry'][] = [
    { $case: 'settlement', value: stranger.signer.sign('qiao.settlement.v1', closed) },
    oddStatement({ senderId: stranger.id, contentHash: new Uint8Array(32) }, stranger),
  ];
  const known = { ...ports, laneOf: () => place() };
  for (const [at, reading] of [ports, known].entries()) {
    await takeEntries(reading, batch(sender, 1, [statement(1, 5)]), 'health');
    await takeEntries(reading, batch(stranger, 1 + 2 * at, forged), 'civil-affairs');
  }
  expect(await tally(ports)).toMatchObject({ '2026-11-21 deliveries inFlight': 1, '2026-11-21 sent insert': 5 });
  expect(await ports.database.selectFrom('broken_entry').select('reason').execute()).toHaveLength(4);
});

test('captured rows of a bridge are counted for its source alone', async () => {
  await using ports = await newPorts();
  const capture = [
    { table: 'person', kind: ChangeKind.INSERT, captured: 5n, packed: 0n, folded: 0n, filtered: 5n, refused: 0n },
  ];
  const entry: BookEntry['entry'] = { $case: 'unpacked', value: { bridgeId, atMs: BigInt(sealedAtMs), capture } };
  await takeEntries({ ...ports, sourceOf: () => sender.id }, batch(receiver, 1, [entry]), 'civil-affairs');
  expect(await tally(ports)).toEqual({});
});

test('two statements that differ are a deviation, and no receipt makes it good', async () => {
  for (const odd of [{ contentHash: new Uint8Array(32) }, { counts: [] }]) {
    await using ports = await newPorts();
    await takeEntries(ports, batch(sender, 1, [statement(1, 5), statement(1, 5)]), 'health');
    expect(await tally(ports)).toMatchObject({ '2026-11-21 deliveries inFlight': 1, '2026-11-21 sent insert': 5 });
    await takeEntries(ports, batch(sender, 3, [oddStatement(odd, sender)]), 'health');
    await takeEntries(ports, batch(receiver, 1, [receipt(1, 5)]), 'civil-affairs');
    expect(await tally(ports)).toMatchObject({ '2026-11-21 deliveries deviation': 1, '2026-11-21 sent insert': 5 });
  }
});

test('a statement whose own capture does not add up is a deviation of the 抽取 leg, whatever the receipt says', async () => {
  await using ports = await newPorts();
  const { value } = statement(1, 5) as { value: Signed };
  const wrong = Statement.decode(value.payload);
  for (const count of wrong.capture) count.captured += 1n;
  const signed = sender.signer.sign('qiao.statement.v1', Statement.encode(wrong).finish());
  await takeEntries(ports, batch(sender, 1, [{ $case: 'statement', value: signed }]), 'health');
  await takeEntries(ports, batch(receiver, 1, [receipt(1, 5)]), 'civil-affairs');
  expect(await tally(ports)).toMatchObject({ '2026-11-21 deliveries deviation': 1 });
});

const inEpoch = (ordinal: bigint, sequence: bigint) => oddStatement({ epoch: { ordinal, nonce }, sequence }, sender);

test('a delivery that nobody answered is closed once the lane’s next epoch is agreed, whether its statement came before or after', async () => {
  await using ports = await newPorts();
  await takeEntries(ports, batch(receiver, 1, [receipt(1, 5)]), 'civil-affairs');
  await takeEntries(ports, batch(sender, 1, [inEpoch(1n, 1n), inEpoch(1n, 2n)]), 'health');
  expect(await tally(ports)).toMatchObject({ '2026-11-21 deliveries inFlight': 1 });
  await takeEntries(ports, batch(sender, 3, [inEpoch(2n, 1n)]), 'health');
  // One signature is no epoch: a sender alone closes nothing.
  expect(await tally(ports)).toMatchObject({ '2026-11-21 deliveries inFlight': 2 });
  await takeEntries(ports, batch(receiver, 2, [receipt(1, 5, 1, 0, 2n)]), 'civil-affairs');
  // The last is of another epoch that took the same number.
  const outbid = oddStatement({ epoch: { ordinal: 2n, nonce: new Uint8Array(16).fill(9) }, sequence: 1n }, sender);
  await takeEntries(ports, batch(sender, 4, [inEpoch(1n, 3n), outbid]), 'health');
  expect(await tally(ports)).toMatchObject({
    '2026-11-21 deliveries balanced': 2,
    '2026-11-21 deliveries explained': 3,
    '2026-11-21 outcome insert cancelled': 15,
  });
  const [line] = await ports.database.selectFrom('delivery').selectAll().where('sequence', '=', 3).execute();
  expect(line?.reason).toContain('EPOCH_SUPERSEDED');
});

test('a receiver alone closes nothing: an epoch that its sender never stated ends no delivery', async () => {
  await using ports = await newPorts();
  await takeEntries(ports, batch(sender, 1, [statement(1, 5)]), 'health');
  await takeEntries(ports, batch(receiver, 1, [receipt(1, 5, 1, 0, 2n)]), 'civil-affairs');
  expect(await tally(ports)).toMatchObject({ '2026-11-21 deliveries inFlight': 1 });
});

test('where a receiver’s books are not here from before the delivery was sealed, its answer may be lost: it stays for a person', async () => {
  const stated = [inEpoch(1n, 1n), inEpoch(2n, 1n)];
  const answer = (receivedAtMs: number) => receipt(1, 5, 1, 0, 2n, receivedAtMs);
  const stays = { '2026-11-21 deliveries balanced': 1, '2026-11-21 deliveries inFlight': 1 };
  {
    // It lost its exchange database: another one comes after it.
    await using ports = await newPorts();
    await takeEntries(ports, batch(sender, 1, stated), 'health');
    const lost = BookEntries.decode(batch(receiver, 1, [receipt(9, 5)]));
    for (const entry of lost.entries) entry.exchangeDatabaseId = new Uint8Array(16).fill(99);
    await takeEntries(ports, BookEntries.encode(lost).finish(), 'civil-affairs');
    await takeEntries(ports, batch(receiver, 1, [answer(sealedAtMs)]), 'civil-affairs');
    expect(await tally(ports)).toMatchObject(stays);
  }
  {
    // It had lost it before this monitor lived, which knows the second one alone.
    await using ports = await newPorts();
    await takeEntries(ports, batch(sender, 1, stated), 'health');
    await takeEntries(ports, batch(receiver, 1, [answer(sealedAtMs + 1)]), 'civil-affairs');
    expect(await tally(ports)).toMatchObject(stays);
  }
  {
    // It forgot the entries that a monitor before this one held.
    await using ports = await newPorts();
    await takeEntries(ports, batch(sender, 1, stated), 'health');
    const forgotten: BookEntry['entry'] = { $case: 'forgotten', value: { booksBeginAtMs: BigInt(sealedAtMs + 1) } };
    await takeEntries(ports, batch(receiver, 1, [forgotten, answer(sealedAtMs)]), 'civil-affairs');
    expect(await tally(ports)).toMatchObject(stays);
  }
});
