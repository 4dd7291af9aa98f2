import { ServiceCondition } from '@qiao/contract/node';
import { parseId } from '@qiao/exchange';
import { createWakeup, systemClock } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { alignLanes } from '../send/lanes.ts';
import { bridgeCapturePart } from './bridgeCapture.ts';
import { createCaptureParts } from './capture.ts';
import { BRIDGE_ID, CaptureWorld, type MemoryTable } from './captureWorld.testing.ts';
import { scanBridge } from './scan.ts';

const text = { type: 'text' } as const;

/** Runs capture until it packed or stuck, as `isDone` says. */
async function captureUntil(world: CaptureWorld, isDone: () => boolean, exposes: object[]) {
  const ports = {
    ...world.ports,
    clock: systemClock,
    permissions: { exposes: exposes as never, accepts: [], defaultSchema: () => undefined },
  };
  const service = createCaptureParts(ports);
  const stop = new AbortController();
  const running = service.parts.map((part) => part.run(stop.signal));
  while (!isDone()) await new Promise(setImmediate);
  const states = service.states();
  stop.abort();
  await Promise.all(running);
  return states;
}

function peopleWorld(): CaptureWorld {
  const world = new CaptureWorld();
  world.addTable('person', { columns: [{ name: 'id', type: text }], key: ['id'], lines: ['a', 'b'] });
  world.addLane();
  return world;
}

test('a table that the node exposes is captured by the run a person asked for', async () => {
  using world = peopleWorld();
  const [state] = await captureUntil(world, () => world.packed > 0, [{ dataSource: 'his', table: 'person' }]);
  expect(state?.condition).toBe(ServiceCondition.RUNNING);
  expect(world.database.lanesOut.all()[0]).toMatchObject({ phase: 'streaming', lastSequence: 1n });
});

test('a table that the node does not expose is never read, and capture says so', async () => {
  using world = peopleWorld();
  const isStuck = (): boolean => world.database.captures.get(Buffer.alloc(16, 0xbb))?.stuck !== undefined;
  const [state] = await captureUntil(world, isStuck, []);
  expect(state).toMatchObject({ condition: ServiceCondition.STUCK, code: 'EXPOSE_DENIED' });
  expect(world.packed).toBe(0);
});

test('a column that the source drops stops the capture, until it is back or a new version says what travels', async () => {
  using world = new CaptureWorld();
  const columns = [
    { name: 'id', type: text },
    { name: 'phone', type: text },
  ];
  world.addTable('person', { columns, key: ['id'], lines: ['a\t1', 'b\t2'] });
  world.addLane();
  const table = world.tables.get('person') as MemoryTable;
  await world.scan();
  const sent = () => world.database.lanesOut.all()[0]?.lastSequence;
  expect(sent()).toBe(1n);

  Object.assign(table, { columns: columns.slice(0, 1), lines: ['a', 'b'] });
  await expect(world.scan()).rejects.toMatchObject({ code: 'COLUMN_DROPPED', fate: 'permanent' });
  world.captureRun = 2n;
  const isStuck = (): boolean => world.database.captures.get(Buffer.alloc(16, 0xbb))?.stuck !== undefined;
  const [state] = await captureUntil(world, isStuck, [{ dataSource: 'his', table: 'person' }]);
  expect(state).toMatchObject({ condition: ServiceCondition.STUCK, code: 'COLUMN_DROPPED' });
  expect(state?.message).toContain('person has lost phone');
  expect(sent()).toBe(1n);

  Object.assign(table, { columns, lines: ['a\t1', 'b\t2'] });
  await world.scan();
  expect(sent()).toBe(1n);

  Object.assign(table, { columns: columns.slice(0, 1), lines: ['a', 'b'] });
  world.version += 1;
  await world.scan();
  expect(sent()).toBe(2n);
  Object.assign(table, { columns, lines: ['a\t1', 'b\t2'] });
  await world.scan();
  expect(sent()).toBe(3n);
});

test('deletes that are held show, with what to do', async () => {
  using world = peopleWorld();
  const table = world.tables.get('person') as MemoryTable;
  await world.scan();
  Object.assign(table, { lines: ['b'], refused: 1 });
  world.captureRun = 2n;
  const isHeld = (): boolean => world.database.captures.holding(parseId(BRIDGE_ID)).length > 0;
  const [state] = await captureUntil(world, isHeld, [{ dataSource: 'his', table: 'person' }]);
  expect(state).toMatchObject({ condition: ServiceCondition.STUCK, code: 'DELETES_HELD', openRows: 1n });
  expect(state?.message).toContain('1 row(s) of person');
  expect(state?.hint).not.toBe('');
});

test('no scan begins while every lane is over the budget, and one does for a destination that is bound meanwhile', async () => {
  using world = peopleWorld();
  await world.scan();
  world.captureRun = 2n;
  const stop = new AbortController();
  let waits = 0;
  const part = bridgeCapturePart(
    {
      ...world.ports,
      limits: { ...world.ports.limits, outboxBudgetBytes: 0 },
      permissions: { exposes: [{ dataSource: 'his', table: '*' }], accepts: [], defaultSchema: () => undefined },
    },
    BRIDGE_ID,
    {
      wakeup: { wake: () => {}, wait: async () => stop.abort() },
      room: {
        wake: () => {},
        wait: async () => {
          waits += 1;
          expect(world.database.captures.get(Buffer.alloc(16, 0xbb))?.startedScan).toBe(1);
          if (waits === 3) world.addLane();
        },
      },
      hold: async () => undefined,
      onSettled: () => {},
    },
  );
  await part.run(stop.signal);
  expect(waits).toBe(3);
  expect(world.database.lanesOut.all().map(({ phase }) => phase)).toEqual(['streaming', 'streaming']);
});

test('a lane bound while a scan begins is left to the next: its destination does not know the version before', async () => {
  using world = new CaptureWorld();
  world.addTable('person', { columns: [{ name: 'id', type: { type: 'text' } }], key: ['id'], lines: ['1'] });
  world.addLane();
  const { desired, ports } = world;
  const [former] = desired.bridges.values();
  if (former === undefined) throw new Error('the world has no bridge');
  const bridge = { ...former, lanes: [...former.lanes] };
  alignLanes(ports, desired, bridge);
  world.version += 1;
  world.addLane();
  const [newer] = world.desired.bridges.values();
  if (newer !== undefined) alignLanes(ports, world.desired, newer);
  const { signal } = new AbortController();
  await scanBridge(ports, { desired, bridge, runNumber: 1n, allowedDeletes: 0n, signal, room: createWakeup() });
  const phases = () => world.lanes.map(({ laneId }) => world.database.lanesOut.get(parseId(laneId))?.phase);
  expect(phases()).toEqual(['streaming', 'loading']);
  await world.scan();
  expect(phases()).toEqual(['streaming', 'streaming']);
});
