import { parseId } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { GONE } from '../exchange-database/index.ts';
import { BRIDGE_ID, CaptureWorld, placeThere } from './captureWorld.testing.ts';
import { TriggerWorld } from './triggerWorld.testing.ts';
import { wantRows } from './wantedRows.ts';

const ELSEWHERE = { node: 'e'.repeat(32), dataSource: 'own', table: 'person' };

test('who asks for a row that is gone is told so, whatever it said before', async () => {
  using world = new TriggerWorld();
  world.sql("INSERT INTO person VALUES (1, 'a', 'x')");
  await world.install();
  await world.step();
  const [[key] = ['']] = world.database.digests.after(world.tableId, '', 1);
  const gone = [{ key: key.replace('1', '9'), digest: GONE }];
  world.database.transaction(() => world.database.arrivals.put(world.tableId, gone, [placeThere('person')]));
  world.destination.tables.get('person')?.set('9', '9\tb\tx');
  const section = {
    table: 'person',
    kind: 'delete',
    columns: ['id'],
    keyColumns: 1,
    rowCount: 1,
    wholeRows: false,
  } as const;
  wantRows(world.database, parseId(BRIDGE_ID), [{ ...section, rows: Buffer.from('9\n') }]);
  await world.step();
  expect(world.destination.rows('person')).toEqual(world.rows());
});

test('deletes that passed other tables survive a death between two deliveries of one page', async () => {
  using world = new CaptureWorld();
  world.capture = 'log';
  const destination = world.addLane();
  const pad = 'p'.repeat(100);
  const lines = Array.from({ length: 400 }, (_none, n) => `${String(1000 + n)}-${pad}\tv`);
  world.addTable('person', {
    columns: [
      { name: 'id', type: { type: 'text' } },
      { name: 'name', type: { type: 'text' } },
    ],
    key: ['id'],
    lines,
  });
  await world.scan();
  await world.deliver();
  const table = world.database.captures.table(parseId(BRIDGE_ID), 'person');
  const id = table?.id as number;
  const keys = world.database.digests.after(id, '', 1_000).map(([key]) => key);
  // Every other one was deleted elsewhere, the others by people here.
  world.database.transaction(() =>
    world.database.arrivals.put(
      id,
      keys.filter((_key, n) => n % 2 === 0).map((key) => ({ key, digest: GONE })),
      [ELSEWHERE],
    ),
  );
  (world.tables.get('person') as { lines: string[] }).lines = ['9999\tv'];
  world.parcelBytes = 4_096;
  let flushes = 0;
  world.onFlush = () => {
    if (++flushes === 2) throw new Error('kill -9');
  };
  await expect(world.scan()).rejects.toThrow('kill -9');
  world.onFlush = () => {};
  world.reopen();
  await world.scan();
  await world.deliver();
  expect(destination.rows('person')).toEqual(['9999\tv']);
});
