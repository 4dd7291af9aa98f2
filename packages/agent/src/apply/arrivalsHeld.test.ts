import { parseBridge, parseId } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { digestOf } from '../capture/compare.ts';
import { KeyEncoder } from '../capture/keys.ts';
import {
  BRIDGE,
  definition,
  personRows,
  RECEIVER,
  ReceiverWorld,
  SENDER,
  TestSender,
} from '../receive/sender.testing.ts';

test('the last word of the other end is noted also where its row is held behind one that waits', async () => {
  using world = new ReceiverWorld({
    ddl: "CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL CHECK (name <> 'bad')) STRICT",
  });
  const there = definition();
  const desired = world.desired.current();
  if (desired === undefined) throw new Error('nothing desired');
  const back =
    parseBridge(`{kind: Bridge, name: back, title: t, source: {node: civil, dataSource: target, capture: log, tables: [{name: person}]},
    schedule: realtime, destinations: [{node: health, dataSource: ${there.source.dataSource}, tables: {person: {to: person}}}]}`).definition;
  if (back === undefined) throw new Error('no bridge');
  const BACK = '9'.repeat(32);
  const there1 = desired.bridges.get(BRIDGE);
  if (there1 === undefined) throw new Error('no bridge');
  const lane = {
    ...there1.lanes[0],
    laneId: '8'.repeat(32),
    senderId: RECEIVER,
    receiverId: SENDER,
    destination: back.destinations[0],
  };
  world.desired.replace({
    ...desired,
    bridges: new Map([
      ...desired.bridges,
      [BACK, { ...there1, bridgeId: BACK, name: 'back', definition: back, lanes: [lane as never] }],
    ]),
  });
  const keys = new KeyEncoder([{ type: 'integer', bits: 64 }]);
  const { id } = world.database.captures.addTable(parseId(BACK), 'person', {
    layout: JSON.stringify(['id', 'name']),
    keyLayout: JSON.stringify(['id', keys.encoding]),
    layoutVersion: 1,
  });
  const key = keys.encode(Buffer.from('2\n'), 0, 1);
  const word = () => world.database.arrivals.getMany(id, [key]).get(key)?.digest;
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['2\tbad'])]));
  await world.apply();
  expect(word()).toBe(digestOf(Buffer.from('2\tbad\n')));
  await world.receive(sender.rows([personRows('delete', ['2'])]));
  await world.apply();
  expect(word()).toBe('gone');
  await world.receive(sender.rows([personRows('insert', ['2\tBo'])]));
  await world.apply();
  expect(word()).toBe(digestOf(Buffer.from('2\tBo\n')));
});
