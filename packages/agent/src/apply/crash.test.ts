// Deaths of a receiver at each place of a point that has several: over real SQLite files everything in memory is gone there, the part
// begins again, and what is left equals the end of an undisturbed run.

import { copyFileSync } from 'node:fs';
import type { Receipt } from '@qiao/contract/receipt';
import { idText, parseId } from '@qiao/exchange';
import { type CrashPointName, simulateCrashes } from '@qiao/runtime';
import { afterEach, expect, test } from 'vitest';
import { LANE, personRows, ReceiverWorld, TestSender } from '../receive/sender.testing.ts';

const PERSON = "CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL CHECK (name <> 'bad')) STRICT";

afterEach(() => simulateCrashes(undefined));

/** The apply part dies at the point, and another process goes on with what is on disk. */
async function dieAt(world: ReceiverWorld, point: CrashPointName): Promise<void> {
  simulateCrashes((name) => {
    if (name === point) throw new Error(`dead at ${name}`);
  });
  await expect(world.apply()).rejects.toThrow(`dead at ${point}`);
  simulateCrashes(undefined);
  world.database.checkpoint();
  const left = `${world.database.file}.left`;
  copyFileSync(world.database.file, left);
  world.reopenFrom(left);
}

/** What both ends may ever see of the lane: the rows, the mark, the last receipt of each delivery, what waits. */
function ends(world: ReceiverWorld) {
  const last = new Map<bigint, Receipt>();
  for (const receipt of world.receipts()) last.set(receipt.sequence, receipt);
  const lane = parseId(LANE);
  return {
    rows: world.targetRows(),
    mark: world.targetRows(
      `SELECT epoch, sequence, answer FROM qiao_mark WHERE lane = '${idText(lane)}' ORDER BY epoch, sequence`,
    ),
    receipts: [...last.values()].map(({ sequence, revision, settled, outcomes }) => ({
      ...{ sequence, revision, settled, outcomes },
    })),
    open: world.database.quarantine.countOpen(lane),
    waiting: world.database.inbox.waiting(lane).deliveries,
  };
}

/** The same tale twice, undisturbed and with a death at the point. */
async function comparesAt(point: CrashPointName, tell: (world: ReceiverWorld) => Promise<unknown>): Promise<void> {
  using undisturbed = new ReceiverWorld({ ddl: PERSON });
  await tell(undisturbed);
  await undisturbed.apply();
  using disturbed = new ReceiverWorld({ ddl: PERSON });
  await tell(disturbed);
  await dieAt(disturbed, point);
  await disturbed.apply();
  const expected = ends(undisturbed);
  expect(expected.receipts.length).toBeGreaterThan(0);
  expect(ends(disturbed)).toEqual(expected);
}

test('dead when a restored target’s revision was lifted above the receipt that was given', () =>
  comparesAt('mark.lifted', async (world) => {
    const sender = new TestSender();
    await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tAnna', '2\tbad', '3\tbad'])]));
    await world.apply();
    const backup = `${world.targetFile}.backup`;
    copyFileSync(world.targetFile, backup);
    world.decide('abandon', ({ index }) => index === 1);
    await world.apply();
    world.receipts();
    copyFileSync(backup, world.targetFile);
  }));

test('dead when the revision was lifted above the one that the sender holds and nobody here remembers', () =>
  comparesAt('mark.lifted', async (world) => {
    const [before, after] = [new TestSender(), new TestSender()];
    const rows = [personRows('insert', ['1\tAnna', '2\tbad'])];
    await world.receive(before.opening(), before.rows(rows));
    await world.apply();
    world.loseExchangeDatabase();
    world.receipts();
    after.opening();
    after.receipts = { revision: 5, settled: [] };
    await world.receive(after.rows(rows));
  }));
