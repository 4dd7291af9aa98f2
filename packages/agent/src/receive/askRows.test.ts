import { decodeContent, parseId } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { createRowAsker } from './askRows.ts';
import { definition, LANE, personRows, ReceiverWorld, SENDER, TestSender } from './sender.testing.ts';

const LANE_BYTES = parseId(LANE);
const PERSON = 'CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL) STRICT';

/** One agent that runs on: the asker lives as long as its process. Returns what asks once and says which keys were named. */
function askerOf(world: ReceiverWorld): () => Promise<string[]> {
  const named: string[] = [];
  const asker = createRowAsker({
    database: world.database,
    seal: async (content) => {
      for (const { rows } of decodeContent(content)) named.push(...Buffer.from(rows).toString().trim().split('\n'));
      return { body: content, wrappedKey: new Uint8Array(0) };
    },
    newId: () => new Uint8Array(16),
    clock: world.clock,
    log: silentLog(),
    onQueued: () => {},
  });
  return async () => {
    const [lane, peer] = [world.lane(), world.desired.current()?.peers.get(SENDER)];
    if (lane === undefined || peer === undefined) throw new Error('a lane with its sender');
    await asker.ask(lane, peer);
    return named.splice(0);
  };
}

const part = (...lines: string[]) => ({ ...personRows('update', lines), wholeRows: false });

test('a row that lacks its base is asked for at once, also after others were asked for and came', async () => {
  using world = new ReceiverWorld({ ddl: PERSON });
  const sender = new TestSender();
  const asks = askerOf(world);
  await world.receive(sender.opening(), sender.rows([part('7\tolder', '8\tolder')]));
  await world.apply();
  expect(await asks()).toEqual(['7', '8']);
  await world.receive(sender.rows([personRows('update', ['7\tnewer', '8\tnewer'])]));
  await world.apply();
  await world.apply();
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(0);
  expect(await asks()).toEqual([]);
  world.clock.atMs += 60_000;
  await world.receive(sender.rows([part('9\tolder')]));
  await world.apply();
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(1);
  expect(await asks()).toEqual(['9']);
});

test('of more than a thousand rows without their base each is asked for, though the first ones are never answered', async () => {
  using world = new ReceiverWorld({ ddl: PERSON });
  world.desire(2, { ...definition(), stopAfterQuarantined: 10_000 });
  const sender = new TestSender();
  sender.bridgeVersion = 2;
  const keys = Array.from({ length: 1_500 }, (_, index) => `${index + 1}`);
  await world.receive(sender.opening(), sender.rows([part(...keys.map((key) => `${key}\tolder`))]));
  await world.apply();
  const asks = askerOf(world);
  const first = await asks();
  expect(await asks()).toEqual([]);
  world.clock.atMs += 11 * 60_000;
  const second = await asks();
  world.clock.atMs += 11 * 60_000;
  expect([first, second, await asks()]).toEqual([keys.slice(0, 1_000), keys.slice(1_000), keys.slice(0, 1_000)]);
});
