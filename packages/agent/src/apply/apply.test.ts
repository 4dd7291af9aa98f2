import { copyFileSync, renameSync, rmSync } from 'node:fs';
import { RefusalFate } from '@qiao/contract/control';
import { Outcome } from '@qiao/contract/counts';
import { bridgeJson, parseId } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { BRIDGE, definition, LANE, personRows, ReceiverWorld, TestSender } from '../receive/sender.testing.ts';

const LANE_BYTES = parseId(LANE);

function outcomes(receipt: { outcomes: { outcome: Outcome; rows: bigint }[] } | undefined): [Outcome, bigint][] {
  return (receipt?.outcomes ?? []).map(({ outcome, rows }) => [outcome, rows]);
}

test('a delivery is applied, answered, entered into the books and leaves the inbox', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna', '2\tBo'])]));
  await world.apply();
  expect(world.targetRows()).toEqual([
    [1, 'Anna'],
    [2, 'Bo'],
  ]);
  const [opening, rows] = world.receipts();
  expect(opening?.sequence).toBe(0n);
  expect(outcomes(rows)).toEqual([[Outcome.INSERTED, 2n]]);
  expect(rows?.settled).toBe(true);
  expect(rows?.revision).toBe(1);
  expect(world.database.books.cursor().last).toBe(1n);
  expect(world.database.inbox.total().deliveries).toBe(0);
  expect(world.lane()?.appliedSequence).toBe(1n);
  expect(world.acknowledged.length).toBe(2);
});

test('a delivery that comes twice is applied once and answered word for word', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  const answers = () => world.said().filter(({ $case }) => $case === 'receipt');
  const opening = sender.opening();
  const rows = sender.rows([personRows('insert', ['1\tAnna'])]);
  await world.receive(opening, rows, rows);
  await world.apply();
  const first = answers();
  await world.receive(rows);
  await world.apply();
  const again = answers();
  expect(again).toEqual(first.slice(1));
  expect(world.database.books.cursor().last).toBe(1n);
});

test('a crash between the target’s commit and the receipt is answered from the mark', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening());
  await world.apply();
  await world.receive(sender.rows([personRows('insert', ['1\tAnna'])]));
  expect(await world.apply({ failAnswers: true })).toBeInstanceOf(Error);
  expect(world.targetRows()).toEqual([[1, 'Anna']]);
  expect(world.lane()?.appliedSequence).toBe(0n);
  world.said();
  await world.apply();
  const [receipt] = world.receipts();
  expect(outcomes(receipt)).toEqual([[Outcome.INSERTED, 1n]]);
  expect(world.lane()?.appliedSequence).toBe(1n);
  expect(world.database.inbox.total().deliveries).toBe(0);
});

test('a delivery waits when the one before it left a row behind, and its own change of that row is held', async () => {
  using world = new ReceiverWorld({
    ddl: "CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL CHECK (name <> 'bad')) STRICT",
  });
  const sender = new TestSender();
  await world.receive(
    sender.opening(),
    sender.rows([personRows('insert', ['1\tAnna'])]),
    sender.rows([personRows('insert', ['2\tbad'])]),
    sender.rows([personRows('insert', ['2\tBo', '3\tCy'])]),
  );
  await world.apply();
  expect(world.targetRows()).toEqual([
    [1, 'Anna'],
    [3, 'Cy'],
  ]);
  expect(outcomes(world.receipts().at(-1))).toEqual([
    [Outcome.INSERTED, 1n],
    [Outcome.HELD, 1n],
  ]);
});

test('a gap is asked for and closes when the missing delivery comes', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  const opening = sender.opening();
  const first = sender.rows([personRows('insert', ['1\tAnna'])]);
  const second = sender.rows([personRows('update', ['1\tBea'])]);
  const third = sender.rows([personRows('delete', ['1'])]);
  await world.receive(opening, third);
  await world.apply();
  const [wanted] = world.said().flatMap((body) => (body.$case === 'resend' && !body.value.isPlace ? [body.value] : []));
  expect([wanted?.firstSequence, wanted?.lastSequence, wanted?.reason]).toEqual([1n, 2n, 'gap']);
  await world.receive(second, first);
  await world.apply();
  expect(world.receipts().map(({ sequence }) => sequence)).toEqual([1n, 2n, 3n]);
  expect(world.targetRows()).toEqual([]);
});

