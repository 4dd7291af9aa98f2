import { parseId, type Section } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { definition, LANE, personRows, ReceiverWorld, TestSender } from '../receive/sender.testing.ts';

const LANE_BYTES = parseId(LANE);
const PERSON = "CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL CHECK (name <> 'bad')) STRICT";

/** A lane of people and their cards, which stops late. */
function worldOfCards(): ReceiverWorld {
  const world = new ReceiverWorld({
    ddl: `${PERSON}; CREATE TABLE card (id INTEGER PRIMARY KEY NOT NULL, person INTEGER NOT NULL REFERENCES person (id)) STRICT`,
  });
  const bridge = definition();
  const [table] = bridge.source.tables;
  const [destination] = bridge.destinations;
  const columns = destination?.tables.person;
  if (table === undefined || columns === undefined) throw new Error('a bridge of one table');
  world.desire(1, {
    ...bridge,
    stopAfterQuarantined: 5_000,
    source: { ...bridge.source, tables: [table, { ...table, name: 'card', columns: ['id', 'person'] }] },
    destinations: [{ ...destination, tables: { person: columns, card: { ...columns, to: 'card' } } }],
  } as typeof bridge);
  return world;
}

function cards(...lines: string[]): Section {
  return { ...personRows('insert', lines), table: 'card', columns: ['id', 'person'] };
}

test('children go by themselves once their parent is settled', async () => {
  using world = worldOfCards();
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([personRows('insert', ['1\tbad']), cards('10\t1', '11\t1')]));
  await world.apply();
  expect(world.database.quarantine.openOfLane(LANE_BYTES, 10).map(({ code }) => code)).toEqual([
    'CHECK',
    'FOREIGN_KEY',
    'FOREIGN_KEY',
  ]);
  const [parent] = world.database.quarantine.openOfLane(LANE_BYTES, 1);
  if (parent === undefined) throw new Error('no open row');
  world.database.rowLines.addEdit(parent, Buffer.from('1\tgood\n'), 'wang', 7);
  world.decide('replay', ({ code }) => code === 'CHECK');
  world.clock.atMs += 60_000;
  await world.apply();
  await world.apply();
  expect(world.targetRows('SELECT id FROM card ORDER BY id')).toEqual([[10], [11]]);
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(0);
  expect(world.receipts().at(-1)?.settled).toBe(true);
});

test('a child goes by itself once its parent came, also behind a thousand children whose parents never come', async () => {
  using world = worldOfCards();
  const orphans = Array.from({ length: 1_001 }, (_none, index) => `${index + 1}\t1`);
  const sender = new TestSender();
  await world.receive(sender.opening(), sender.rows([cards(...orphans, '5000\t2')]));
  await world.apply();
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(1_002);
  await world.receive(sender.rows([personRows('insert', ['2\tBea'])]));
  await world.apply({
    onIdle: async () => {
      world.clock.atMs += 60_000;
    },
  });
  expect(world.targetRows('SELECT id FROM card')).toEqual([[5000]]);
  expect(world.database.quarantine.countOpen(LANE_BYTES)).toBe(1_001);
});

test('a row whose unique value another one held goes by itself once a later delivery made that free', async () => {
  using world = new ReceiverWorld({ ddl: `${PERSON}; CREATE UNIQUE INDEX one_name ON person (name)` });
  const sender = new TestSender();
  await world.receive(
    sender.opening(),
    sender.rows([personRows('insert', ['1\tAnna'])]),
    // A scan larger than a parcel: the row under its new key comes first, that under the old one goes at the end.
    sender.rows([personRows('insert', ['2\tAnna'])]),
  );
  await world.apply();
  expect(world.database.quarantine.openOfLane(LANE_BYTES, 10).map(({ code }) => code)).toEqual(['UNIQUE']);
  world.clock.atMs += 60_000;
  await world.receive(sender.rows([{ ...personRows('delete', ['1']), columns: ['id'] }]));
  await world.apply();
  await world.apply();
  expect(world.targetRows()).toEqual([[2, 'Anna']]);
  expect(world.receipts().at(-1)).toMatchObject({ sequence: 2n, revision: 2, settled: true });
});
