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

test('deletes that another node let through its own guard do not count for the guard of a whole scan; rows of it that people took away do', async () => {
  using world = new TriggerWorld();
  world.deleteGuard = { rows: 10, share: 0.05 };
  world.sql(
    "WITH RECURSIVE n (i) AS (SELECT 11 UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO person SELECT i, 'a', 'x' FROM n",
  );
  await world.install();
  await world.step();
  const { arrivals, digests } = world.database;
  const known = digests.after(world.tableId, '', 30).map(([key]) => key);
  const hear = (keys: readonly string[], digest: string) =>
    world.database.transaction(() => {
      const said = keys.map((key) => ({ key, digest }));
      arrivals.put(world.tableId, said, [placeThere('person')]);
      arrivals.landed(world.tableId, said);
    });
  hear(known, GONE);
  world.sql('DELETE FROM person WHERE id <= 40');
  world.captureRun = 1n;
  expect((await world.scan()).guarded).toBeUndefined();
  // They landed, and went before anything saw them: the destination has them.
  const fresh = Array.from({ length: 20 }, (_none, n) => (known[0] as string).replace('11', String(n + 70)));
  hear(fresh, 'a'.repeat(32));
  world.captureRun = 2n;
  expect((await world.scan()).guarded).toMatchObject({ code: 'DELETE_GUARD' });
  expect(arrivals.isAnyDue).toBe(false);
  world.captureRun = 3n;
  world.allowedDeletes = 20n;
  await world.step();
  await world.step();
  expect(world.destination.outcomes.slice(-20)).toEqual(Array(20).fill('delete-missing'));
  expect(arrivals.hasAny(world.tableId)).toBe(false);
});

test('what was said of a row is void once a load has brought it, and stays where the load brought none', async () => {
  using world = new TriggerWorld();
  world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x')");
  await world.install();
  await world.step();
  const [[key] = ['']] = world.database.digests.after(world.tableId, '', 1);
  const { arrivals } = world.database;
  const nine = { key: key.replace('1', '9'), digest: 'd'.repeat(32) };
  const said = [{ key, digest: GONE }, nine];
  world.database.transaction(() => arrivals.put(world.tableId, said, [placeThere('person')]));
  // Deleted there, refused here; and then the destination is bound anew, and keeps rows that it has besides.
  world.lanes.splice(0);
  world.destinations.splice(0);
  const again = world.addLane();
  again.tables.set('person', new Map([['9', '9\tz\tx']]));
  world.captureRun = 1n;
  await world.step();
  expect([...arrivals.getMany(world.tableId, [key, nine.key]).keys()]).toEqual([nine.key]);
  // What landed while the load ran, and went, is looked at.
  again.tables.get('person')?.set('9', '9\tz\tx');
  world.database.transaction(() => arrivals.landed(world.tableId, [nine]));
  world.sql('DELETE FROM person WHERE id = 1');
  await world.step();
  expect(again.rows('person')).toEqual(world.rows());
});

test('a table that goes to several places forgets what was said of it', async () => {
  using world = new TriggerWorld();
  world.sql("INSERT INTO person VALUES (1, 'a', 'x')");
  await world.install();
  await world.step();
  const said = [{ key: 'k', digest: GONE }];
  world.database.transaction(() => world.database.arrivals.put(world.tableId, said, [placeThere('person')]));
  world.addLane();
  await world.step();
  expect(world.database.arrivals.hasAny(world.tableId)).toBe(false);
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
