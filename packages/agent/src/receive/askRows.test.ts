import { parseId } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { createRowAsker } from './askRows.ts';
import { LANE, personRows, ReceiverWorld, SENDER, TestSender } from './sender.testing.ts';

const LANE_BYTES = parseId(LANE);
const PERSON = 'CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL) STRICT';

test('a row that lacks its base is asked for at once, also after others were asked for and came', async () => {
  using world = new ReceiverWorld({ ddl: PERSON });
  const sender = new TestSender();
  const part = (...lines: string[]) => ({ ...personRows('update', lines), wholeRows: false });
  // One agent that runs on: the asker lives as long as its process.
  const asker = createRowAsker({
    database: world.database,
    seal: async (content) => ({ body: content, wrappedKey: new Uint8Array(0) }),
    newId: () => new Uint8Array(16),
    clock: world.clock,
    log: silentLog(),
    onQueued: () => {},
  });
  const asks = async () => {
    world.said();
    const [lane, peer] = [world.lane(), world.desired.current()?.peers.get(SENDER)];
    if (lane === undefined || peer === undefined) throw new Error('a lane with its sender');
    await asker.ask(lane, peer);
    return world.said().filter((body) => body.$case === 'rowsWanted').length;
  };
  await world.receive(sender.opening(), sender.rows([part('7\tolder', '8\tolder')]));
  await world.apply();
  expect(await asks()).toBe(1);
  await world.receive(sender.rows([personRows('update', ['7\tnewer', '8\tnewer'])]));
  await world.apply();
  await world.apply();
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(0);
  expect(await asks()).toBe(0);
  world.clock.atMs += 60_000;
  await world.receive(sender.rows([part('9\tolder')]));
  await world.apply();
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(1);
  expect(await asks()).toBe(1);
});
