import { copyFileSync } from 'node:fs';
import { Receipt } from '@qiao/contract/receipt';
import { decodeContent, parseId } from '@qiao/exchange';
import { simulateCrashes } from '@qiao/runtime';
import { afterEach, describe, expect, test } from 'vitest';
import { definition, LANE, personRows, ReceiverWorld, TestSender } from '../receive/sender.testing.ts';

afterEach(() => simulateCrashes(undefined));

const LANE_BYTES = parseId(LANE);
const MIB = 1024 * 1024;
const PERSON = "CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL CHECK (name <> 'bad')) STRICT";

function outcomes({ outcomes: cells }: Receipt): Record<string, number> {
  return Object.fromEntries(
    cells.map(({ outcome, rows }) => [outcome.replace('OUTCOME_', '').toLowerCase(), Number(rows)]),
  );
}

function revisions(
  receipts: readonly Receipt[],
): [sequence: number, revision: number, settled: boolean, Record<string, number>][] {
  return receipts.map((receipt) => [Number(receipt.sequence), receipt.revision, receipt.settled, outcomes(receipt)]);
}

/** A lane with one refused row behind which two later changes wait. */
async function laneWithOpenRow(): Promise<{ world: ReceiverWorld; sender: TestSender }> {
  const world = new ReceiverWorld({ ddl: PERSON });
  const sender = new TestSender();
  await world.receive(
    sender.opening(),
    sender.rows([personRows('insert', ['1\tAnna', '2\tbad'])]),
    sender.rows([personRows('update', ['1\tBea', '2\tBo'])]),
    sender.rows([personRows('update', ['2\tCy'])]),
  );
  await world.apply();
  world.receipts();
  return { world, sender };
}

test('a row that is replayed lands, its receipt rises by one revision, and what waited behind it follows in order', async () => {
  const { world } = await laneWithOpenRow();
  using _ = world;
  // What the target refused is allowed now.
  world.sql('DROP TABLE person');
  world.sql(
    "CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL) STRICT; INSERT INTO person VALUES (1, 'Bea')",
  );
  world.decide('replay', ({ code }) => code === 'CHECK');
  await world.apply();
  expect(revisions(world.receipts())).toEqual([
    [1, 2, true, { inserted: 2 }],
    [2, 2, true, { updated: 2 }],
    [3, 2, true, { updated: 1 }],
  ]);
  expect(world.targetRows()).toEqual([
    [1, 'Bea'],
    [2, 'Cy'],
  ]);
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(0);
});

test('a row that is refused again waits on, tells why, and its receipt does not rise', async () => {
  const { world } = await laneWithOpenRow();
  using _ = world;
  world.decide('replay');
  await world.apply();
  expect(world.receipts()).toEqual([]);
  const open = world.database.quarantine.openOfLane(LANE_BYTES, 10);
  expect(open.map(({ code, decision }) => [code, decision])).toEqual([
    ['CHECK', undefined],
    ['HELD', undefined],
    ['HELD', undefined],
  ]);
});

test('an edited row is tried as edited; both versions are kept with who and when', async () => {
  const { world } = await laneWithOpenRow();
  using _ = world;
  const [row] = world.database.quarantine.openOfLane(LANE_BYTES, 1);
  if (row === undefined) throw new Error('no open row');
  world.database.rowLines.addEdit(row, Buffer.from('2\tmended\n'), 'wang', 7);
  world.decide('replay', ({ code }) => code === 'CHECK');
  await world.apply();
  expect(world.targetRows()).toEqual([
    [1, 'Bea'],
    [2, 'Cy'],
  ]);
  const [kept] = world.database.quarantine.ofDelivery(row);
  expect([kept?.state, kept?.fate, kept?.decidedBy]).toEqual(['settled', 'landed', 'zhang']);
  const { rowLines } = world.database;
  expect(Buffer.from(rowLines.received(row)).toString()).toBe('2\tbad\n');
  expect(Buffer.from(rowLines.newest(row)).toString()).toBe('2\tmended\n');
  expect(rowLines.edits(row)).toEqual({ count: 1, editedBy: 'wang', atMs: 7 });
});