test('deliveries of an epoch whose opening is missing wait for it', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  const opening = sender.opening();
  await world.receive(sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  const [wanted] = world.said().flatMap((body) => (body.$case === 'resend' && !body.value.isPlace ? [body.value] : []));
  expect([wanted?.epoch?.ordinal, wanted?.firstSequence, wanted?.lastSequence]).toEqual([1n, 0n, 0n]);
  await world.receive(opening);
  await world.apply();
  expect(world.targetRows()).toEqual([[1, 'Anna']]);
});

test('the newest epoch goes on past leftovers of one whose opening was lost with its sender', async () => {
  using world = new ReceiverWorld();
  const lost = new TestSender(1n, 7);
  lost.opening();
  const leftover = lost.rows([personRows('insert', ['1\tAnna'])]);
  const sender = new TestSender(2n, 8);
  await world.receive(leftover, sender.opening(), sender.rows([personRows('insert', ['2\tBo'])]));
  await world.apply();
  expect(world.targetRows()).toEqual([[2, 'Bo']]);
  expect(world.database.inbox.total().deliveries).toBe(0);
});

test('two contents at one place stop the lane as a fork, and a new epoch goes on', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening());
  const other = sender.copy();
  await world.receive(
    sender.rows([personRows('insert', ['1\tAnna'])]),
    other.rows([personRows('insert', ['1\tOther'])]),
  );
  expect(world.lane()?.stuck?.code).toBe('FORK');
  await world.apply();
  expect(world.targetRows()).toEqual([]);
  const next = new TestSender(2n, 9);
  await world.receive(next.opening(1n), next.rows([personRows('insert', ['1\tNew'])]));
  await world.apply();
  expect(world.lane()?.stuck).toBeUndefined();
  expect(world.targetRows()).toEqual([[1, 'New']]);
});

test('a sender that stays on a forked lane is asked for a new epoch once the stop was seen', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening());
  const other = sender.copy();
  const foreign = other.rows([personRows('insert', ['1\tOther'])]);
  await world.receive(sender.rows([personRows('insert', ['1\tAnna'])]), foreign);
  world.said();
  await world.receive(foreign);
  expect(world.said()).toEqual([]);
  world.clock.atMs += 30_000;
  await world.receive(foreign);
  const [refusal] = world.said().flatMap((body) => (body.$case === 'refusal' ? [body.value] : []));
  expect([refusal?.code, refusal?.fate]).toEqual(['FORK', RefusalFate.NEW_EPOCH]);
});

