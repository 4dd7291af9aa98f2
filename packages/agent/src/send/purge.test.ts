import { expect, test } from 'vitest';
import { CaptureWorld } from '../capture/captureWorld.testing.ts';
import { purgePart } from './purge.ts';

const HOUR_MS = 3_600_000;

test('what was settled while the clock stood a day ahead goes with its retention, not a day later', async () => {
  using world = new CaptureWorld();
  world.addTable('person', { columns: [{ name: 'id', type: { type: 'text' } }], key: ['id'], lines: ['1'] });
  world.addLane();
  await world.scan();
  const settle = (atMs: number) =>
    world.database.sqlite.prepare('UPDATE parcel SET open_deliveries = 0, settled_at_ms = ?').run(atMs);
  const left = () => world.database.sqlite.prepare('SELECT count(*) FROM parcel').pluck().get();
  let token: bigint | undefined = 1n;
  const purge = async () => {
    const stop = new AbortController();
    const clock = { nowMs: () => world.nowMs, elapsedMs: () => world.nowMs, sleep: async () => stop.abort() };
    const limits = { ...world.ports.limits, retentionMs: HOUR_MS } as never;
    const fence = { ...world.ports.fence, token: () => token };
    await purgePart({ database: world.database, clock, limits, fence }).run(stop.signal);
  };
  // As far ahead as a clock may be put right by an hour: it stays.
  settle(world.nowMs + HOUR_MS);
  await purge();
  expect(left()).toBe(1);
  settle(world.nowMs + 24 * HOUR_MS);
  // Before the hub has answered this start it may as well be the clock of now that is wrong: a machine that woke in 1970.
  token = undefined;
  await purge();
  expect(left()).toBe(1);
  token = 1n;
  await purge();
  expect(left()).toBe(0);
});