test('an abandoned row is counted as given up, and the later changes of its key go on', async () => {
  const { world } = await laneWithOpenRow();
  using _ = world;
  world.decide('abandon', ({ code }) => code === 'CHECK');
  await world.apply();
  expect(revisions(world.receipts())).toEqual([
    [1, 2, true, { inserted: 1, abandoned: 1 }],
    [2, 2, true, { updated: 1, inserted_instead_of_update: 1 }],
    [3, 2, true, { updated: 1 }],
  ]);
  expect(world.targetRows()).toEqual([
    [1, 'Bea'],
    [2, 'Cy'],
  ]);
});

test('a crash between the target’s commit and the receipt ends in the same state: the mark says what moved', async () => {
  const { world } = await laneWithOpenRow();
  using _ = world;
  const before = `${world.database.file}.before`;
  world.decide('abandon', ({ code }) => code === 'CHECK');
  world.database.checkpoint();
  copyFileSync(world.database.file, before);
  await world.apply();
  const expected = revisions(world.receipts());
  const rows = world.targetRows();
  const open = world.database.quarantine.countOpen(LANE_BYTES);
  // The exchange database as it was before the target committed: what a kill -9 in between leaves.
  world.reopenFrom(before);
  await world.apply();
  expect(revisions(world.receipts())).toEqual(expected);
  expect(world.targetRows()).toEqual(rows);
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(open);
});

test('a target restored from its backup gets the decisions again, and the revision never goes back', async () => {
  const { world } = await laneWithOpenRow();
  using _ = world;
  const backup = `${world.targetFile}.backup`;
  copyFileSync(world.targetFile, backup);
  world.decide('abandon', ({ code }) => code === 'CHECK');
  await world.apply();
  expect(Math.max(...world.receipts().map(({ revision }) => revision))).toBe(2);
  copyFileSync(backup, world.targetFile);
  expect(world.targetRows()).toEqual([[1, 'Bea']]);
  await world.apply();
  const again = revisions(world.receipts());
  expect(again.at(-1)?.[2]).toBe(true);
  for (const [, revision] of again) expect(revision).toBeGreaterThan(2);
  expect(world.targetRows()).toEqual([
    [1, 'Bea'],
    [2, 'Cy'],
  ]);
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(0);
});

test('a target restored to before a decision whose receipt its sender settled and both forgot gets the decision again', async () => {
  using world = new ReceiverWorld({ ddl: PERSON });
  const sender = new TestSender();
  await world.receive(sender.opening());
  const again = sender.copy();
  const rows = [personRows('insert', ['1\tAnna', '2\tbad'])];
  await world.receive(sender.rows(rows));
  await world.apply();
  const backup = `${world.targetFile}.backup`;
  copyFileSync(world.targetFile, backup);
  world.decide('abandon');
  await world.apply();
  sender.settledThrough = 1n;
  const later = sender.rows([personRows('delete', ['2'])]);
  await world.receive(later);
  await world.apply();
  expect(world.database.receiptsOut.get({ lane: LANE_BYTES, epoch: 1n, sequence: 1n })).toBeUndefined();
  copyFileSync(backup, world.targetFile);
  await world.apply();
  world.receipts();
  again.receipts = { revision: 2, settled: [] };
  again.settledThrough = 2n;
  await world.receive(later, again.rows(rows));
  await world.apply();
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(0);
  const last = new Map(world.receipts().map((receipt) => [receipt.sequence, receipt]));
  expect(last.get(1n)?.revision).toBeGreaterThan(2);
  expect([...last.values()].map(({ settled }) => settled)).toEqual([true, true]);
});

test('a receiver that lost its exchange database asks for the deliveries whose rows wait, and knows them again from the mark', async () => {
  using world = new ReceiverWorld({ ddl: PERSON });
  const sender = new TestSender();
  const opening = sender.opening();
  const messages = [
    sender.rows([personRows('insert', ['1\tAnna', '2\tbad'])]),
    sender.rows([personRows('update', ['1\tBea', '2\tBo'])]),
  ];
  await world.receive(opening, ...messages);
  await world.apply();
  const given = revisions(world.receipts()).slice(1);
  const open = waiting(world);
  world.loseExchangeDatabase();
  await world.apply();
  const wanted = world.said().flatMap((body) => (body.$case === 'resend' && !body.value.isPlace ? [body.value] : []));
  expect(wanted.map(({ firstSequence, lastSequence }) => [firstSequence, lastSequence])).toEqual([
    [3n, 0n],
    [1n, 1n],
    [2n, 2n],
  ]);
  await world.receive(...messages);
  await world.apply();
  expect(revisions(world.receipts())).toEqual(given);
  expect(waiting(world)).toEqual(open);
  world.decide('abandon');
  await world.apply();
  expect(revisions(world.receipts()).map(([sequence, revision, settled]) => [sequence, revision, settled])).toEqual([
    [1, 2, true],
    [2, 2, true],
  ]);
});