test('an opening closes the epoch before: leftovers are dropped, late deliveries refused, never applied', async () => {
  using world = new ReceiverWorld();
  const old = new TestSender();
  await world.receive(old.opening(), old.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  const skipped = old.rows([personRows('insert', ['2\tBo'])]);
  const leftover = old.rows([personRows('insert', ['3\tCy'])]);
  await world.receive(leftover);
  const next = new TestSender(2n, 9);
  await world.receive(next.opening(3n));
  await world.apply();
  world.said();
  expect(world.database.inbox.total().deliveries).toBe(0);
  await world.receive(skipped);
  const [refusal] = world.said().flatMap((body) => (body.$case === 'refusal' ? [body.value] : []));
  expect([refusal?.code, refusal?.highestEpoch]).toEqual(['EPOCH_CLOSED', 2n]);
  expect(world.targetRows()).toEqual([[1, 'Anna']]);
});

test('a void cancels its rows under the same sequence, even while they wait in the inbox', async () => {
  using world = new ReceiverWorld({ ddl: 'CREATE TABLE other (id INTEGER PRIMARY KEY) STRICT' });
  const sender = new TestSender();
  await world.receive(sender.opening());
  await world.apply();
  world.said();
  const atPlace = sender.copy();
  const section = personRows('insert', ['1\tAnna', '2\tBo']);
  await world.receive(sender.rows([section]));
  await world.apply();
  expect(world.lane()?.stuck).toBeDefined();
  await world.receive(atPlace.voided([section]));
  world.clock.atMs += 60_000;
  await world.apply();
  const [receipt] = world.receipts();
  expect(outcomes(receipt)).toEqual([[Outcome.CANCELLED, 2n]]);
  expect(world.lane()?.stuck).toBeUndefined();
});

test('a refused row waits in quarantine, and a later change of its key is held behind it', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(
    sender.opening(),
    sender.rows([personRows('insert', ['1\tAnna', '2\t\\N', '3\tCy'])]),
    sender.rows([personRows('update', ['1\tBea', '2\tBo', '3\tDi'])]),
  );
  await world.apply();
  expect(world.targetRows()).toEqual([
    [1, 'Bea'],
    [3, 'Di'],
  ]);
  const [, first, second] = world.receipts();
  expect(outcomes(first)).toEqual([
    [Outcome.INSERTED, 2n],
    [Outcome.QUARANTINED, 1n],
  ]);
  expect(first?.settled).toBe(false);
  expect(outcomes(second)).toEqual([
    [Outcome.UPDATED, 2n],
    [Outcome.HELD, 1n],
  ]);
  const open = world.database.quarantine.openOfLane(LANE_BYTES, 10);
  expect(open.map(({ sequence, index, code }) => [sequence, index, code])).toEqual([
    [1n, 1, 'NOT_NULL'],
    [2n, 1, 'HELD'],
  ]);
});

test('rows quarantined beside held rows keep the index that the sender knows', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(
    sender.opening(),
    sender.rows([personRows('insert', ['1\t\\N'])]),
    sender.rows([personRows('insert', ['1\tAnna', '2\tBo', '3\t\\N'])]),
  );
  await world.apply();
  const open = world.database.quarantine.ofDelivery({ lane: LANE_BYTES, epoch: 1n, sequence: 2n });
  expect(open.map(({ index, code }) => [index, code])).toEqual([
    [0, 'HELD'],
    [2, 'NOT_NULL'],
  ]);
  expect(world.targetRows()).toEqual([[2, 'Bo']]);
});