test('a sender that holds a later revision than the mark is answered above it', async () => {
  using world = new ReceiverWorld({ ddl: PERSON });
  const sender = new TestSender();
  await world.receive(sender.opening());
  sender.receipts = { revision: 5, settled: [] };
  const message = sender.rows([personRows('insert', ['2\tbad'])]);
  await world.receive(message);
  await world.apply();
  expect(revisions(world.receipts()).slice(1)).toEqual([[1, 6, false, { quarantined: 1 }]]);
});

test('receipts and marks of deliveries that the sender settled behind an early open row are not kept', async () => {
  using world = new ReceiverWorld({ ddl: PERSON });
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tbad'])]));
  for (let id = 2; id <= 9; id++) await world.receive(sender.rows([personRows('insert', [`${id}\tx`])]));
  await world.apply();
  sender.receipts = { revision: 0, settled: [{ first: 2n, last: 9n }] };
  await world.receive(sender.rows([personRows('insert', ['10\tx'])]));
  await world.apply();
  const kept = "SELECT sequence FROM qiao_mark WHERE lane <> 'target' AND sequence > 0 ORDER BY sequence";
  expect(world.targetRows(kept)).toEqual([[1], [10]]);
  const receipts = world.database.sqlite
    .prepare('SELECT sequence FROM receipt_out WHERE sequence > 0 ORDER BY sequence')
    .pluck()
    .all();
  expect(receipts).toEqual([1, 10]);
});

test('a new epoch cancels what still waits of the one before', async () => {
  const { world } = await laneWithOpenRow();
  using _ = world;
  const next = new TestSender(2n, 9);
  await world.receive(
    next.opening(3n),
    next.rows([personRows('insert', ['1\tBea', '2\tgood'])], { begins: true, ends: true }),
  );
  await world.apply();
  expect(revisions(world.receipts()).filter(([, revision]) => revision === 2)).toEqual([
    [1, 2, true, { inserted: 1, cancelled: 1 }],
    [2, 2, true, { updated: 1, cancelled: 1 }],
    [3, 2, true, { cancelled: 1 }],
  ]);
  expect(world.targetRows()).toEqual([
    [1, 'Bea'],
    [2, 'good'],
  ]);
});

test('an update without its row asks for the whole row, which takes its place', async () => {
  using world = new ReceiverWorld({ ddl: PERSON });
  const sender = new TestSender();
  const partial = { ...personRows('update', ['7\tolder']), wholeRows: false };
  await world.receive(sender.opening(), sender.rows([partial]));
  await world.apply();
  const said = world.said();
  const [wanted] = said.flatMap((body) => (body.$case === 'rowsWanted' ? [body.value] : []));
  expect(decodeContent(wanted?.sealedKeys ?? new Uint8Array(0))).toMatchObject([
    { table: 'person', kind: 'delete', columns: ['id'], rowCount: 1, rows: Buffer.from('7\n') },
  ]);
  await world.receive(sender.rows([personRows('update', ['7\tnewer'])]));
  await world.apply();
  expect(world.targetRows()).toEqual([[7, 'newer']]);
  const receipts = revisions(world.receipts());
  expect(receipts).toContainEqual([2, 1, true, { inserted_instead_of_update: 1 }]);
  expect(receipts.at(-1)).toEqual([1, 2, true, { kept_target: 1 }]);
});

test('a lane that gathered too many open rows stops, and goes on when people settled some', async () => {
  using world = new ReceiverWorld({ ddl: PERSON });
  world.desire(1, { ...definition(), stopAfterQuarantined: 2 });
  const sender = new TestSender();
  await world.receive(
    sender.opening(),
    sender.rows([personRows('insert', ['1\tbad', '2\tbad'])]),
    sender.rows([personRows('insert', ['3\tbad', '4\tgood'])]),
  );
  await world.apply();
  expect(world.lane()?.stuck?.code).toBe('QUARANTINE_LIMIT');
  expect(world.targetRows()).toEqual([]);
  world.decide('abandon', ({ index }) => index === 0);
  await world.apply();
  expect(world.lane()?.stuck).toBeUndefined();
  expect(world.targetRows()).toEqual([[4, 'good']]);
  expect(world.database.quarantine.openOfLane(LANE_BYTES, 10).map(({ keyText }) => keyText)).toEqual(['2', '3']);
});