test('another database in the target’s place stops the lane', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening());
  await world.apply();
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${world.targetFile}${suffix}`, { force: true });
  world.sql('CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL) STRICT');
  await world.receive(sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  expect(world.lane()?.stuck?.code).toBe('TARGET_REPLACED');
  expect(world.targetRows()).toEqual([]);
});

test('the right database back in its place, the lane goes on by itself', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening());
  await world.apply();
  world.sql('PRAGMA wal_checkpoint(TRUNCATE)');
  renameSync(world.targetFile, `${world.targetFile}.right`);
  world.sql('CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL) STRICT');
  await world.receive(sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  expect(world.lane()?.stuck?.code).toBe('TARGET_REPLACED');
  for (const suffix of ['-wal', '-shm']) rmSync(`${world.targetFile}${suffix}`, { force: true });
  renameSync(`${world.targetFile}.right`, world.targetFile);
  world.clock.atMs += 60_000;
  await world.apply();
  expect(world.lane()?.stuck).toBeUndefined();
  expect(world.targetRows()).toEqual([[1, 'Anna']]);
});

test('a target restored from a backup is noticed, and what came after it is asked for and applied again', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  world.sql('PRAGMA wal_checkpoint(TRUNCATE)');
  copyFileSync(world.targetFile, `${world.targetFile}.backup`);
  const second = sender.rows([personRows('insert', ['2\tBo'])]);
  await world.receive(second);
  await world.apply();
  world.said();
  for (const suffix of ['-wal', '-shm']) rmSync(`${world.targetFile}${suffix}`, { force: true });
  copyFileSync(`${world.targetFile}.backup`, world.targetFile);
  await world.apply();
  const [wanted] = world.said().flatMap((body) => (body.$case === 'resend' && !body.value.isPlace ? [body.value] : []));
  expect([wanted?.firstSequence, wanted?.lastSequence, wanted?.reason]).toEqual([2n, 0n, 'mark moved backwards']);
  await world.receive(second);
  await world.apply();
  expect(world.targetRows()).toEqual([
    [1, 'Anna'],
    [2, 'Bo'],
  ]);
  expect(world.receipts().map(({ sequence, revision }) => [sequence, revision])).toEqual([[2n, 2]]);
});

test('a receiver that starts says where it stands, also when it was put back together with its target and remembers nothing', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  const started = () =>
    world.said().flatMap((body) => (body.$case === 'resend' && body.value.isPlace ? [body.value] : []));
  await world.apply();
  expect(started()).toMatchObject([{ epoch: { ordinal: 0n }, firstSequence: 0n, lastSequence: 0n }]);
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  world.said();
  await world.apply();
  expect(started()).toMatchObject([{ epoch: { ordinal: 1n }, firstSequence: 2n, lastSequence: 0n }]);
});

test('what a restored target lacks is asked for until it is there, whatever was lost on the way', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  const wanted = () =>
    world.said().flatMap((body) => (body.$case === 'resend' && !body.value.isPlace ? [body.value.firstSequence] : []));
  await world.receive(sender.opening());
  await world.apply();
  world.sql('PRAGMA wal_checkpoint(TRUNCATE)');
  copyFileSync(world.targetFile, `${world.targetFile}.backup`);
  const first = sender.rows([personRows('insert', ['1\tAnna'])]);
  const second = sender.rows([personRows('insert', ['2\tBo'])]);
  await world.receive(first, second);
  await world.apply();
  for (const suffix of ['-wal', '-shm']) rmSync(`${world.targetFile}${suffix}`, { force: true });
  copyFileSync(`${world.targetFile}.backup`, world.targetFile);
  await world.apply();
  expect(wanted()).toEqual([1n]);
  world.clock.atMs += 60_000;
  await world.apply();
  expect(wanted()).toEqual([1n]);
  await world.receive(first);
  world.clock.atMs += 60_000;
  await world.apply();
  expect(wanted()).toEqual([2n]);
  await world.receive(second);
  await world.apply();
  world.clock.atMs += 60_000;
  await world.apply();
  expect(wanted()).toEqual([]);
  expect(world.targetRows()).toHaveLength(2);
});

test('a restored target that takes its opening again, before anybody looked at its mark, owes what came after it', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  const opening = sender.opening();
  const rows = sender.rows([personRows('insert', ['1\tAnna'])]);
  await world.receive(opening, rows);
  await world.apply({
    onIdle: async () => {
      world.sql(`DELETE FROM qiao_mark WHERE lane = '${LANE}'`);
      world.sql('DELETE FROM person');
      await world.receive(opening);
    },
  });
  const [wanted] = world.said().flatMap((body) => (body.$case === 'resend' && !body.value.isPlace ? [body.value] : []));
  expect([wanted?.firstSequence, wanted?.lastSequence]).toEqual([1n, 0n]);
  await world.receive(rows);
  await world.apply();
  expect(world.targetRows()).toEqual([[1, 'Anna']]);
});

test('a receiver that lost its exchange database stands where the mark says and asks for the rest', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  const opening = sender.opening();
  const first = sender.rows([personRows('insert', ['1\tAnna'])]);
  await world.receive(opening, first);
  await world.apply();
  world.loseExchangeDatabase();
  await world.apply();
  const [wanted] = world.said().flatMap((body) => (body.$case === 'resend' && !body.value.isPlace ? [body.value] : []));
  expect([wanted?.firstSequence, wanted?.reason]).toEqual([2n, 'inbox lost']);
  await world.receive(first);
  await world.apply();
  const [receipt] = world.receipts();
  expect(outcomes(receipt)).toEqual([[Outcome.INSERTED, 1n]]);
  expect(world.targetRows()).toEqual([[1, 'Anna']]);
});

test('a missing table stops the lane with its cause and quarantines nothing; mended, the lane goes on by itself', async () => {
  using world = new ReceiverWorld({ ddl: 'CREATE TABLE other (id INTEGER PRIMARY KEY) STRICT' });
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  expect(world.lane()?.stuck?.code).toBe('TARGET_SCHEMA');
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(0);
  world.sql('CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL) STRICT');
  world.clock.atMs += 60_000;
  await world.apply();
  expect(world.targetRows()).toEqual([[1, 'Anna']]);
  expect(world.lane()?.stuck).toBeUndefined();
});

test('columns that the node’s file does not accept are never written', async () => {
  using world = new ReceiverWorld({ permissions: [{ dataSource: 'target', table: 'person', columns: ['id'] }] });
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  expect(world.lane()?.stuck?.code).toBe('ACCEPT_DENIED');
  expect(world.targetRows()).toEqual([]);
});

test('a table that the present version does not land here is refused for a void', async () => {
  using world = new ReceiverWorld();
  const bridge = definition();
  const [destination] = bridge.destinations;
  if (destination !== undefined) bridge.destinations = [{ ...destination, tables: {} }];
  world.desire(2, bridge);
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  const [refusal] = world.said().flatMap((body) => (body.$case === 'refusal' ? [body.value] : []));
  expect([refusal?.code, refusal?.fate]).toEqual(['VERSION_REFUSED', RefusalFate.VOID]);
});

test('a delivery of an older version lands as that version said, wherever the present one would put it', async () => {
  using world = new ReceiverWorld();
  world.sql('CREATE TABLE elsewhere (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL) STRICT');
  world.database.bridgeVersions.keep(parseId(BRIDGE), 1, bridgeJson(definition()), 0);
  world.desire(2, definition({ to: 'elsewhere' }));
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])]));
  sender.bridgeVersion = 2;
  await world.receive(sender.rows([personRows('insert', ['2\tBo'])]));
  await world.apply();
  expect(world.targetRows()).toEqual([[1, 'Anna']]);
  expect(world.targetRows('SELECT id, name FROM elsewhere')).toEqual([[2, 'Bo']]);
});

test('a delivery of a version that this node never saw is refused for a void: nobody guesses what it meant', async () => {
  using world = new ReceiverWorld();
  world.desire(2, definition());
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  const [refusal] = world.said().flatMap((body) => (body.$case === 'refusal' ? [body.value] : []));
  expect([refusal?.code, refusal?.fate]).toEqual(['VERSION_REFUSED', RefusalFate.VOID]);
  expect(world.targetRows()).toEqual([]);
});

test('a load removes what its source does not have, unless too much would go', async () => {
  using world = new ReceiverWorld();
  world.sql("INSERT INTO person VALUES (7, 'Old'), (8, 'Older')");
  const sender = new TestSender();
  await world.receive(
    sender.opening(),
    sender.rows([personRows('insert', ['7\tOld', '9\tNew'])], { begins: true, ends: true }),
  );
  await world.apply();
  expect(world.targetRows()).toEqual([
    [7, 'Old'],
    [9, 'New'],
  ]);
  const receipt = world.receipts().at(-1);
  expect(receipt?.extras.map(({ deleted, kept }) => [deleted, kept])).toEqual([[1n, 0n]]);
  expect(outcomes(receipt)).toEqual([
    [Outcome.INSERTED, 1n],
    [Outcome.UNCHANGED, 1n],
  ]);
});

test('the end of a load that would empty the target stops and asks', async () => {
  using world = new ReceiverWorld();
  world.sql(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) INSERT INTO person SELECT i, 'x' FROM n",
  );
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tx'])], { begins: true, ends: true }));
  await world.apply();
  expect(world.lane()?.stuck?.code).toBe('DELETE_GUARD');
  expect(world.lane()?.stuck?.hint).toContain('--allow-deletes 1499');
  expect(world.targetRows().length).toBe(1500);
});

test('the end of a load leaves the row of a key that is held', async () => {
  using world = new ReceiverWorld();
  world.sql("INSERT INTO person VALUES (1, 'Old'), (2, 'Gone')");
  const sender = new TestSender();
  await world.receive(
    sender.opening(),
    sender.rows([personRows('update', ['1\t\\N'])]),
    sender.rows([personRows('insert', ['1\tAnna', '3\tCy'])], { begins: true, ends: true }),
  );
  await world.apply();
  const receipt = world.receipts().at(-1);
  expect(outcomes(receipt)).toEqual([
    [Outcome.INSERTED, 1n],
    [Outcome.HELD, 1n],
  ]);
  expect(receipt?.extras.map(({ deleted, kept }) => [deleted, kept])).toEqual([[1n, 0n]]);
  expect(world.targetRows()).toEqual([
    [1, 'Old'],
    [3, 'Cy'],
  ]);
});

test('a load that lost a part to a void removes nothing at its end', async () => {
  using world = new ReceiverWorld();
  world.sql("INSERT INTO person VALUES (1, 'Anna'), (2, 'Bo'), (3, 'Cy')");
  const sender = new TestSender();
  await world.receive(
    sender.opening(),
    sender.rows([personRows('insert', ['1\tAnna'])], { begins: true }),
    sender.voided([personRows('insert', ['2\tBo'])]),
    sender.rows([personRows('insert', ['4\tDi'])], { ends: true }),
  );
  await world.apply();
  expect(world.targetRows().length).toBe(4);
  expect(world.targetRows("SELECT name FROM sqlite_schema WHERE name LIKE 'qiao_load%'")).toEqual([]);
});

test('a crash before the receipt of a delivery whose rows were all held is answered too', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\t\\N'])]));
  await world.apply();
  await world.receive(sender.rows([personRows('update', ['1\tAnna'])]));
  world.said();
  expect(await world.apply({ failAnswers: true })).toBeInstanceOf(Error);
  await world.apply();
  const [receipt] = world.receipts();
  expect(receipt?.sequence).toBe(2n);
  expect(outcomes(receipt)).toEqual([[Outcome.HELD, 1n]]);
});

test('a body opened ahead is not taken for the void that came in its place', async () => {
  using world = new ReceiverWorld();
  const sender = new TestSender();
  const section = personRows('insert', ['2\tBo']);
  const messages = [sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])])];
  const voided = sender.copy().voided([section]);
  await world.receive(...messages, sender.rows([section]));
  let bodies = 0;
  let replaced: Promise<void> | undefined;
  await world.apply({
    onBody: () => {
      bodies += 1;
      if (bodies === 2) replaced = world.receive(voided);
    },
  });
  await replaced;
  expect(bodies).toBe(2);
  expect(world.receipts().map((receipt) => outcomes(receipt))).toEqual([
    [],
    [[Outcome.INSERTED, 1n]],
    [[Outcome.CANCELLED, 1n]],
  ]);
  expect(world.targetRows()).toEqual([[1, 'Anna']]);
});

test('a stuck lane under a newer version keeps its pauses while its target is busy', async () => {
  using world = new ReceiverWorld({ ddl: 'CREATE TABLE other (id INTEGER PRIMARY KEY) STRICT' });
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna'])]));
  await world.apply();
  const stuck = world.lane();
  if (stuck === undefined) throw new Error('the lane has no row');
  expect(stuck.stuckVersion).toBe(1);
  expect(world.conditions.mayTry(stuck, 2)).toBe(true);
  const pauseMs = world.conditions.retryLater(LANE_BYTES, new Error('busy'));
  expect(world.conditions.mayTry(stuck, 2)).toBe(false);
  world.clock.atMs += pauseMs;
  expect(world.conditions.mayTry(stuck, 2)).toBe(true);
});