test('a target that is busy is tried again, and no row is blamed for it', async () => {
  const { world } = await laneWithOpenRow();
  using _ = world;
  world.decide('replay', ({ code }) => code === 'CHECK');
  world.sql('ALTER TABLE person RENAME TO elsewhere');
  await world.apply();
  // A missing table is nobody's row: it is told, the row waits on as it was sent, and nothing moved.
  const [row] = world.database.quarantine.openOfLane(LANE_BYTES, 1);
  expect([row?.code, row?.decision, row?.outcome]).toEqual(['TARGET_SCHEMA', undefined, 'quarantined']);
  expect(world.receipts()).toEqual([]);
});

test('rows that are too large for one step land in several, and those of one key in the order in which they were sent', async () => {
  using world = new ReceiverWorld({ ddl: PERSON });
  const sender = new TestSender();
  await world.receive(
    sender.opening(),
    sender.rows([personRows('insert', ['1\tbad', '2\tbad', '3\tbad'])]),
    sender.rows([personRows('update', ['3\tCy', '1\tAnna'])]),
  );
  await world.apply();
  world.receipts();
  for (const row of world.database.quarantine.openOfLane(LANE_BYTES, 3)) {
    world.database.rowLines.addEdit(row, Buffer.from(`${row.keyText}\t${'x'.repeat(12 * MIB)}\n`), 'wang', 7);
  }
  world.decide('replay');
  await world.apply();
  // Each step gives the receipt another revision: two rows, then one.
  expect(revisions(world.receipts())).toEqual([
    [1, 3, true, { inserted: 3 }],
    [2, 2, true, { updated: 2 }],
  ]);
  expect(world.targetRows('SELECT id, length(name), substr(name, 1, 4) FROM person ORDER BY id')).toEqual([
    [1, 4, 'Anna'],
    [2, 12 * MIB, 'xxxx'],
    [3, 2, 'Cy'],
  ]);
});

/** What waits, in order, with its text. */
function waiting({ database }: ReceiverWorld): unknown[] {
  return database.quarantine
    .openOfLane(LANE_BYTES, 10)
    .map((row) => [
      row.sequence,
      row.section,
      row.index,
      row.table,
      row.kind,
      row.columns,
      row.keyText,
      row.outcome,
      row.code,
      row.reason,
      Buffer.from(database.rowLines.received(row)).toString(),
    ]);
}

describe('a row that a person gives up while the target is at it', () => {
  /** Tries the refused row again; it is given up between the target's beginning and its end. */
  async function givenUpMeanwhile(before: (world: ReceiverWorld) => void) {
    const world = new ReceiverWorld({ ddl: PERSON });
    const sender = new TestSender();
    await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna', '2\tbad'])]));
    await world.apply();
    world.receipts();
    before(world);
    world.decide('replay');
    simulateCrashes((point) => {
      if (point !== 'amend.committed') return;
      simulateCrashes(undefined);
      const [row] = world.database.quarantine.openOfLane(LANE_BYTES, 1);
      if (row === undefined) throw new Error('no open row');
      world.database.rowDecisions.decide(row, { decision: 'abandon', by: 'li', reason: 'nobody wants it', atMs: 9 });
    });
    await world.apply();
    return world;
  }

  test('is shown as landed when it landed, as the books have it', async () => {
    using world = await givenUpMeanwhile((world) =>
      world.sql(`DROP TABLE person; ${PERSON.replace("'bad'", "'worse'")}; INSERT INTO person VALUES (1, 'Anna')`),
    );
    const [row] = world.database.quarantine.ofDelivery({ lane: LANE_BYTES, epoch: 1n, sequence: 1n });
    expect(row).toMatchObject({ state: 'settled', fate: 'landed', decidedBy: 'zhang' });
    expect(revisions(world.receipts())).toEqual([[1, 2, true, { inserted: 2 }]]);
  });

  test('is given up when it was refused again', async () => {
    using world = await givenUpMeanwhile(() => {});
    const [row] = world.database.quarantine.ofDelivery({ lane: LANE_BYTES, epoch: 1n, sequence: 1n });
    expect(row).toMatchObject({ state: 'settled', fate: 'abandoned', decidedBy: 'li' });
    expect(revisions(world.receipts())).toEqual([[1, 2, true, { inserted: 1, abandoned: 1 }]]);
  });
});
